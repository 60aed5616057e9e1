package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/rs/zerolog"

	"oneflow/internal/cli"
)

// PprofFlag has Go's profiles served.
type PprofFlag struct {
	Pprof string `help:"Serve Go's profiles at /debug/pprof/ of this address, which must be this machine's own, such as 127.0.0.1:6060." placeholder:"HOST:PORT"`
}

// Serve serves them until stop is called, if they are asked for. A profile may show what is
// in memory, so that an address which other machines can reach is refused, with exit code 4.
func (f PprofFlag) Serve(ctx context.Context, log zerolog.Logger) (stop func(), err error) {
	if f.Pprof == "" {
		return func() {}, nil
	}
	addr, err := net.ResolveTCPAddr("tcp", f.Pprof)
	if err != nil {
		return nil, cli.Fail(cli.Usage, fmt.Errorf("--pprof %s: must be HOST:PORT, such as 127.0.0.1:6060", f.Pprof))
	}
	if !addr.IP.IsLoopback() {
		return nil, cli.Fail(cli.Unsafe, fmt.Errorf("--pprof %s: other machines can reach it, and profiles show what is in memory: take 127.0.0.1, and an SSH tunnel", f.Pprof))
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.Pprof)
	if err != nil {
		return nil, fmt.Errorf("--pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	server := &http.Server{
		Handler: ownMachine(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(zerolog.NewSlogHandler(log), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn().Err(err).Msg("profiles are not served any more")
		}
	}()
	log.Info().Stringer("address", l.Addr()).Msg("profiles are served")
	return func() {
		_ = server.Close() // what somebody reads of a profile just now is cut off
		<-ended
	}, nil
}

// ownMachine refuses requests for a foreign name: a website may have its own name resolved to
// this machine, and read there.
func ownMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "profiles are for this machine alone", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

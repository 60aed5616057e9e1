// Package monitor shows what OneFlow does, in a browser and as JSON, and mounts
// asynqmon, read-only. It changes nothing. It may import fleet, batches, schedules,
// jobs, billing and providers, and declares what it reads of a store, which it
// never imports.
//
// On a loopback address anybody on the machine may look, and requests must name
// that machine, so that no website can have a browser look for it. Anywhere else
// it serves only with a user and a password.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
)

// Store holds the reads that the monitor needs of Postgres.
type Store interface {
	OverviewStore
	// Ping fails where Postgres does not answer.
	Ping(ctx context.Context) error
}

// Config configures a monitor. Store and Redis are needed.
type Config struct {
	Store Store
	Redis asynq.RedisConnOpt
	Log   zerolog.Logger
	// User and Password are asked for by basic authentication. Both empty means
	// that nobody is asked, and then Serve takes a loopback address only.
	User, Password string
	// BasePath is the path under which a reverse proxy shows the monitor, such as
	// "/oneflow": links, assets and asynqmon stand under it. Requests are served
	// with it and without it, so that the proxy may strip it or not. Default: none.
	BasePath string
	// Holds returns, by provider, sentences that say what holds it back now, such as a
	// block or what others use of its limit. Nil: the pages leave it out.
	Holds func(ctx context.Context) (map[string][]string, error)
	// Hosts are names, beside localhost and loopback addresses, under which it
	// may be called while nobody is asked for a password.
	Hosts []string
}

// ErrExposed is returned where other machines can reach the address and nobody would be
// asked for a password.
var ErrExposed = errors.New("refusing to listen on an address that other machines can reach without a password")

// The limits of the server. A page is small and read in well under a second.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	shutdownTimeout   = 5 * time.Second
	maxHeader         = 16 << 10
	maxBody           = 64 << 10
)

// Monitor is the web interface.
type Monitor struct {
	cfg     Config
	reader  *Reader
	redis   pinger
	queues  *queues
	pages   *pages
	handler http.Handler
}

// New checks the configuration and makes a Monitor. It connects to nothing yet.
// The caller closes it.
func New(cfg Config) (*Monitor, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("monitor: Store is missing")
	case cfg.Redis == nil:
		return nil, errors.New("monitor: Redis is missing")
	case (cfg.User == "") != (cfg.Password == ""):
		return nil, errors.New("monitor: User and Password must be given together")
	}
	if err := CheckBasePath(cfg.BasePath); err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	pages, err := newPages(cfg.BasePath)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	redis, err := newPinger(cfg.Redis)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	queues, err := newQueues(cfg.Redis, cfg.BasePath)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("monitor: %w", err), redis.Close())
	}
	m := &Monitor{cfg: cfg, reader: NewReader(cfg.Store), redis: redis, queues: queues, pages: pages}
	m.reader.holds = cfg.Holds
	m.handler = m.routes()
	return m, nil
}

func (m *Monitor) routes() http.Handler {
	private := http.NewServeMux()
	private.HandleFunc("GET /{$}", m.overviewPage)
	private.HandleFunc("GET /batches/{id}", m.batchPage)
	private.HandleFunc("GET /api/overview", m.overviewJSON)
	private.HandleFunc("GET /api/batches/{id}", m.batchJSON)
	private.Handle("GET /static/", m.pages.static())
	private.Handle("GET "+queuesPath, m.queues)
	private.Handle("GET "+strings.TrimSuffix(queuesPath, "/"), http.RedirectHandler(m.cfg.BasePath+queuesPath, http.StatusMovedPermanently))
	private.HandleFunc("GET /", m.nothingHere)

	all := http.NewServeMux()
	all.HandleFunc("GET /healthz", healthy)
	all.HandleFunc("GET /readyz", m.ready)
	all.Handle("/", m.authenticated(http.NewCrossOriginProtection().Handler(private)))
	return http.MaxBytesHandler(secured(underBasePath(m.cfg.BasePath, all)), maxBody)
}

// Serve serves on a listener until ctx ends and requests under way have ended,
// for which they get 5 s. It fails with ErrExposed, and always closes the
// listener.
func (m *Monitor) Serve(ctx context.Context, l net.Listener) error {
	if m.cfg.Password == "" && Exposed(l.Addr()) {
		return errors.Join(fmt.Errorf("monitor: %s: %w", l.Addr(), ErrExposed), l.Close())
	}
	server := &http.Server{
		Handler:           m.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(zerolog.NewSlogHandler(m.cfg.Log), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	m.cfg.Log.Info().Stringer("address", l.Addr()).Bool("password", m.cfg.Password != "").Msg("monitor is serving")
	select {
	case err := <-served:
		return fmt.Errorf("monitor: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		m.cfg.Log.Warn().Msg("monitor: requests were cut off")
		err = server.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// Close closes the connections to Redis.
func (m *Monitor) Close() error { return errors.Join(m.queues.Close(), m.redis.Close()) }

// Exposed reports whether other machines can reach an address.
func Exposed(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return !a.IP.IsLoopback()
	case *net.UnixAddr:
		return false
	}
	return true
}

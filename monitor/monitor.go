// Package monitor shows what OneFlow does, in a browser and as JSON, and mounts
// asynqmon, read-only. It may import access, config, frontdoor, fleet, batches, schedules, jobs, billing
// and providers, and declares what it reads of a store, which it never imports.
//
// routes says who may do what. As long as no token was ever made, anybody on the machine
// may do all, requests must name that machine, so that no website can have a browser act
// for it, and only a loopback address is served.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/frontdoor"
)

// Store holds the reads that the monitor needs of Postgres.
type Store interface {
	OverviewStore
	// Ping fails where Postgres does not answer.
	Ping(ctx context.Context) error
}

// Config configures a monitor. Store, Access and Redis are needed.
type Config struct {
	Store Store
	// Access keeps tokens, and what was done with them.
	Access access.Store
	Redis  asynq.RedisConnOpt
	Log    zerolog.Logger
	// Token is a token of scope admin that stands in no table, such as one of the
	// environment; empty: there is none.
	Token string
	// BasePath is the path under which a reverse proxy shows the monitor, such as
	// "/oneflow": links, assets and asynqmon stand under it. Requests are served
	// with it and without it, so that the proxy may strip it or not. Default: none.
	BasePath string
	// Holds returns, by provider, sentences that say what holds it back now, such as a
	// block or what others use of its limit. Nil: the pages leave it out.
	Holds func(ctx context.Context) (map[string][]string, error)
	// Jobs reads single jobs, and Orders does what people order of them. Nil: the monitor has
	// no such pages.
	Jobs   JobStore
	Orders OrderStore
	// OpenURL reads a picture, sound or film. Nil: none are shown.
	OpenURL func(ctx context.Context, url string) (io.ReadCloser, error)
	// Money reads what was spent, and Schedules keeps schedules. Nil: the monitor has no such
	// pages.
	Money     MoneyStore
	Schedules ScheduleStore
	// Compare reads comparisons, and Pipelines pipelines. Nil: the monitor has no such pages.
	Compare   batches.CompareStore
	Pipelines PipelineStore
	// Fleet reads how the providers do, FleetOrders takes orders for them, and Known is what is
	// configured of them. Nil, Fleet or FleetOrders: there are no pages of providers and workers.
	Fleet       FleetStore
	FleetOrders *fleet.Orders
	Known       fleet.Config
	// Hints returns a channel that gets a value soon after jobs have ended, until its context
	// ends. Nil: pages look for themselves every few seconds.
	Hints func(context.Context) <-chan struct{}
	// FrontDoor serves the vendors' APIs. Nil: there are none.
	FrontDoor *frontdoor.FrontDoor
	// API are more routes of /api/v1.
	API []access.Route
	// Metrics serves /metrics. Nil: there is none.
	Metrics http.Handler
	// Hosts are the names, beside localhost and addresses, under which it may be called.
	Hosts []string
}

// ErrExposed is returned where other machines can reach the address and nobody would be
// asked for a token.
var ErrExposed = errors.New("refusing to listen on an address that other machines can reach without asking for a token")

// The limits of the server. A page is small and read in well under a second.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	shutdownTimeout   = 5 * time.Second
	maxHeader         = 16 << 10
)

// Monitor is the web interface.
type Monitor struct {
	cfg     Config
	reader  *Reader
	gate    *access.Gate
	redis   pinger
	tasks   tasks
	queues  *queues
	pages   *pages
	events  *events
	handler http.Handler
	// figures are those of providers, by the name of their window.
	figures map[string]*cached[figures]
}

// newMonitor checks the configuration and makes a Monitor. It connects to nothing yet.
// The caller closes it.
func newMonitor(cfg Config) (*Monitor, error) {
	switch {
	case cfg.Store == nil, cfg.Access == nil:
		return nil, errors.New("monitor: Store and Access are needed")
	case cfg.Redis == nil:
		return nil, errors.New("monitor: Redis is missing")
	case cfg.Token != "" && len(cfg.Token) < MinToken:
		return nil, fmt.Errorf("monitor: Token: must have at least %d characters", MinToken)
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
	m := &Monitor{cfg: cfg, reader: NewReader(cfg.Store), gate: access.NewGate(cfg.Access, cfg.Token), redis: redis, tasks: asynq.NewInspectorFromRedisClient(redis.UniversalClient), queues: queues, pages: pages}
	m.reader.holds = cfg.Holds
	m.events = newEvents(cfg.Hints)
	m.figures = map[string]*cached[figures]{}
	for _, name := range healthWindows() {
		m.figures[name] = newCached[figures]()
	}
	m.handler = m.serveAll()
	return m, nil
}

// MinToken is the least length of Config.Token.
const MinToken = 20

// serve serves on a listener until ctx ends and requests under way have ended,
// for which they get 5 s. It fails with ErrExposed, and always closes the
// listener.
func (m *Monitor) serve(ctx context.Context, l net.Listener) error {
	closed, err := m.gate.Closed(ctx)
	if err == nil && !closed && Exposed(l.Addr()) {
		err = fmt.Errorf("%s: %w", l.Addr(), ErrExposed)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("monitor: %w", err), l.Close())
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
	server.RegisterOnShutdown(m.events.end)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	m.cfg.Log.Info().Stringer("address", l.Addr()).Bool("tokens", closed).Msg("monitor is serving")
	select {
	case err := <-served:
		return fmt.Errorf("monitor: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		m.cfg.Log.Warn().Msg("monitor: requests were cut off")
		err = server.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// close ends the streams and closes the connections to Redis.
func (m *Monitor) close() error {
	m.events.end()
	return errors.Join(m.queues.Close(), m.redis.Close())
}

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

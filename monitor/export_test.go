package monitor

import (
	"context"
	"net"
	"net/http"

	"oneflow/access"
)

// Remembered returns how many batches a Reader remembers in detail.
func (r *Reader) Remembered() int { return len(r.details) }

// Handler returns everything that the monitor serves, with its protection.
func (m *Monitor) Handler() http.Handler { return m.handler }

// Routes returns all routes.
func (m *Monitor) Routes() []access.Route { return m.routes() }

// MaxStreams is the number of streams that may be open at once.
const MaxStreams = maxStreams

// New is newMonitor, for tests.
func New(cfg Config) (*Monitor, error) { return newMonitor(cfg) }

// Serve is serve, for tests.
func (m *Monitor) Serve(ctx context.Context, l net.Listener) error { return m.serve(ctx, l) }

// Close is close, for tests.
func (m *Monitor) Close() error { return m.close() }

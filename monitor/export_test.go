package monitor

import (
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

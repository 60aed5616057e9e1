package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"oneflow/batches"
)

// batchEvents streams the batches that a filter selects, of the newest, as they change: first
// those that have not finished, then each whose state, counts or cost are others than before.
func (m *Monitor) batchEvents(w http.ResponseWriter, r *http.Request) {
	f, err := batchFilter(r)
	if err != nil {
		m.problem(w, r, http.StatusBadRequest, err.Error())
		return
	}
	something, leave, ok := m.events.subscribe() //nolint:contextcheck // what it waits for is for all streams
	if !ok {
		w.Header().Set("Retry-After", "10")
		m.problem(w, r, http.StatusServiceUnavailable, "too many read events at once")
		return
	}
	defer leave()
	list, err := m.cfg.Jobs.Batches(r.Context(), f)
	if err != nil {
		m.answer(w, r, nil, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	conn := http.NewResponseController(w)
	over := time.NewTimer(streamFor)
	defer over.Stop()
	known := map[string]string{}
	for text := ": the batches that have not finished\n\n" + changedBatches(known, list, true); ; text = ": \n\n" + changedBatches(known, list, false) {
		if _, err := w.Write([]byte(text)); err != nil || conn.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-over.C:
			return
		case _, goesOn := <-something:
			if !goesOn {
				return
			}
		}
		// While Postgres is away nothing changes that could be told.
		if fresh, err := m.cfg.Jobs.Batches(r.Context(), f); err == nil {
			list = fresh
		}
	}
}

// changedBatches returns the events of batches that are others than is known, and remembers them; at
// first of those only that have not finished.
func changedBatches(known map[string]string, list []batches.Summary, first bool) string {
	var text strings.Builder
	for _, b := range list {
		b.PerSecond = 0
		data, err := json.Marshal(b)
		if err != nil || known[b.ID] == string(data) {
			continue
		}
		known[b.ID] = string(data)
		if !first || !b.Finished() {
			fmt.Fprintf(&text, "event: batch\ndata: %s\n\n", data)
		}
	}
	return text.String()
}

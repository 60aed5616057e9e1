package monitor_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"oneflow/access"
	"oneflow/jobs"
)

// serve serves the monitor on an address, until it is stopped.
func (h *program) serve(t *testing.T) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- h.monitor.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		must(t, <-served)
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// hear opens a stream of events, and returns what reads the next; an empty one: it is over.
func (h *program) hear(t *testing.T, address, query, token string) (next func() (event, data string)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/v1/events"+query, http.NoBody)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	must(t, err)
	t.Cleanup(func() {
		_ = answer.Body.Close()
		transport.CloseIdleConnections()
	})
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d", query, answer.StatusCode)
	}
	lines := bufio.NewScanner(answer.Body)
	event := ""
	return func() (string, string) {
		t.Helper()
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return event, data
			}
		}
		return "", ""
	}
}

func TestProgramsReadEventsOfTheirOwnBatchesUntilTheMonitorStops(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	mine, theirs := h.token(t, access.Operate, "mine"), h.token(t, access.Operate, "theirs")
	address, stop := h.serve(t)
	next := h.hear(t, address, "", mine)
	h.expect(t, 202, "POST", "/api/v1/batches", theirs, aRow+"\n", "Content-Type", "application/x-ndjson")
	id, _ := h.expect(t, 202, "POST", "/api/v1/batches", mine, aRow+"\n", "Content-Type", "application/x-ndjson").field(t, "id").(string)
	if event, data := next(); event != "batch" || !strings.Contains(data, id) || !strings.Contains(data, `"account":"mine"`) {
		t.Errorf("first %s %s", event, data)
	}
	h.expect(t, 204, "POST", "/api/v1/batches/"+id+"/cancel", mine, "")
	for _, data := next(); !strings.Contains(data, `"cancelled":1`); _, data = next() {
		if !strings.Contains(data, id) {
			t.Fatalf("then %s", data)
		}
	}
	stop()
	if _, data := next(); data != "" {
		t.Errorf("after the monitor's end: %s", data)
	}
}

func TestAStreamTellsOfJobsProvidersAndAlertsToWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	all, mine, theirs := h.token(t, access.Operate, ""), h.token(t, access.Operate, "mine"), h.token(t, access.Operate, "theirs")
	job, _ := h.expect(t, 202, "POST", "/api/v1/jobs", mine, aRow).field(t, "id").(string)
	h.expect(t, 202, "POST", "/api/v1/jobs", theirs, aRow)
	address, _ := h.serve(t)
	own, fleet := h.hear(t, address, "?types=job", mine), h.hear(t, address, "?types=provider,alert", all)
	if event, data := own(); event != "job" || !strings.Contains(data, job) {
		t.Errorf("first %s %s", event, data)
	}
	if event, data := fleet(); event != "provider" || !strings.Contains(data, `"name":"mock"`) {
		t.Errorf("first %s %s", event, data)
	}
	h.expect(t, 204, "POST", "/api/v1/jobs/"+job+"/cancel", mine, "")
	if event, data := own(); event != "job" || !strings.Contains(data, job) || !strings.Contains(data, `"state":"cancelled"`) {
		t.Errorf("then %s %s", event, data)
	}
	// More may be told meanwhile, such as that the worker is silent.
	until := func(event, text string) (data string) {
		t.Helper()
		for {
			is, data := fleet()
			if is == "" || is == event && strings.Contains(data, text) {
				return data
			}
		}
	}
	h.expect(t, 200, "POST", "/api/v1/providers/mock/disable", all, `{"reason":"holidays"}`)
	until("provider", "holidays")
	for _, alerts := range [][]jobs.Alert{{{Kind: jobs.AlertLedger, Subject: "mine", Text: "text"}}, nil} {
		_, _, err := h.db.RaiseAlerts(t.Context(), []string{jobs.AlertLedger}, alerts, "")
		must(t, err)
		if data := until("alert", `"subject":"mine"`); data == "" || strings.Contains(data, "closed_at") != (alerts == nil) {
			t.Errorf("of %v: %s", alerts, data)
		}
	}
	h.expect(t, 403, "GET", "/api/v1/events?types=provider", mine, "")
	h.expect(t, 403, "GET", "/api/v1/events?types=job,alert", mine, "")
	for _, wrong := range []string{"?types=x", "?types=job,job", "?types=job&state=nothing", "?limit=0", "?types=batch,"} {
		h.expect(t, 400, "GET", "/api/v1/events"+wrong, mine, "")
	}
}

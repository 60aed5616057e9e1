package monitor_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"oneflow/access"
	"oneflow/monitor"
)

// stream opens the stream of events of a monitor.
func stream(t *testing.T, address string) (status int, h http.Header, lines *bufio.Scanner) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/events", http.NoBody)
	must(t, err)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	must(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer.StatusCode, answer.Header, bufio.NewScanner(answer.Body)
}

func TestStreamsShareWhatIsHeardAreBoundedAndEndWithTheMonitor(t *testing.T) {
	t.Parallel()
	listeners := make(chan struct{}, 10)
	hints := make(chan struct{})
	m := newMonitor(t, monitor.Config{Hints: func(context.Context) <-chan struct{} { listeners <- struct{}{}; return hints }})
	l := listen(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx, l) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	var all []*bufio.Scanner
	for range monitor.MaxStreams {
		status, h, lines := stream(t, "127.0.0.1:"+port)
		if status != http.StatusOK || h.Get("Content-Type") != "text/event-stream; charset=utf-8" || !lines.Scan() || lines.Text() != "retry: 2000" {
			t.Fatalf("%d %v %q", status, h, lines.Text())
		}
		all = append(all, lines)
	}
	if status, h, _ := stream(t, "127.0.0.1:"+port); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d", status)
	}
	hints <- struct{}{}
	for _, lines := range []*bufio.Scanner{all[0], all[len(all)-1]} {
		for lines.Scan() && lines.Text() != "event: change" {
		}
		if lines.Text() != "event: change" || !lines.Scan() || !strings.HasPrefix(lines.Text(), "data: 2") {
			t.Errorf("%q", lines.Text())
		}
	}
	if len(listeners) != 1 {
		t.Errorf("%d listen for all of them", len(listeners))
	}
	stop()
	must(t, <-served)
	for _, lines := range all {
		for lines.Scan() {
		}
		if err := lines.Err(); err != nil {
			t.Errorf("a stream was cut: %v", err)
		}
	}
}

func TestAStreamOutlastsTheServersLimits(t *testing.T) {
	t.Parallel()
	for _, route := range newMonitor(t, monitor.Config{}).Routes() {
		if route.Pattern == "GET /events" && (!route.Slow || route.Scope != access.Read) {
			t.Errorf("%+v", route)
		}
	}
}

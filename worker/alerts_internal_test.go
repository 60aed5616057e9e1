package worker

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"oneflow/jobs"
)

// watched is a fleet as a test has it, and remembers the alerts that hold.
type watched struct {
	MoneyStore
	down  []Down
	dead  map[string]int64
	stuck []Stuck

	open    map[string]jobs.Alert
	webhook string
}

func (w *watched) ProvidersDown(context.Context, time.Duration) ([]Down, error) { return w.down, nil }

func (w *watched) DeadLetters(context.Context) (map[string]int64, error) { return w.dead, nil }

func (w *watched) StuckQueues(context.Context, time.Duration) ([]Stuck, error) { return w.stuck, nil }

func (w *watched) RaiseAlerts(_ context.Context, _ []string, now []jobs.Alert, webhook string) (opened, over []jobs.Alert, err error) {
	w.webhook = webhook
	holds := map[string]jobs.Alert{}
	for _, a := range now {
		key := a.Kind + " " + a.Subject
		holds[key] = a
		if was, ok := w.open[key]; !ok || was.Level < a.Level {
			opened = append(opened, a)
		}
	}
	for key, a := range w.open {
		if _, ok := holds[key]; !ok {
			over = append(over, a)
		}
	}
	w.open = holds
	return opened, over, nil
}

func TestTheFleetsTroublesAreToldAndSaidToBeOver(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := &watched{open: map[string]jobs.Alert{}}
	tm := &term{cfg: Config{Store: Stores{Money: w, Watch: w}, Log: zerolog.New(&log), AlertsURL: "https://example.com/hooks"}}
	round := func(want string) {
		t.Helper()
		log.Reset()
		if more, err := tm.watchFleet(t.Context()); more || err != nil {
			t.Fatal(more, err)
		}
		var lines []string
		for line := range strings.Lines(log.String()) {
			_, message, _ := strings.Cut(line, `"message":"`)
			lines = append(lines, strings.TrimSuffix(strings.TrimSpace(message), `"}`))
		}
		if got := fmt.Sprint(lines); got != want {
			t.Errorf("told %s\nwant %s", got, want)
		}
	}
	round("[]")
	w.down = []Down{{"openai", "its account is out of money"}}
	w.dead = map[string]int64{"openai": 9, "anthropic": 12}
	round("[alert: openai is not used: its account is out of money. `monitor providers ls` says more" +
		" alert: 12 jobs for anthropic have ended without an answer in the last hour: `enqueue ls` shows their batches, `enqueue retry` brings them back]")
	w.dead["anthropic"] = 99
	round("[]")
	w.dead["anthropic"] = 100
	round("[alert: 100 jobs for anthropic have ended without an answer in the last hour: `enqueue ls` shows their batches, `enqueue retry` brings them back]")
	w.down, w.dead = nil, nil
	w.stuck = []Stuck{{jobs.Queue{Provider: "mock", Lane: jobs.Bulk}, 7, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	tm.cfg.Log = zerolog.New(&log).Level(zerolog.WarnLevel)
	round("[alert: 7 jobs wait in mock.bulk, the first since 2026-01-02T03:04:05Z, and none ends: `monitor status` says what they wait for]")
	w.stuck = nil
	tm.cfg.Log = zerolog.New(&log)
	round("[alert is over]")
	if w.webhook != "https://example.com/hooks" || len(w.open) != 0 {
		t.Errorf("%q %v", w.webhook, w.open)
	}
}

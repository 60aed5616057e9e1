package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/schedules"
	"oneflow/store"
)

// A fire's rows become what `enqueue batch` makes of them: those that were kept, and
// those of a URL as they are at that moment.
func TestAFireMakesABatchOfKeptRowsAndOfThoseOfAURL(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), storetest.Database(t)
	db, err := store.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	cfg, err := config.Load("", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(storetest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	o := WorkerOptions{Config: cfg, Store: db, Log: zerolog.Nop()}
	runner := newSchedules(o, jobs.NewProducer(db, jobs.NewDispatcher(client, db)))

	object := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(object, []byte("question\nwhy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(time.Second)
	add := func(name, account string, kept batches.Kept, content []byte) {
		t.Helper()
		kept.Defaults = map[string]json.RawMessage{"provider": []byte(`"openai"`), "task": []byte(`"text"`), "max_tokens": []byte(`100`)}
		input, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := schedules.Spec{Every: time.Hour, Anchor: at}.Parse()
		if err != nil {
			t.Fatal(err)
		}
		err = db.AddSchedule(ctx, schedules.Schedule{Name: name, Spec: spec, Overlap: schedules.Skip, Account: account, Source: kept.Name, Input: input, Content: content, CreatedAt: at, Next: spec.Next(at)})
		if err != nil {
			t.Fatal(err)
		}
	}
	fire := func(name string, second int) schedules.Fire {
		t.Helper()
		now := at.Add(time.Duration(second) * time.Second)
		err := db.FireNow(ctx, schedules.Fire{Schedule: name, At: now, FiredAt: now, ByHand: true, State: schedules.Accepting, BatchID: schedules.BatchID(name, now)})
		if err == nil {
			err = runner.Round(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		fires, err := db.Fires(ctx, name, 1)
		if err != nil {
			t.Fatal(err)
		}
		return fires[0]
	}
	add("kept", "acme", batches.Kept{Name: "rows.csv", Template: "Say: {{question}}"}, []byte("question\nwhy\nwho\n"))
	add("url", "acme", batches.Kept{Name: "rows.csv", URL: "file://" + object, Map: map[string]string{"prompt": "question"}}, nil)
	add("poor", "poor", batches.Kept{Name: "rows.csv", Template: "Say: {{question}}"}, []byte("question\nwhy\n"))
	add("nothing", "acme", batches.Kept{Name: "rows.csv", URL: "file://" + object + ".not"}, nil)

	check := func(f schedules.Fire, state schedules.State, accepted int) {
		t.Helper()
		if f.State != state || f.Accepted != accepted || accepted > 0 != (f.Error == "") {
			t.Errorf("%s: %s, %d accepted, %q", f.Schedule, f.State, f.Accepted, f.Error)
		}
	}
	check(fire("kept", 0), schedules.Accepted, 2)
	check(fire("url", 0), schedules.Accepted, 1)
	if err := os.WriteFile(object, []byte("question\nwhy\nhow\nwhen\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(fire("url", 1), schedules.Accepted, 3)
	check(fire("nothing", 0), schedules.Accepting, 0)
	if _, err := db.Deposit(ctx, "poor", 1, "", "test"); err != nil {
		t.Fatal(err)
	}
	check(fire("poor", 0), schedules.Failed, 0)

	var prompts []string
	for _, id := range []string{schedules.BatchID("kept", at), schedules.BatchID("url", at.Add(time.Second))} {
		err := db.Export(ctx, id, func(r batches.Record) error {
			prompts = append(prompts, r.Prompt)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Say: why", "Say: who", "why", "how", "when"}, prompts); diff != "" {
		t.Errorf("prompts (-want +got):\n%s", diff)
	}
}

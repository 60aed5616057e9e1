package app_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool" //nolint:depguard // to see what others are shown
	"github.com/rs/zerolog"

	"oneflow/internal/app"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/keys"
	"oneflow/store"
)

const testKey = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"

// served waits until what the workers table shows is as wanted.
func served(t *testing.T, sql *pgxpool.Pool, name string, want bool) {
	t.Helper()
	eventually(t, name+" is shown as it is served", func() bool {
		var names []string
		if err := sql.QueryRow(t.Context(), `SELECT providers FROM workers WHERE stopped_at IS NULL`).Scan(&names); err != nil {
			return false // not there yet
		}
		return slices.Contains(names, name) == want
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func TestAKeyThatIsAddedWhileAWorkerRunsIsServedAtOnceAndNoLongerWhenItGoes(t *testing.T) {
	t.Parallel()
	vendor, err := fakeprovider.New(fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{testKey: nil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := vendor.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vendor.Close() })
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "keys.json")
	cfg := parse(t, "providers: {openai: {base_url: "+vendor.URL+"/openai/v1, limits: {rpm: 6000}}}\nartifacts: "+filepath.Join(dir, "artifacts")+"\nkeys: "+keyFile+"\nstate: ''\n")

	url := storetest.Database(t)
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	sql := storetest.Pool(t, url)
	redisURL := storetest.Redis(t)
	redis, err := asynq.ParseRedisURI(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	held, err := app.OpenKeys(func(string) string { return "" }, cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Keys: held, Store: db, Redis: redis, Log: zerolog.Nop()})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		held.Close()
	})
	producer := jobs.NewProducer(db, jobs.NewDispatcher(storetest.Client(t, redisURL), db))
	row := int64(0)
	enqueue := func() string {
		row++
		rows := []jobs.New{{
			ID: jobs.NewID(), Seq: row, Provider: "openai", Lane: jobs.Default,
			Request: providers.Request{Task: providers.Text, Model: "gpt-4o-mini", Prompt: "hello"},
		}}
		if err := jobs.NewKeys().Assign(&rows[0]); err != nil {
			t.Fatal(err)
		}
		if _, dispatchErr, err := producer.Enqueue(t.Context(), "", rows); err != nil || dispatchErr != nil {
			t.Fatal(dispatchErr, err)
		}
		return rows[0].ID.String()
	}
	state := func(id string) jobs.State {
		p, err := db.Progress(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return jobs.State(p.State)
	}

	served(t, sql, "mock", true)
	served(t, sql, "openai", false)
	first := enqueue()
	if err := keys.Set(keyFile, "openai", testKey); err != nil {
		t.Fatal(err)
	}
	served(t, sql, "openai", true)
	eventually(t, "the job that waited has run", func() bool { return state(first) == jobs.Succeeded })
	if settings, _, err := db.Settings(t.Context()); err != nil || settings["openai"].Configured.RPM != 6000 {
		t.Errorf("%+v, %v, want a row with its limits", settings["openai"], err)
	}

	if err := keys.Remove(keyFile, "openai"); err != nil {
		t.Fatal(err)
	}
	served(t, sql, "openai", false)
	second := enqueue()
	if got := state(second); got != jobs.Queued || vendor.Count() != 1 {
		t.Errorf("%s after %d calls, want it to wait", got, vendor.Count())
	}
	if err := keys.Set(keyFile, "openai", testKey); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job that waited has run", func() bool { return state(second) == jobs.Succeeded })
}

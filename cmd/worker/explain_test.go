package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// explained runs worker run --explain over these providers, and returns the
// table's lines with single spaces.
func explained(t *testing.T, database string) (lines []string, r result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "explain.yaml")
	err := os.WriteFile(file, []byte(`
providers:
  fast: {kind: mock, limits: {rpm: 600}, latency: 500ms}
  fixed: {kind: mock, limits: {rpm: 6000}, latency: 920ms, concurrency: 2}
  free: {kind: mock, limits: {rpm: 0}, latency: 920ms}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r = command(t.Context(), "run", "--explain", "--config", file, "--database-url", database, "--connect-timeout", "3s",
		"--provider", "fast", "--provider", "fixed", "--provider", "free")
	for line := range strings.Lines(r.out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if r.code != cli.OK || len(lines) != 4 || lines[0] != "PROVIDER LIMIT LATENCY P90 WORKERS CONCURRENCY FLEET JOBS/MIN BINDS" {
		t.Fatalf("%+v", r)
	}
	return lines[1:], r
}

func TestExplainReckonsWithTheConfigurationWhereNothingElseIsKnown(t *testing.T) {
	t.Parallel()
	want := []string{
		"fast 600 requests/min 500ms (configured) 1 10 + 2 high 10 600 requests/min",
		"fixed 6,000 requests/min 920ms (configured) 1 2 + 2 high 2 120 configured",
		"free none 920ms (configured) 1 64 + 16 high 64 3,840 no limit",
	}
	down := "postgres://u:canary@" + closed + "/x"
	for database, note := range map[string]string{
		storetest.Database(t): "",
		down:                  "worker: computed from the configuration, for one worker: Postgres does not answer",
		"":                    "worker: computed from the configuration, for one worker: DATABASE_URL is not set",
	} {
		lines, r := explained(t, database)
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("with database %q:\n%s", database, r.out)
		}
		if !strings.Contains(r.err, note) || note == "" && r.err != "" || strings.Contains(r.err, "canary") {
			t.Errorf("with database %q it says %q, want %q", database, r.err, note)
		}
	}
}

func TestExplainTellsWhatEachModelGets(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	served := worker.Served{Name: "vendor", Kind: "mock", Concurrency: 1, ByModel: true, Models: map[string]worker.ServedModel{
		"slow": {Limits: providers.Limits{RPM: 30}, Window: 200, Chunk: 1}, "slow-2026-10-01": {Limits: providers.Limits{RPM: 30}, Window: 200, Chunk: 1},
		"other": {Limits: providers.Limits{RPM: 30_000}, Window: 10_000, Chunk: 100},
	}}
	if err := db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "h", PID: 1, Providers: []worker.Served{served}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "explain.yaml")
	if err := os.WriteFile(file, []byte("providers: {vendor: {kind: mock, latency: 500ms, model_limits: {slow: {rpm: 30}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := command(t.Context(), "run", "--explain", "--config", file, "--database-url", database, "--provider", "vendor")
	var lines []string
	for line := range strings.Lines(r.out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if r.code != cli.OK || len(lines) != 4 || !strings.HasPrefix(lines[1], "vendor 30,030 requests/min ") || !strings.HasPrefix(lines[2], "* 30,000 requests/min ") || !strings.HasPrefix(lines[3], "slow 30 requests/min 4 4 30 ") {
		t.Errorf("%+v\n%s", r, strings.Join(lines, "\n"))
	}
}

func TestExplainReckonsWithWhatTheFleetHasSeen(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		if err := db.Register(t.Context(), worker.Presence{ID: jobs.NewID(), Host: "h", PID: 1, Providers: []worker.Served{{Name: "fast", Kind: "mock", Concurrency: 1, Limits: providers.Limits{RPM: 600}}}}); err != nil {
			t.Fatal(err)
		}
	}
	sql, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer sql.Close(t.Context())
	_, err = sql.Exec(t.Context(), `
		INSERT INTO calls (id, worker_id, provider, model, state, deadline, finished_at, latency_ms)
		SELECT gen_random_uuid(), $1, 'fast', 'm', 'succeeded', now(), now(), 2120
		FROM generate_series(1, 50)`, jobs.NewID())
	if err != nil {
		t.Fatal(err)
	}
	lines, r := explained(t, database)
	if want := "fast 600 requests/min 2.12s 2 14 + 3 high 28 600 requests/min"; lines[0] != want || r.err != "" {
		t.Errorf("%q, want %q; %s", lines[0], want, r.err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/store"
)

func TestBatchesAndTheirJobsAreListed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, id := range []string{"old", "new"} {
		if r := s.run(t.Context(), strings.NewReader(lines(1, 3)), "batch", "-", "--batch-id", id); r.code != cli.OK {
			t.Fatalf("%+v", r)
		}
	}
	id := func(n int) string {
		return one[string](s, `SELECT id::text FROM jobs WHERE batch_id = 'old' AND seq = $1`, n)
	}
	s.finish(id(1), "one", "")
	s.finish(id(2), "", "the key was refused")
	r := s.enqueue("ls")
	lines := strings.Split(r.out, "\n")
	if r.code != cli.OK || len(lines) != 6 || lines[3] != "new waits: 3 jobs: no worker is running: start one with `worker run`" || !strings.HasPrefix(lines[0], "BATCH") || !strings.HasPrefix(lines[1], "new") || strings.Join(strings.Fields(lines[2])[:6], " ") != "old running 3 2 1 $0.0015" {
		t.Errorf("%+v", r)
	}
	if list := decoded[[]listed](t, s.enqueue("ls", "--limit", "1", "-o", "json").out); len(list) != 1 || list[0].ID != "new" || list[0].State != "running" {
		t.Errorf("%+v", list)
	}
	failed := decoded[[]listedJob](t, s.enqueue("jobs", "old", "--failed", "-o", "json").out)
	if len(failed) != 1 || failed[0].ID != id(2) || failed[0].Row != 2 || failed[0].CustomID != "r2" || failed[0].Error != "auth" || failed[0].Message != "the key was refused" {
		t.Errorf("%+v", failed)
	}
	if r := s.enqueue("jobs", "old"); strings.Count(r.out, "\n") != 4 || !strings.Contains(r.out, "auth: the key was refused") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("jobs", "none"); r.code != cli.Usage || r.err != "enqueue: none: no such job or batch\n" {
		t.Errorf("%+v", r)
	}
}

func TestAnExportOfARunningBatchSaysHowManyJobsHaveNoResult(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 3)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	s.finish(one[string](s, `SELECT id::text FROM jobs WHERE seq = 1`), "one", "")
	out := filepath.Join(t.TempDir(), "out.jsonl")
	r := s.enqueue("export", "b1", "--succeeded", "--out", out)
	if r.code != cli.OK || r.err != "wrote 1 lines to "+out+"\nenqueue: 2 jobs have not finished and have no result yet: export again after `enqueue watch b1`\n" {
		t.Errorf("%+v", r)
	}
	if data, err := os.ReadFile(out); err != nil || strings.Count(string(data), "\n") != 1 {
		t.Errorf("%s, %v", data, err)
	}
	if r := s.enqueue("export", "b1", "--succeeded", "--failed"); r.code != cli.Usage {
		t.Errorf("%+v", r)
	}
}

func TestSimulatedMoneyStandsApart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 2)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`)
	s.finish(ids[0], "one", "")
	s.finish(ids[1], "two", "")
	// As if a mock had answered the second.
	for _, sql := range []string{
		`UPDATE calls SET simulated = true WHERE id = (SELECT call_id FROM call_jobs WHERE job_id = $1)`,
		`UPDATE job_states SET simulated_nano = cost_nano, cost_nano = 0, charge_nano = 0 WHERE job_id = $1`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql, ids[1]); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.enqueue("status", "b1"); !strings.Contains(r.out, "\ncost         $0.0015\n") || !strings.Contains(r.out, "\nsimulated    $0.0015\n") {
		t.Errorf("%+v", r)
	}
	if st := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out); st.CostUSD != 1_500_000 || st.SimulatedUSD != 1_500_000 {
		t.Errorf("%+v", st)
	}
	const want = `FOR     PROVIDER  CALLS  COST     SIMULATED
answer  mock      2      $0.0015  $0.0015
all               2      $0.0015  $0.0015
`
	if r := s.enqueue("cost", "b1"); r.out != want {
		t.Errorf("%+v, want %s", r, want)
	}
	if r := s.enqueue("export", ids[1]); !strings.Contains(r.out, `"cost_usd":"0","charge_usd":"0","simulated_cost_usd":"0.0015"`) {
		t.Errorf("%+v", r)
	}
}

func TestListsAndStatusSayWhyJobsWait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.worker("mock")
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`)
	s.finish(ids[0], "one", "")
	for _, sql := range []string{
		`UPDATE providers SET blocked_until = now() + interval '1 hour', blocked_reason = 'rate_limited'`,
		`UPDATE job_states SET paused_at = now() WHERE job_id = '` + ids[1] + `'`,
		`UPDATE job_states SET state = 'retrying', error_class = 'server', attempt = 1, not_before = now() + interval '1 minute' WHERE job_id = '` + ids[2] + `'`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	why := []string{"", "paused by an operator: `enqueue resume` lets it go on", "retrying after server, at ", "mock asked to be left alone until "}
	reasons := []fleet.WaitReason{"", fleet.WaitForResume, fleet.WaitForRetry, fleet.WaitForBlock}

	status := s.enqueue("status", "b1").out
	listing := s.enqueue("jobs", "b1").out
	list := decoded[[]listedJob](t, s.enqueue("jobs", "b1", "-o", "json").out)
	for i, text := range why {
		if i == 0 {
			if len(list[0].Waits) != 0 {
				t.Errorf("a job that has ended waits: %+v", list[0])
			}
			continue
		}
		if !strings.Contains(status, "waits        1 job: "+text) || !strings.Contains(listing, text) {
			t.Errorf("%q is not said:\n%s\n%s", text, status, listing)
		}
		if len(list[i].Waits) != 1 || list[i].Waits[0].Reason != reasons[i] {
			t.Errorf("job %d: %+v", i+1, list[i])
		}
		if r := s.enqueue("status", ids[i]); !strings.Contains(r.out, "\nwaits  "+text) {
			t.Errorf("%+v", r)
		}
	}
	if st := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out); len(st.Waits) != 3 {
		t.Errorf("%+v", st)
	}
	if r := s.enqueue("status", "b1", "-o", "ndjson"); strings.Count(r.out, "\n") != 1 || len(decoded[batchStatus](t, r.out).Waits) != 3 {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("jobs", "b1", "-o", "ndjson"); strings.Count(r.out, "\n") != 4 || strings.Count(r.out, `"waits":[`) != 4 {
		t.Errorf("%+v", r)
	}
}

func TestTokensPerMinuteAreThoseOfTheLastMinute(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 1)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	s.finish(one[string](s, `SELECT id::text FROM jobs`), "one", "")
	db, err := store.Open(t.Context(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	check := func(batch string, want int64) {
		t.Helper()
		if n, err := db.TokensPerMinute(t.Context(), batch); n != want || err != nil {
			t.Errorf("%s: %d, want %d, %v", batch, n, want, err)
		}
	}
	check("b1", 8)
	check("another", 0)
	if _, err := s.pool.Exec(t.Context(), `UPDATE calls SET started_at = now() - interval '3 minutes', finished_at = now() - interval '2 minutes'`); err != nil {
		t.Fatal(err)
	}
	check("b1", 0)
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

func TestDeadLettersAreSettledCountedAndBroughtBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`)
	s.finish(ids[0], "one", "")
	for _, id := range ids[1:] {
		s.finish(id, "", "the key was refused")
	}
	// Two of them as after a worker's death, one past its deadline.
	if _, err := s.pool.Exec(t.Context(), `
		UPDATE job_states SET state = 'unknown', cost_nano = 1500000 WHERE job_id IN (SELECT id FROM jobs WHERE seq IN (2, 3));
		UPDATE call_jobs SET share_nano = 1500000 WHERE job_id IN (SELECT id FROM jobs WHERE seq IN (2, 3));
		UPDATE calls SET state = 'unknown', cost_nano = 1500000, charge_nano = 1500000, error_kind = 'worker_died'
		WHERE id IN (SELECT call_id FROM call_jobs JOIN jobs ON id = job_id WHERE seq IN (2, 3));
		UPDATE job_states SET state = 'expired', error_class = '' WHERE job_id IN (SELECT id FROM jobs WHERE seq = 4)`); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args []string
		out  string
	}{
		{[]string{"cost", "b1"}, "FOR      PROVIDER  CALLS  COST\nanswer   mock      1      $0.0015\nfirst    mock      1      $0.00\nunknown  mock      2      $0.003\nall                4      $0.0045\n"},
		{[]string{"retry", "b1"}, "queued 0 jobs again; left alone: 2 unknown (--unknown brings them back), 1 expired (--expired brings them back)\n"},
		{[]string{"resolve", ids[1], "--billed", "--cost", "0.0004"}, "settled 1 calls; 1 unknown jobs are failed\n"},
		{[]string{"retry", "b1"}, "queued 1 jobs again; left alone: 1 unknown (--unknown brings them back), 1 expired (--expired brings them back)\n"},
		{[]string{"resolve", "b1", "--unbilled", "--retry"}, "settled 1 calls; 1 unknown jobs are queued again\n"},
		{[]string{"retry", ids[3], "--expired"}, "queued 1 jobs again\n"},
	} {
		if r := s.enqueue(step.args...); r.code != cli.OK || r.err != "" || r.out != step.out {
			t.Errorf("%q: %+v, want %s", step.args, r, step.out)
		}
	}
	if got := one[string](s, `SELECT string_agg(state || gen || ' ' || cost_nano, ', ' ORDER BY seq) FROM jobs JOIN job_states ON job_id = id`); got != "succeeded1 1500000, queued2 400000, queued2 0, queued2 0" {
		t.Error(got)
	}
	got := decoded[map[string]any](t, s.enqueue("retry", "b1", "-o", "json").out)
	if diff := cmp.Diff(map[string]any{"id": "b1", "retried": 0.0, "left": map[string]any{}}, got); diff != "" {
		t.Error(diff)
	}
	got = decoded[map[string]any](t, s.enqueue("resolve", "b1", "--unbilled", "-o", "json").out)
	if diff := cmp.Diff(map[string]any{"id": "b1", "calls": 0.0, "jobs": 0.0}, got); diff != "" {
		t.Error(diff)
	}
	got = decoded[map[string]any](t, s.enqueue("cost", ids[0], "-o", "json").out)
	if diff := cmp.Diff(map[string]any{
		"id": ids[0], "calls": 1.0, "cost_usd": "0.0015", "charge_usd": "0.0015", "simulated_cost_usd": "0", "unpriced_calls": 0.0,
		"cheaper": []any{}, "cheaper_answers": 1.0,
		"by": []any{map[string]any{"for": "answer", "provider": "mock", "calls": 1.0, "jobs": 1.0, "cost_usd": "0.0015", "charge_usd": "0.0015", "simulated_cost_usd": "0", "unpriced_calls": 0.0}},
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWrongUseOfRetryAndResolveIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 1)), "batch", "-", "--batch-id", "gone"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	s.enqueue("cancel", "gone")
	for want, args := range map[string][]string{
		"no such job or batch":               {"retry", "none"},
		"none: no such job or batch":         {"cost", "none"},
		"nothing of it runs again":           {"retry", "gone"},
		"resolve it without --retry":         {"resolve", "gone", "--unbilled", "--retry"},
		"--billed":                           {"resolve", "gone"},
		"can't be used together":             {"resolve", "gone", "--billed", "--unbilled"},
		"--cost -1: ":                        {"resolve", "gone", "--billed", "--cost=-1"},
		"--cost 1: goes with --billed only":  {"resolve", "gone", "--unbilled", "--cost", "1"},
		"--cost cheap: ":                     {"resolve", "gone", "--billed", "--cost", "cheap"},
		"resolve nobody: no such job or bat": {"resolve", "nobody", "--billed"},
	} {
		if r := s.enqueue(args...); r.code != cli.Usage || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%q: %+v, want %s", args, r, want)
		}
	}
}

func TestAClassThatNoJobHasFailedWithIsAnsweredWithThoseThatThereAre(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 1)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	s.finish(one[string](s, `SELECT id::text FROM jobs`), "", "the key was refused")
	if r := s.enqueue("retry", "b1", "--class", "rate-limited"); r.code != cli.OK || r.out != "queued 0 jobs again\n" || r.err != "enqueue: no job of b1 has failed with class \"rate-limited\"; they have with auth (1 job)\n" {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("retry", "b1", "--class", "auth"); r.code != cli.OK || r.out != "queued 1 jobs again\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
}

func TestAJobThatExpiredSaysSo(t *testing.T) {
	t.Parallel()
	err := outcome(jobs.Progress{JobID: "a", State: "expired", Counts: map[jobs.State]int64{jobs.Expired: 1}})
	if err == nil || !strings.Contains(err.Error(), "the job expired: the time until which it was to be answered") {
		t.Error(err)
	}
}

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
)

func TestNewestBatchesComeFirstAndNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for i := range 5 {
		w.batch(t, fmt.Sprint("b", i), 1)
		w.exec(t, `UPDATE batches SET created_at = now() - make_interval(mins => $1), source = $2 WHERE id = $2`, i, fmt.Sprint("b", i))
	}
	w.exec(t, `UPDATE batches SET sealed_at = now() WHERE id = 'b1'`)
	w.exec(t, `UPDATE batches SET cancelled_at = now() WHERE id = 'b2'`)
	got, err := w.NewestBatches(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		want := fmt.Sprint("b", i)
		if b.ID != want || b.Source != want || b.Account != "default" || b.SealedAt.IsZero() == (i == 1) || b.CancelledAt.IsZero() == (i == 2) {
			t.Errorf("%d: %+v", i, b)
		}
	}
	if len(got) != 3 {
		t.Errorf("got %d batches, want 3", len(got))
	}
}

func TestTalliesCountEachBatchByItself(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	mixed := w.batch(t, "mixed", 4)
	w.batch(t, "other", 2)
	w.batch(t, "empty", 0)
	w.accept(t, 3, nil) // of no batch
	priced, unpriced := w.mustClaim(t, mixed[0]), w.mustClaim(t, mixed[1])
	if err := w.Succeed(t.Context(), success(priced, w.sent(t, priced, nano(900)), nano(700))); err != nil {
		t.Fatal(err)
	}
	if err := w.Succeed(t.Context(), success(unpriced, w.sent(t, unpriced, nil), nil)); err != nil {
		t.Fatal(err)
	}
	w.mustClaim(t, mixed[2])
	got, err := w.Tallies(t.Context(), []string{"mixed", "empty"})
	if err != nil {
		t.Fatal(err)
	}
	m := got["mixed"]
	if m.Counts[jobs.Succeeded] != 2 || m.Counts[jobs.Running] != 1 || m.Counts[jobs.Queued] != 1 || m.Total() != 4 || m.Done() != 2 ||
		m.Cost != 700 || m.Unpriced != 1 || m.LastFinished.IsZero() {
		t.Errorf("mixed: %+v", m)
	}
	if e, ok := got["empty"]; !ok || e.Total() != 0 || len(e.Counts) != len(jobs.States()) || !e.LastFinished.IsZero() || len(got) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestFleetShowsProvidersWorkersAndTotals(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	gone, silent := jobs.NewID(), jobs.NewID()
	w.register(t, gone)
	w.register(t, silent)
	if err := w.Retire(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE workers SET heartbeat_at = now() - interval '1 minute' WHERE id = $1`, silent)
	w.exec(t, `UPDATE providers SET limits_pinned = '{"rpm": 60}', status = 'unavailable', reason = 'out of credit' WHERE name = 'mock'`)
	w.running(t, nil)
	w.accept(t, 2, nil)
	bucket := map[int64]int{99: 0, 100: 53, 200: 61, 300: 65, 9000: 105, 1: 8}
	var f fleet.Snapshot
	w.withinAMinute(t, func() {
		w.exec(t, `TRUNCATE provider_metrics, provider_latencies`)
		for _, m := range []struct {
			model         string
			ago           int
			requests, p95 int64
		}{{"a", 0, 10, 100}, {"b", 0, 30, 200}, {"a", 4, 40, 300}, {"a", 5, 1000, 9000}, {"a", 29, 7, 1}, {"a", 30, 5000, 1}, {"a", 3000, 1, 1}} {
			w.exec(t, `
				INSERT INTO provider_metrics (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown, rate_limited,
					input_tokens, output_tokens, cost_nano, unpriced, latency_ms_sum, latency_ms_max, last_started_at)
				VALUES ('mock', $1, date_trunc('minute', now()) - make_interval(mins => $2), 0, $3::bigint, $3::bigint - 2, 1, 0, 1, 1, 5, 7, 11, 1, 0, $4, now())`,
				m.model, m.ago, m.requests, m.p95)
			w.exec(t, `
				INSERT INTO provider_latencies (provider, model, minute, slot, bucket, calls, succeeded)
				VALUES ('mock', $1, date_trunc('minute', now()) - make_interval(mins => $2), 0, $3, $4, $4)`,
				m.model, m.ago, bucket[m.p95], m.requests)
		}
		var err error
		f, err = w.Fleet(t.Context())
		must(t, err)
	})
	if len(f.Workers) != 2 || !f.Workers[0].Alive || f.Workers[0].Running != 1 || f.Workers[0].ID != w.worker.String() ||
		f.Workers[1].Alive || f.Workers[1].SilentFor < 59*time.Second || f.Alive() != 1 {
		t.Errorf("workers %+v", f.Workers)
	}
	if len(f.Providers) != 1 {
		t.Fatalf("providers %+v", f.Providers)
	}
	p := f.Providers[0]
	want := fleet.Traffic{
		Requests: 80, Succeeded: 74, RateLimited: 3, Unknown: 3, InputTokens: 15, OutputTokens: 21,
		Money: jobs.Money{Cost: 33, Unpriced: 3},
	}
	if diff := cmp.Diff(want, p.Traffic); diff != "" {
		t.Errorf("the last five minutes (-want +got):\n%s", diff)
	}
	if p.P50 < 180 || p.P50 > 220 || p.P95 < 270 || p.P95 > 300 {
		t.Errorf("p50 %d, p95 %d, want about 200 and 300: they are no averages of the minutes' own", p.P50, p.P95)
	}
	if p.Status != "unavailable" || p.Reason != "out of credit" || p.Limits.RPM != 60 || p.Workers != 1 {
		t.Errorf("provider %+v", p)
	}
	if n := len(p.Curve); n != fleet.Minutes || p.Curve[n-1] != 40 || p.Curve[n-5] != 40 || p.Curve[n-6] != 1000 || p.Curve[0] != 7 {
		t.Errorf("curve %v", p.Curve)
	}
	if d := f.Totals; d.Unfinished != 3 || d.More || d.Running != 1 || d.Day.Requests != 6_087 || d.Day.Cost != 6*11 || d.Day.Unpriced != 6 {
		t.Errorf("totals %+v", d)
	}
}

func TestFleetOfAnEmptyDatabaseIsEmpty(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.exec(t, `TRUNCATE workers, providers`)
	f, err := w.Fleet(t.Context())
	if err != nil || len(f.Providers) != 0 || len(f.Workers) != 0 || f.Totals != (fleet.Totals{}) {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestBatchDetailTellsModelsAndTheLatestProblemOfEachKind(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.batch(t, "b", 7)
	w.accept(t, 1, nil)
	for i, end := range []struct {
		state          jobs.State
		class, message string
	}{
		{jobs.Failed, "invalid_request", "older"},
		{jobs.Failed, "invalid_request", "newer"},
		{jobs.Failed, "moderated", "refused"},
		{jobs.Retrying, "overloaded", "later"},
	} {
		j := w.mustClaim(t, d[i])
		c := w.sent(t, j, nano(100))
		if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0)}); err != nil {
			t.Fatal(err)
		}
		_, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: end.state, After: time.Hour, Class: end.class, Message: end.message})
		if err != nil {
			t.Fatal(err)
		}
	}
	j := w.mustClaim(t, d[4])
	if err := w.Succeed(t.Context(), success(j, w.sent(t, j, nano(100)), nano(60))); err != nil {
		t.Fatal(err)
	}
	j = w.mustClaim(t, d[5])
	w.sent(t, j, nil) // under way: not unpriced yet
	w.exec(t, `UPDATE job_states SET state = 'expired', finished_at = now() WHERE job_id = $1`, d[6].ID)

	got, err := w.BatchDetail(t.Context(), "b", true)
	if err != nil {
		t.Fatal(err)
	}
	models := []batches.ModelUse{{Provider: "mock", Model: "m", Calls: 6, Succeeded: 1, Money: jobs.Money{Cost: 60 * billing.NanoUSD(1)}}}
	if diff := cmp.Diff(models, got.Models); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	type problem struct {
		State          jobs.State
		Class, Message string
		Jobs           int64
		JobID          string
		Timed          bool
	}
	var problems []problem
	for _, p := range got.Problems {
		problems = append(problems, problem{p.State, p.Class, p.Message, p.Jobs, p.JobID, !p.At.IsZero()})
	}
	want := []problem{
		{jobs.Failed, "invalid_request", "newer", 2, d[1].ID.String(), true},
		{jobs.Expired, "", "", 1, d[6].ID.String(), true},
		{jobs.Failed, "moderated", "refused", 1, d[2].ID.String(), true},
		{jobs.Retrying, "overloaded", "later", 1, d[3].ID.String(), false},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got.Total() != 7 || got.Failures() != 4 || got.Cost != 60 {
		t.Errorf("tally %+v", got.Tally)
	}
	if _, err := w.BatchDetail(t.Context(), "none", true); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("a batch that is not there: %v", err)
	}
}

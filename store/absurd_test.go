package store_test

import (
	"context"
	"math"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// A provider may say anything of itself: what it says must neither be refused by
// the ledger, nor take the views of all others down.
func TestAbsurdNumbersAreBoundedWhereTheyEnter(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, tokens := range []int64{math.MaxInt64, math.MinInt64, -1, 1 << 62} {
		j := w.running(t, nil)
		c := w.sent(t, j, nano(math.MaxInt64))
		done := success(j, c, nano(math.MaxInt64))
		done.Settlement.Usage = providers.Usage{InputTokens: tokens, OutputTokens: tokens}
		if err := w.Succeed(t.Context(), done); err != nil {
			t.Errorf("%d tokens: %v", tokens, err)
		}
	}
	if n := w.count(t, `SELECT count(*) FROM calls WHERE input_tokens BETWEEN 0 AND 1::bigint << 40 AND output_tokens BETWEEN 0 AND 1::bigint << 40 AND cost_nano <= 1e17`); n != 4 {
		t.Errorf("%d calls are within bounds, want 4", n)
	}
	w.holds(t)
}

// Each reader meets rows with the largest numbers that their columns hold, which
// earlier versions may have left.
func TestAbsurdRowsTakeNoViewDown(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for range 2 {
		for _, d := range w.batch(t, "b"+jobs.NewID().String()[30:], 2) {
			j := w.mustClaim(t, d)
			must(t, w.Succeed(t.Context(), success(j, w.sent(t, j, nano(1)), nano(1))))
		}
	}
	open := w.running(t, nil)
	call := w.sent(t, open, nano(9))
	const most = `9223372036854775807`
	w.exec(t, `UPDATE calls SET latency_ms = `+most+`, input_tokens = `+most+`, output_tokens = `+most+`, cost_nano = `+most+` WHERE state <> 'running'`)
	w.exec(t, `UPDATE calls SET simulated = true WHERE id IN (SELECT id FROM calls WHERE state <> 'running' LIMIT 2)`)
	w.exec(t, `UPDATE job_states SET cost_nano = `+most+`, simulated_nano = `+most)
	w.exec(t, `
		INSERT INTO provider_metrics (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown, rate_limited, refused,
			input_tokens, output_tokens, cost_nano, simulated_nano, unpriced, latency_ms_sum, latency_ms_max, last_started_at)
		SELECT 'mock', 'm' || n, date_trunc('minute', now()), 0, `+most+`, `+most+`, 0, 0, 0, `+most+`, `+most+`,
			`+most+`, `+most+`, `+most+`, `+most+`, `+most+`, `+most+`, `+most+`, now()
		FROM generate_series(1, 3) n`)
	w.exec(t, `UPDATE batches SET id = id`)
	ctx := t.Context()
	var batch string
	w.one(t, &batch, `SELECT to_jsonb(min(id)) FROM batches`)
	for what, read := range map[string]func(context.Context) error{
		"an audit":         func(ctx context.Context) error { _, _, err := w.AuditCounts(ctx, ""); return err },
		"the overview":     func(ctx context.Context) error { _, err := w.Fleet(ctx); return err },
		"health":           func(ctx context.Context) error { _, err := w.Health(ctx, time.Hour); return err },
		"standings":        func(ctx context.Context) error { _, err := w.Standings(ctx); return err },
		"figures":          func(ctx context.Context) error { _, err := w.TaskFigures(ctx, providers.Text, time.Hour); return err },
		"a batch's detail": func(ctx context.Context) error { _, err := w.BatchDetail(ctx, batch, true); return err },
		"tallies":          func(ctx context.Context) error { _, err := w.Tallies(ctx, []string{batch}); return err },
		"totals":           func(ctx context.Context) error { _, err := w.Totals(ctx, batch); return err },
		"expenses":         func(ctx context.Context) error { _, err := w.Expenses(ctx, batch); return err },
		"capacity":         func(ctx context.Context) error { _, err := w.Capacity(ctx, []string{"mock"}); return err },
		"what was sent":    func(ctx context.Context) error { _, err := w.Sent(ctx, "mock", ""); return err },
		"progress": func(ctx context.Context) error {
			p, err := w.Progress(ctx, batch)
			if p.Cost != math.MaxInt64 || p.Simulated != math.MaxInt64 {
				t.Errorf("progress: %+v, want the largest amount", p)
			}
			return err
		},
		"a call's settlement": func(ctx context.Context) error {
			return w.SettleCall(ctx, jobs.Settlement{CallID: call.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(5)})
		},
	} {
		if err := read(ctx); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	f, err := w.Fleet(ctx)
	if err != nil || f.Totals.Day.Cost != math.MaxInt64 || f.Totals.Day.InputTokens != math.MaxInt64 || f.Providers[0].Traffic.Cost < 0 {
		t.Errorf("%+v, %v", f.Totals, err)
	}
}

func TestSumsOfMoneySaturate(t *testing.T) {
	t.Parallel()
	most := jobs.Money{Cost: math.MaxInt64, Simulated: math.MaxInt64 - 1, Unpriced: 1}
	if got, want := most.Plus(jobs.Money{Cost: 1, Simulated: 1, Unpriced: 2}), (jobs.Money{Cost: math.MaxInt64, Simulated: math.MaxInt64, Unpriced: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (jobs.Money{Cost: math.MinInt64}).Plus(jobs.Money{Cost: -1}); got.Cost != billing.NanoUSD(math.MinInt64) {
		t.Errorf("%+v", got)
	}
}

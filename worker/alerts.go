package worker

import (
	"context"
	"fmt"
	"time"

	"oneflow/jobs"
)

// The times by which alerts may be late.
const (
	watchBudgetsEvery  = 5 * time.Second
	watchSpendingEvery = time.Minute
	checkLedgersEvery  = 10 * time.Minute
	watchFleetEvery    = time.Minute

	// downFor and stuckFor are the times after which a provider and a queue are told of.
	downFor  = time.Minute
	stuckFor = 15 * time.Minute
	// manyLetters is the number of dead letters of a provider in an hour that are told of; each ten
	// times as many are more severe.
	manyLetters = 10
)

// watchBudgets tells of each budget that is spent to a half, to four fifths, in full, or
// beyond, and of models whose bills were above their bound.
func (t *term) watchBudgets(ctx context.Context) (more bool, err error) {
	budgets, err := t.cfg.Store.Money.Budgets(ctx)
	if err != nil {
		return false, err
	}
	var now []jobs.Alert
	for _, b := range budgets {
		level := b.Reached()
		if level == 0 {
			continue
		}
		text := fmt.Sprintf("%d %% of the %s are spent (%s)", level, b, b.Spent.Human())
		switch {
		case level > 100:
			text = fmt.Sprintf("the %s is exceeded: %s are spent, since a bill was above the most that was reserved for it", b, b.Spent.Human())
		case level == 100 && b.Short() != "":
			text = fmt.Sprintf("the %s does not reach: %s: `%s` raises it", b, b.Short(), b.Command())
		case level == 100:
			text = fmt.Sprintf("the %s is used up: `%s` raises it", b, b.Command())
		}
		now = append(now, jobs.Alert{Kind: jobs.AlertBudget, Subject: b.Span(), Level: level, Text: text})
	}
	bounds, err := t.cfg.Store.Money.Bounds(ctx)
	if err != nil {
		return false, err
	}
	for _, b := range bounds {
		if !b.StoppedAt.IsZero() {
			now = append(now, jobs.Alert{
				Kind: jobs.AlertOverrun, Subject: b.Provider + " " + b.Model,
				Text: fmt.Sprintf("%s: blocking budgets let no call of it through until `%s`", b, b.Command()),
			})
		}
	}
	return false, t.raise(ctx, now, jobs.AlertBudget, jobs.AlertOverrun)
}

// watchSpending tells of an hour that costs several times the usual.
func (t *term) watchSpending(ctx context.Context) (more bool, err error) {
	h, err := t.cfg.Store.Money.HourlyCost(ctx)
	if err != nil {
		return false, err
	}
	var now []jobs.Alert
	if h.Unusual() {
		now = append(now, jobs.Alert{Kind: jobs.AlertSpending, Subject: "the last hour", Text: h.String()})
	}
	return false, t.raise(ctx, now, jobs.AlertSpending)
}

// checkLedgers tells of wallets whose balance is not the sum of their ledger.
func (t *term) checkLedgers(ctx context.Context) (more bool, err error) {
	wrong, err := t.cfg.Store.Money.WrongLedgers(ctx)
	if err != nil {
		return false, err
	}
	var now []jobs.Alert
	for _, e := range wrong {
		now = append(now, jobs.Alert{Kind: jobs.AlertLedger, Subject: "account " + e.Account, Text: e.Error()})
	}
	return false, t.raise(ctx, now, jobs.AlertLedger)
}

// watchFleet tells of providers that are down, of dead letters, and of queues in which nothing
// moves.
func (t *term) watchFleet(ctx context.Context) (more bool, err error) {
	down, err := t.cfg.Store.Watch.ProvidersDown(ctx, downFor)
	if err != nil {
		return false, err
	}
	var now []jobs.Alert
	for _, d := range down {
		now = append(now, jobs.Alert{
			Kind: jobs.AlertProvider, Subject: d.Provider,
			Text: fmt.Sprintf("%s is not used: %s. `monitor providers ls` says more", d.Provider, d.Why),
		})
	}
	dead, err := t.cfg.Store.Watch.DeadLetters(ctx)
	if err != nil {
		return false, err
	}
	for provider, n := range dead {
		if n < manyLetters {
			continue
		}
		now = append(now, jobs.Alert{
			Kind: jobs.AlertDeadLetters, Subject: provider, Level: len(fmt.Sprint(n)) - 1,
			Text: fmt.Sprintf("%d jobs for %s have ended without an answer in the last hour: `enqueue ls` shows their batches, `enqueue retry` brings them back", n, provider),
		})
	}
	stuck, err := t.cfg.Store.Watch.StuckQueues(ctx, stuckFor)
	if err != nil {
		return false, err
	}
	for _, q := range stuck {
		now = append(now, jobs.Alert{
			Kind: jobs.AlertQueue, Subject: jobs.QueueName(q.Provider, q.Lane),
			Text: fmt.Sprintf("%d jobs wait in %s, the first since %s, and none ends: `monitor status` says what they wait for",
				q.Jobs, jobs.QueueName(q.Provider, q.Lane), q.Since.UTC().Format(time.RFC3339)),
		})
	}
	return false, t.raise(ctx, now, jobs.AlertProvider, jobs.AlertDeadLetters, jobs.AlertQueue)
}

// raise keeps the alerts of some kinds, and logs what is new of them.
func (t *term) raise(ctx context.Context, now []jobs.Alert, kinds ...string) error {
	opened, over, err := t.cfg.Store.Money.RaiseAlerts(ctx, kinds, now, t.cfg.AlertsURL)
	for _, a := range opened {
		t.cfg.Log.Warn().Str("kind", a.Kind).Str("subject", a.Subject).Int("level", a.Level).Msg("alert: " + a.Text)
	}
	for _, a := range over {
		t.cfg.Log.Info().Str("kind", a.Kind).Str("subject", a.Subject).Time("since", a.OpenedAt).Msg("alert is over")
	}
	return err
}

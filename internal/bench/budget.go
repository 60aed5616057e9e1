package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"oneflow/billing"
)

// budget measures a round under one budget that all calls draw on, beside the rounds without.
func (b *bench) budget(ctx context.Context, w io.Writer, without figures) (err error) {
	money := billing.NewMoney(b.store, "bench")
	set, err := money.Set(ctx, billing.Budget{
		Scope: billing.Scope{Provider: "mock", Simulated: true}, Period: billing.Total, Limit: 1_000_000 * billing.USD, Blocks: true,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, money.Remove(ctx, set.ID)) }()
	f, err := b.oneflow(ctx, 1, 0)
	if err != nil {
		return err
	}
	list, err := b.store.Budgets(ctx)
	if err != nil {
		return err
	}
	for _, now := range list {
		if now.ID == set.ID && (now.Spent <= 0 || now.Reserved != 0) {
			return fmt.Errorf("the budget has spent %s and reserved %s after %d calls", now.Spent, now.Reserved, b.Jobs)
		}
	}
	fmt.Fprintf(w, "calls_s/no_budget = %.0f\n", without.rate(b.Jobs))
	fmt.Fprintf(w, "calls_s/hot_budget = %.0f\n", f.rate(b.Jobs))
	return nil
}

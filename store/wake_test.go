package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
)

// handBack ends the claim of a job that a budget refused, as a worker does.
func (w *database) handBack(t *testing.T, j *jobs.Job, refused *jobs.BudgetError) {
	t.Helper()
	if _, err := w.Complete(t.Context(), jobs.Completion{
		JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Queued, RefundAttempt: true, After: time.Hour,
		WaitReason: "budget: " + refused.Budget.String(), Budget: refused.Budget.ID, BudgetAt: refused.Budget.At,
	}); err != nil {
		t.Error(err)
	}
}

// poor counts the jobs that wait for money.
func (w *database) poor(t *testing.T) int {
	t.Helper()
	return w.count(t, `SELECT count(*) FROM job_states WHERE state = 'queued' AND not_before > now() AND starts_with(wait_reason, 'budget: ')`)
}

func TestAJobDoesNotWaitForMoneyThatCameBeforeItWasHandedBack(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(context.Context, billing.Money, billing.Budget) error{
		"deposit": func(ctx context.Context, m billing.Money, _ billing.Budget) error {
			_, err := m.Deposit(ctx, "default", 100, "")
			return err
		},
		"raised": func(ctx context.Context, m billing.Money, b billing.Budget) error {
			b.Limit = 100
			_, err := m.Set(ctx, b)
			return err
		},
		"removed": func(ctx context.Context, m billing.Money, b billing.Budget) error { return m.Remove(ctx, b.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			money := billing.NewMoney(w.Store, "ada")
			var b billing.Budget
			if name == "deposit" {
				if _, err := money.Deposit(t.Context(), "default", 1, ""); err != nil {
					t.Fatal(err)
				}
			} else {
				b = w.budget(t, billing.Budget{Period: billing.Total, Limit: 1, Blocks: true})
			}
			early, late := w.running(t, nil), w.running(t, nil)
			_, refused := w.tries(t, early, nano(2))
			w.handBack(t, early, refused)
			if n := w.poor(t); n != 1 {
				t.Fatalf("%d jobs wait for money, want 1", n)
			}
			_, refused = w.tries(t, late, nano(2))
			if err := mend(t.Context(), money, b); err != nil {
				t.Fatal(err)
			}
			w.handBack(t, late, refused)
			if n := w.poor(t); n != 0 {
				t.Errorf("%d jobs wait for money that is there", n)
			}
			// The delivery at hand comes back in an hour, and another does before.
			if n := w.count(t, `SELECT count(*) FROM job_queue WHERE worker_id IS NULL AND dispatched_at IS NULL AND gen > 1`); n != 2 {
				t.Errorf("%d jobs are to be dispatched anew, want 2", n)
			}
		})
	}
}

func TestNoJobMissesADepositThatComesWhileItIsHandedBack(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	money := billing.NewMoney(w.Store, "ada")
	if _, err := money.Deposit(t.Context(), "default", 1, ""); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		var going sync.WaitGroup
		for range 20 {
			j := w.running(t, nil)
			_, refused := w.tries(t, j, nano(1_000_000))
			if refused == nil {
				t.Fatal("nothing was refused: this shows nothing")
			}
			going.Go(func() { w.handBack(t, j, refused) })
		}
		if _, err := money.Deposit(t.Context(), "default", 1, ""); err != nil {
			t.Fatal(err)
		}
		going.Wait()
		if n := w.poor(t); n != 0 {
			t.Fatalf("round %d: %d jobs wait for money that is there", round, n)
		}
	}
	// Sessions report theirs when they end or are idle for a while, at the latest after a second or so.
	w.Close()
	if n := w.count(t, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}

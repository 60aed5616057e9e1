package main

import (
	"context"
	"strings"
	"testing"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/store"
)

// deposit pays into an account's wallet.
func (s *site) deposit(account, amount string) {
	s.t.Helper()
	db, err := store.Open(s.t.Context(), s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	n, err := billing.Parse(amount)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := billing.NewMoney(db, "test").Deposit(s.t.Context(), account, n, ""); err != nil {
		s.t.Fatal(err)
	}
}

func TestJobsThatTheBalanceDoesNotReachForAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	image := []string{"--provider", "stability", "--model", "core", "--account", "alpha"} // $0.03 each
	batch := func(n int, more ...string) result {
		return s.run(t.Context(), strings.NewReader(lines(1, n)), append(append([]string{"batch", "-", "--task", "image"}, image...), more...)...)
	}
	if r := batch(3, "--batch-id", "free"); r.code != cli.OK {
		t.Fatalf("an account without a wallet is not limited: %+v", r)
	}
	s.deposit("alpha", "0.07")
	r := batch(3, "--batch-id", "b")
	const want = "insufficient funds: this costs at least $0.09, and the wallet of account alpha holds $0.07: nothing was accepted; pay in at least $0.02 with `monitor wallet deposit alpha AMOUNT`"
	if r.code != cli.OverBudget || !strings.Contains(r.err, want) || s.jobs() != 3 {
		t.Errorf("%+v, want %q", r, want)
	}
	if r := batch(2, "--batch-id", "b"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	// What was accepted and waits is taken already, also from a single job; a rerun adds nothing.
	if r := batch(2, "--batch-id", "b"); r.code != cli.OK || !strings.Contains(r.out, "duplicates  2") {
		t.Errorf("%+v", r)
	}
	one := append([]string{"image", "a lighthouse"}, image...)
	if r := s.enqueue(one...); r.code != cli.OverBudget || !strings.Contains(r.err, "holds $0.07, and jobs that wait need at least $0.06: nothing was accepted") || s.jobs() != 5 {
		t.Errorf("%+v", r)
	}
	if r := batch(3, "--batch-id", "b"); r.code != cli.OverBudget || !strings.Contains(r.err, "this costs at least $0.03") {
		t.Errorf("only the new row counts: %+v", r)
	}
	s.deposit("alpha", "0.02")
	if r := s.enqueue(one...); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	// Simulated money is not the wallet's.
	if r := s.enqueue("text", "hello", "--provider", "mock", "--account", "alpha"); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
}

func TestABatchPausesAtItsBudgetAndSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.worker("mock")
	path := file(t, strings.Split(strings.TrimSpace(lines(1, 4)), "\n")...)
	if r := s.enqueue("batch", path, "--budget", "much"); r.code != cli.Usage || !strings.Contains(r.err, `--budget "much": must be an amount of US dollars`) {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("batch", path, "--batch-id", "b1", "--budget", "5", "--max-cost", "7"); r.code != cli.OK || s.jobs() != 4 {
		t.Fatalf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(concat_ws(' ', batch_id, period, limit_nano, blocks, simulated), ', ' ORDER BY simulated) FROM budgets`); got != "b1 total 5000000000 t f, b1 total 5000000000 t t" {
		t.Errorf("%s", got)
	}
	// A call did not fit, and the jobs stay in Postgres.
	if _, err := s.pool.Exec(t.Context(), `UPDATE budgets SET stopped_until = 'infinity', stopped_needs = 1`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE job_queue SET dispatched_at = NULL, delivery_id = NULL`); err != nil {
		t.Fatal(err)
	}
	const way = "the total budget of $5.00 for batch b1 is used up: `monitor budget set --total AMOUNT --batch b1` raises it"
	if r := s.enqueue("status", "b1"); r.code != cli.OK || !strings.Contains(strings.Join(strings.Fields(r.out), " "), way) {
		t.Errorf("%+v", r)
	}
	if r := s.run(context.WithoutCancel(t.Context()), nil, "watch", "b1"); r.code != cli.OverBudget || !strings.Contains(r.err, "0 of 4 jobs are done, the others wait: "+way) {
		t.Errorf("%+v", r)
	}
}

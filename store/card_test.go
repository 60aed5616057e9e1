package store_test

import (
	"errors"
	"testing"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// credited gives an account money and a rate card.
func (w *database) credited(t *testing.T, account string, money billing.NanoUSD, card *billing.Card) {
	t.Helper()
	m := billing.NewMoney(w.Store, "test")
	if _, err := m.Deposit(t.Context(), account, money, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := m.SetCard(t.Context(), account, card); err != nil || got.Card == nil || got.Card.Name != card.Name {
		t.Fatalf("%+v, %v", got, err)
	}
}

// words is a card of 10 nano-dollars a word, and twice the cost of anything else.
func words() *billing.Card {
	return &billing.Card{Name: "words", CreditUSD: "0.000000005", Credits: map[providers.Task]string{providers.Text: "2"}, Markup: "2"}
}

// wallet is the wallet of an account as it is now.
func (w *database) wallet(t *testing.T, account string) billing.Budget {
	t.Helper()
	list, err := w.Budgets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.Wallet && b.Account == account {
			return b
		}
	}
	t.Fatalf("account %s has no wallet", account)
	return billing.Budget{}
}

func TestAWalletTakesTheChargeAndABudgetTheCost(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.credited(t, "alpha", 1000, words())
	daily := w.budget(t, billing.Budget{Period: billing.Day, Limit: 100, Blocks: true})
	check := func(when string, spent, reserved, cost, costReserved billing.NanoUSD) {
		t.Helper()
		if got := w.wallet(t, "alpha"); got.Spent != spent || got.Reserved != reserved {
			t.Errorf("%s: the wallet has spent %d and reserved %d, want %d and %d", when, got.Spent, got.Reserved, spent, reserved)
		}
		if got := w.money(t, daily.ID); got.Spent != cost || got.Reserved != costReserved {
			t.Errorf("%s: the budget has spent %d and reserved %d, want %d and %d", when, got.Spent, got.Reserved, cost, costReserved)
		}
		w.holds(t)
	}
	begin := func(task providers.Task, units int64, reserved *billing.NanoUSD) (*jobs.Job, jobs.Call, error) {
		t.Helper()
		j := w.running(t, func(r *jobs.New) { r.Account = "alpha" })
		c := callOf(j, reserved)
		c.Task, c.Units = task, units
		return j, c, w.BeginCall(t.Context(), w.worker, c)
	}
	succeed := func(j *jobs.Job, c jobs.Call, units int64, cost *billing.NanoUSD) {
		t.Helper()
		done := success(j, c, cost)
		done.Settlement.Units = units
		if err := w.Succeed(t.Context(), done); err != nil {
			t.Fatal(err)
		}
	}
	j, c, err := begin(providers.Text, 50, nano(40))
	if err != nil {
		t.Fatal(err)
	}
	check("50 words under way", 0, 500, 0, 40)
	succeed(j, c, 7, nano(30))
	check("7 words came", 70, 0, 30, 0)
	if p, err := w.Progress(t.Context(), j.ID.String()); err != nil || p.Cost != 30 || p.Charge != 70 {
		t.Errorf("the job cost %d and is charged %d: %v", p.Cost, p.Charge, err)
	}

	// The wallet refuses by what it would be charged, the budget by the cost.
	if _, _, err = begin(providers.Text, 94, nano(1)); budgetOf(err) == nil || !budgetOf(err).Budget.Wallet || budgetOf(err).Needs != 940 {
		t.Errorf("94 words with 930 left: %v", err)
	}
	if _, _, err = begin(providers.Text, 1, nano(71)); budgetOf(err) == nil || budgetOf(err).Budget.Wallet || budgetOf(err).Needs != 71 {
		t.Errorf("a cost of 71 with 70 left: %v", err)
	}

	// A mark-up holds for what has no credits.
	j, c, err = begin(providers.Embedding, 1, nano(10))
	if err != nil {
		t.Fatal(err)
	}
	check("an embedding under way", 70, 20, 30, 10)
	succeed(j, c, 1, nano(6))
	check("an embedding", 82, 0, 36, 0)

	// What brought nothing costs no credits, whatever the provider took for it; an
	// outcome that nobody knows is charged at its reserve until somebody does.
	_, c, err = begin(providers.Text, 20, nano(9))
	if err != nil {
		t.Fatal(err)
	}
	w.settle(t, c, jobs.CallFailedBilled, nano(5))
	check("billed in vain", 82, 0, 41, 0)
	j, c, err = begin(providers.Text, 20, nano(9))
	if err != nil {
		t.Fatal(err)
	}
	w.settle(t, c, jobs.CallUnknown, nil)
	check("nobody knows", 282, 0, 50, 0)
	succeed(j, c, 20, nano(8))
	check("it came late, with all words", 282, 0, 49, 0)

	// A bill above its reserve costs the account no more than was reserved in credits.
	j, c, err = begin(providers.Text, 3, nano(9))
	if err != nil {
		t.Fatal(err)
	}
	succeed(j, c, 5, nano(9))
	check("more words than there can be", 312, 0, 58, 0)

	list, err := w.Statement(t.Context(), "alpha", 100)
	if err != nil || len(list) != 5 { // what changes no balance is no entry
		t.Fatalf("%d rows: %v", len(list), err)
	}
	if e := list[0]; e.Amount != -30 || e.Cost == nil || *e.Cost != 9 || e.Balance != 688 {
		t.Errorf("the last row is %+v", e)
	}
	sums, err := w.Spending(t.Context(), billing.SpendingQuery{By: []billing.Dimension{billing.ByAccount}})
	if err != nil || len(sums) != 1 || sums[0].Cost != 58 || sums[0].Charge != 312 {
		t.Errorf("%+v, %v", sums, err)
	}
}

func budgetOf(err error) *jobs.BudgetError {
	refused, _ := errors.AsType[*jobs.BudgetError](err)
	return refused
}

// TestAPackedCallIsChargedByTheCardOfItsAccount has a mark-up, and a card with credits for vectors.
func TestAPackedCallIsChargedByTheCardOfItsAccount(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		card                    *billing.Card
		reserved, charged, lost billing.NanoUSD
	}{
		"a mark-up": {words(), 2 * 60, 2 * 31, 2 * 60},
		"credits":   {&billing.Card{Name: "vectors", CreditUSD: "0.000000005", Credits: map[providers.Task]string{providers.Embedding: "2"}}, 30, 30, 30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			w.credited(t, "alpha", 1000, of.card)
			pack := func() (jobs.Call, jobs.Success) {
				_, c, done := w.packedCall(t, 3, func(r *jobs.New) { r.Account = "alpha" }, nano(60), nano(31))
				c.Task, c.Units, done.Settlement.Units = providers.Embedding, 3, 3
				must(t, w.BeginCall(t.Context(), w.worker, c))
				if got := w.wallet(t, "alpha"); got.Reserved != of.reserved {
					t.Errorf("reserved %d, want %d", got.Reserved, of.reserved)
				}
				return c, done
			}
			_, done := pack()
			must(t, w.Succeed(t.Context(), done))
			if got := w.wallet(t, "alpha"); got.Spent != of.charged || got.Reserved != 0 {
				t.Errorf("spent %d and reserved %d, want %d", got.Spent, got.Reserved, of.charged)
			}
			if n := w.count(t, `SELECT sum(charge_nano)::bigint FROM job_states`); n != int(of.charged) {
				t.Errorf("its jobs are charged %d, want %d", n, of.charged)
			}
			if n := w.count(t, `SELECT sum(cost_nano)::bigint FROM job_states`); n != 31 {
				t.Errorf("its jobs cost %d, want 31", n)
			}
			c, _ := pack()
			w.settle(t, c, jobs.CallUnknown, nil)
			if got := w.wallet(t, "alpha"); got.Spent != of.charged+of.lost {
				t.Errorf("with a call that nobody knows of it has spent %d, want %d", got.Spent, of.charged+of.lost)
			}
			w.holds(t)
		})
	}
}

func TestCreditsNeedNoPrice(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.credited(t, "alpha", 1000, words())
	for task, fits := range map[providers.Task]bool{providers.Text: true, providers.Image: false} {
		j := w.running(t, func(r *jobs.New) { r.Account = "alpha" })
		c := callOf(j, nil)
		c.Task, c.Units = task, 5
		err := w.BeginCall(t.Context(), w.worker, c)
		if refused := budgetOf(err); fits && err != nil || !fits && (refused == nil || !refused.Unpriced) {
			t.Errorf("%s: %v", task, err)
		}
		if fits {
			done := success(j, c, nil)
			done.Settlement.Units = 4
			if err := w.Succeed(t.Context(), done); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := w.wallet(t, "alpha"); got.Spent != 40 {
		t.Errorf("%d are spent, want 40", got.Spent)
	}
	w.holds(t)
}

func TestACallIsChargedByTheCardThatItBeganWith(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.credited(t, "alpha", 1000, words())
	j := w.running(t, func(r *jobs.New) { r.Account = "alpha" })
	c := callOf(j, nano(30))
	c.Task, c.Units = providers.Text, 50
	if err := w.BeginCall(t.Context(), w.worker, c); err != nil {
		t.Fatal(err)
	}
	if _, err := billing.NewMoney(w.Store, "test").SetCard(t.Context(), "alpha", nil); err != nil {
		t.Fatal(err)
	}
	done := success(j, c, nano(25))
	done.Settlement.Units = 6
	if err := w.Succeed(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	next := w.sent(t, w.running(t, func(r *jobs.New) { r.Account = "alpha" }), nano(30))
	w.settle(t, next, jobs.CallFailedBilled, nano(25))
	if got := w.wallet(t, "alpha"); got.Spent != 60+25 || got.Card != nil {
		t.Errorf("%d are spent, want 60 by the card, and 25 without", got.Spent)
	}
	if _, err := billing.NewMoney(w.Store, "test").SetCard(t.Context(), "beta", words()); !errors.Is(err, billing.ErrNoWallet) {
		t.Errorf("a card without a wallet: %v", err)
	}
	w.holds(t)
}

package store_test

import (
	"errors"
	"fmt"
	"testing"

	"oneflow/billing"
	"oneflow/jobs"
)

func TestAWalletIsWhatWasPaidInLessWhatWasCharged(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	money := billing.NewMoney(w.Store, "ada")
	alpha := func(r *jobs.New) { r.Account = "alpha" }
	if _, err := w.Statement(t.Context(), "alpha", 10); !errors.Is(err, billing.ErrNoWallet) {
		t.Errorf("%v", err)
	}
	if _, refused := w.tries(t, w.running(t, alpha), nano(1)); refused != nil {
		t.Errorf("an account without a wallet is limited: %v", refused)
	}
	deposit := func(amount billing.NanoUSD) error {
		_, err := money.Deposit(t.Context(), "alpha", amount, "a note")
		return err
	}
	if err := deposit(100); err != nil {
		t.Fatal(err)
	}
	c, refused := w.tries(t, w.running(t, alpha), nano(70))
	if refused != nil {
		t.Fatal(refused)
	}
	if _, refused := w.tries(t, w.running(t, nil), nano(1000)); refused != nil {
		t.Errorf("another account: %v", refused)
	}
	if err := deposit(-31); !errors.Is(err, billing.ErrOverdrawn) {
		t.Errorf("31 of the 30 that are not reserved were taken out: %v", err)
	}
	if err := deposit(-30); err != nil {
		t.Error(err)
	}
	if _, refused := w.tries(t, w.running(t, alpha), nano(1)); refused == nil || !refused.Budget.Wallet {
		t.Errorf("%+v", refused)
	}
	w.settle(t, c, jobs.CallUnknown, nil)
	w.settle(t, c, jobs.CallSucceeded, nano(20))
	list, err := w.Statement(t.Context(), "alpha", 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%d→%d %t", e.Amount, e.Balance, e.Call == c.CallID.String()))
	}
	want := []string{"50→50 true", "-70→0 true", "-30→70 false", "100→100 false"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := w.sql.Exec(t.Context(), `UPDATE ledger_entries SET amount_nano = 5`); err == nil {
		t.Error("the ledger was changed")
	}
	w.holds(t)
}

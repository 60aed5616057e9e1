package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

func TestAnAlertIsToldOnceAtEachLevelAndOnceWhenItIsOver(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	var told []string
	raise := func(now ...jobs.Alert) {
		t.Helper()
		opened, over, err := w.RaiseAlerts(t.Context(), []string{jobs.AlertBudget}, now, "")
		must(t, err)
		for _, a := range opened {
			told = append(told, fmt.Sprintf("%s %d", a.Subject, a.Level))
		}
		for _, a := range over {
			told = append(told, a.Subject+" over")
		}
	}
	at := func(subject string, level int) jobs.Alert {
		return jobs.Alert{Kind: jobs.AlertBudget, Subject: subject, Level: level, Text: "a text"}
	}
	other, _, err := w.RaiseAlerts(t.Context(), []string{jobs.AlertLedger}, []jobs.Alert{{Kind: jobs.AlertLedger, Subject: "account a", Text: "a text"}}, "")
	if err != nil || len(other) != 1 {
		t.Fatal(other, err)
	}
	for range 2 {
		raise(at("a", 50))
	}
	raise(at("a", 80), at("b", 100))
	raise(at("a", 50), at("b", 100)) // less is no news
	for range 2 {
		raise(at("b", 101))
	}
	raise(at("b", 101), at("a", 50))
	if want := "[a 50 a 80 b 100 b 101 a over a 50]"; fmt.Sprint(told) != want {
		t.Errorf("told %v, want %s", told, want)
	}
	open, err := w.Alerts(t.Context(), false, 10)
	all, err2 := w.Alerts(t.Context(), true, 10)
	if err != nil || err2 != nil || len(open) != 3 || open[0].Subject != "a" || len(all) != 6 || open[0].OpenedAt.IsZero() || !open[0].ClosedAt.IsZero() {
		t.Errorf("%+v, %+v, %v, %v", open, all, err, err2)
	}
}

func TestABudgetIsToldOfAtTheSharesThatItHasReached(t *testing.T) {
	t.Parallel()
	for want, b := range map[int]billing.Budget{
		0:   {Limit: 100, Spent: 49},
		50:  {Limit: 100, Spent: 50},
		80:  {Limit: 100, Spent: 80, Stopped: true, Reserved: 1},
		100: {Limit: 100, Spent: 60, Stopped: true},
		101: {Limit: 100, Spent: 101, Blocks: true},
	} {
		if got := b.Reached(); got != want {
			t.Errorf("%+v: %d, want %d", b, got, want)
		}
	}
}

func TestAModelWithABillAboveItsBoundStopsUnderABudgetUntilTheBoundIsRaised(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	early, _ := w.tries(t, w.running(t, nil), nano(10))
	over, _ := w.tries(t, w.running(t, nil), nano(10))
	w.settle(t, over, jobs.CallFailedBilled, nano(14))
	if _, refused := w.tries(t, w.running(t, nil), nano(10)); refused != nil {
		t.Errorf("without a budget: %v", refused)
	}
	b := w.budget(t, billing.Budget{Period: billing.Total, Limit: 1000, Blocks: true})
	waits := w.running(t, nil)
	_, refused := w.tries(t, waits, nano(10))
	if refused == nil || refused.Bound == nil || refused.Budget.ID != b.ID || refused.Bound.Cost != 14 {
		t.Fatalf("%+v", refused)
	}
	if want := "monitor budget bound mock m 140"; refused.Bound.Command() != want {
		t.Errorf("%q, want %q", refused.Bound.Command(), want)
	}
	if got := w.money(t, b.ID); got.Stopped {
		t.Error("the budget stops for others")
	}
	// Another model goes on, and so does this one once its bound is raised, reserving more.
	another := callOf(w.running(t, nil), nano(10))
	another.Model = "another"
	must(t, w.BeginCall(t.Context(), w.worker, another))
	money := billing.NewMoney(w.Store, "ada")
	must(t, money.RaiseBound(t.Context(), "mock", over.Model, 140))
	before := w.money(t, b.ID).Reserved
	c, refused := w.tries(t, waits, nano(10))
	if refused != nil {
		t.Fatal(refused)
	}
	if got := w.money(t, b.ID).Reserved - before; got != 14 {
		t.Errorf("%d were reserved, want 140 %% of 10", got)
	}
	// One that was sent before says nothing new.
	w.settle(t, early, jobs.CallFailedBilled, nano(14))
	w.settle(t, c, jobs.CallFailedBilled, nano(14))
	if _, refused := w.tries(t, w.running(t, nil), nano(10)); refused != nil {
		t.Errorf("%+v", refused)
	}
	if err := money.RaiseBound(t.Context(), "mock", "m", 99); err == nil {
		t.Error("a bound below the list's is taken")
	}
	w.holds(t)
}

func TestAWalletWhoseLedgerSaysSomethingElseIsFound(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, account := range []string{"alpha", "beta"} {
		_, err := billing.NewMoney(w.Store, "ada").Deposit(t.Context(), account, 100, "")
		must(t, err)
	}
	c, _ := w.tries(t, w.running(t, func(r *jobs.New) { r.Account = "alpha" }), nano(10))
	w.settle(t, c, jobs.CallUnknown, nil)
	if list, err := w.WrongLedgers(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	w.exec(t, `UPDATE budgets SET spent_nano = spent_nano + 1 WHERE account = 'beta'`)
	list, err := w.WrongLedgers(t.Context())
	if err != nil || len(list) != 1 || list[0] != (billing.LedgerError{Account: "beta", Balance: 99, Sum: 100}) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAnHourThatCostsThreeTimesTheUsualIsFound(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	spend := func(ago time.Duration, simulated bool, cost billing.NanoUSD) {
		t.Helper()
		w.exec(t, `
			INSERT INTO spending (hour, account, batch_id, provider, model, simulated, kind, slot, calls, failed, unpriced, cost_nano, charge_nano, overruns, overrun_nano)
			VALUES (date_trunc('hour', now()) - $1::interval, 'a', '', 'p', 'm', $2, 'first', 0, 1, 0, 0, $3, $3, 0, 0)`, ago, simulated, int64(cost))
	}
	now := func(cost billing.NanoUSD) {
		t.Helper()
		w.exec(t, `DELETE FROM provider_metrics`)
		w.exec(t, `
			INSERT INTO provider_metrics (provider, model, minute, slot, requests, succeeded, failed_unbilled, failed_billed, unknown, rate_limited,
				input_tokens, output_tokens, cost_nano, simulated_nano, unpriced, latency_ms_sum, latency_ms_max, last_started_at)
			VALUES ('p', 'm', date_trunc('minute', now()), 0, 1, 1, 0, 0, 0, 0, 0, 0, $1, 1e15, 0, 0, 0, now())`, int64(cost))
	}
	unusual := func(cost billing.NanoUSD) bool {
		t.Helper()
		now(cost)
		h, err := w.HourlyCost(t.Context())
		must(t, err)
		return h.Unusual()
	}
	for i := range 5 {
		spend(time.Duration(i+2)*time.Hour, false, 2*billing.USD)
		spend(time.Duration(i+2)*time.Hour, true, 500*billing.USD)
	}
	if unusual(50 * billing.USD) {
		t.Error("five hours are too few to say what is usual")
	}
	spend(40*time.Hour, false, 90*billing.USD) // one dear hour is not the usual
	if unusual(6*billing.USD-1) || !unusual(6*billing.USD) {
		t.Error("three times the usual is 6 dollars")
	}
	h, err := w.HourlyCost(t.Context())
	if want := "the last hour cost $6.00, 3.0 times the usual $2.00: `enqueue cost"; err != nil || h.String()[:len(want)] != want {
		t.Errorf("%s, %v", h, err)
	}
}

func TestAWebhookIsToldOfAnAlertWhenItOpensAtEachLevelAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	const url = "https://example.com/hooks"
	raise := func(now ...jobs.Alert) {
		t.Helper()
		_, _, err := w.RaiseAlerts(t.Context(), []string{jobs.AlertProvider}, now, url)
		must(t, err)
	}
	a := jobs.Alert{Kind: jobs.AlertProvider, Subject: "openai", Text: "openai is not used"}
	raise(a)
	raise(a)
	graver := a
	graver.Level = 1
	raise(graver)
	raise()
	raise()
	var told []string
	list, err := w.sql.Query(t.Context(), `SELECT type || ' ' || subject || ' ' || (payload::jsonb->'data'->>'text') || CASE WHEN payload::jsonb->'data' ? 'closed_at' THEN ' over' ELSE '' END FROM webhook_events WHERE url = $1 ORDER BY created_at`, url)
	must(t, err)
	told, err = pgx.CollectRows(list, pgx.RowTo[string])
	must(t, err)
	want := "[alert.opened provider openai openai is not used alert.opened provider openai openai is not used alert.closed provider openai openai is not used over]"
	if fmt.Sprint(told) != want {
		t.Errorf("told %v", told)
	}
}

package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

func (w *database) budget(t *testing.T, b billing.Budget) billing.Budget {
	t.Helper()
	set, err := billing.NewMoney(w.Store, "test").Set(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// tries begins a call, and returns it where the budgets let it.
func (w *database) tries(t *testing.T, j *jobs.Job, reserved *billing.NanoUSD) (jobs.Call, *jobs.BudgetError) {
	t.Helper()
	c := callOf(j, reserved)
	err := w.BeginCall(t.Context(), w.worker, c)
	refused, _ := errors.AsType[*jobs.BudgetError](err)
	if err != nil && refused == nil {
		t.Fatal(err)
	}
	return c, refused
}

func (w *database) settle(t *testing.T, c jobs.Call, outcome jobs.Outcome, cost *billing.NanoUSD) {
	t.Helper()
	if err := w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: outcome, Cost: cost, Kind: providers.Timeout, Latency: time.Second}); err != nil {
		t.Fatal(err)
	}
}

// money is the budget as it is now.
func (w *database) money(t *testing.T, id int64) billing.Budget {
	t.Helper()
	list, err := w.Budgets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.ID == id {
			return b
		}
	}
	t.Fatalf("there is no budget %d", id)
	return billing.Budget{}
}

func TestACallReservesTheMostItCanCostAndSettlesWhatItDidCost(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	b := w.budget(t, billing.Budget{Period: billing.Day, Limit: 100, Blocks: true})
	check := func(when string, spent, reserved billing.NanoUSD) {
		t.Helper()
		if got := w.money(t, b.ID); got.Spent != spent || got.Reserved != reserved {
			t.Errorf("%s: spent %d, reserved %d, want %d and %d", when, got.Spent, got.Reserved, spent, reserved)
		}
	}
	first, refused := w.tries(t, w.running(t, nil), nano(60))
	if refused != nil {
		t.Fatal(refused)
	}
	check("under way", 0, 60)
	job := w.running(t, nil)
	if _, refused = w.tries(t, job, nano(41)); refused == nil || refused.Budget.ID != b.ID || refused.Budget.Ends.Before(time.Now()) || refused.Needs != 41 {
		t.Fatalf("41 beside 60 of 100: %+v", refused)
	}
	if !w.money(t, b.ID).Stopped {
		t.Error("nothing shows that a call waits")
	}
	check("after a refusal", 0, 60)
	second, refused := w.tries(t, w.running(t, nil), nano(40))
	if refused != nil {
		t.Errorf("what fits is refused: %v", refused)
	}
	check("full", 0, 100)
	w.settle(t, second, jobs.CallFailedUnbilled, nano(0))
	check("one was not billed", 0, 60)
	w.settle(t, first, jobs.CallUnknown, nil)
	check("one is unknown, and charged in full", 60, 0)
	if !w.money(t, b.ID).Stopped {
		t.Error("it is open again with 40 left, where 41 were needed")
	}
	w.settle(t, first, jobs.CallSucceeded, nano(25))
	check("its answer came late, and cost less", 25, 0)
	if w.money(t, b.ID).Stopped {
		t.Error("it is not open again with 75 left, where 41 were needed")
	}
	third, refused := w.tries(t, job, nano(75))
	if refused != nil {
		t.Fatal(refused)
	}
	w.takeOver(t)
	check("its worker died", 100, 0)
	if _, refused := w.tries(t, w.running(t, nil), nano(1)); refused == nil {
		t.Error("a budget that is used up was exceeded")
	}
	// A repeated write changes nothing.
	w.settle(t, third, jobs.CallUnknown, nil)
	check("settled twice", 100, 0)
	w.holds(t)
}

func TestABudgetHoldsForTheCallsOfItsScopeAlone(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	other := func(r *jobs.New) { r.Account = "alpha" }
	for _, c := range []struct {
		name  string
		scope billing.Scope
		hits  bool
	}{
		{"all", billing.Scope{}, true},
		{"provider", billing.Scope{Provider: "mock"}, true},
		{"another provider", billing.Scope{Provider: "openai"}, false},
		{"model", billing.Scope{Model: "m"}, true},
		{"another model", billing.Scope{Model: "n"}, false},
		{"account", billing.Scope{Account: "alpha"}, true},
		{"another account", billing.Scope{Account: "beta"}, false},
		{"both", billing.Scope{Account: "alpha", Model: "m"}, true},
		{"one of both", billing.Scope{Account: "alpha", Model: "n"}, false},
		{"a batch", billing.Scope{Batch: "b"}, false},
		{"a tag of no batch", billing.Scope{Tag: "team=red"}, false},
		{"simulated money", billing.Scope{Simulated: true}, false},
	} {
		b := w.budget(t, billing.Budget{Scope: c.scope, Period: billing.Hour, Limit: 10, Blocks: true})
		_, refused := w.tries(t, w.running(t, other), nano(11))
		if (refused != nil) != c.hits {
			t.Errorf("%s: refused %v, want %t", c.name, refused, c.hits)
		}
		if err := w.RemoveBudget(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
	}
	// By the tags of the batch.
	tagged := w.mustClaim(t, w.batch(t, "tagged", 1)[0])
	w.exec(t, `UPDATE batches SET tags = '{"team": "red"}' WHERE id = 'tagged'`)
	for tag, hits := range map[string]bool{"team=red": true, "team=blue": false, "red=team": false} {
		b := w.budget(t, billing.Budget{Scope: billing.Scope{Tag: tag}, Period: billing.Total, Limit: 10, Blocks: true})
		c, refused := w.tries(t, tagged, nano(11))
		if (refused != nil) != hits {
			t.Errorf("%s: %v, want refused %t", tag, refused, hits)
		}
		if refused == nil {
			w.settle(t, c, jobs.CallFailedUnbilled, nano(0))
		}
		if err := w.RemoveBudget(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
	}
	// In all of those that it matches, or in none.
	wide := w.budget(t, billing.Budget{Period: billing.Total, Limit: 1000, Blocks: true})
	before := w.money(t, wide.ID)
	w.budget(t, billing.Budget{Scope: billing.Scope{Model: "m"}, Period: billing.Total, Limit: 0, Blocks: true})
	if _, refused := w.tries(t, w.running(t, other), nano(5)); refused == nil || refused.Budget.Model != "m" {
		t.Errorf("%+v", refused)
	}
	if after := w.money(t, wide.ID); after.Reserved != before.Reserved {
		t.Errorf("a call that was refused reserves %d", after.Reserved-before.Reserved)
	}
	w.holds(t)
}

func TestABudgetThatIsSetCountsWhatWasSpentBefore(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	done, running := w.sent(t, w.running(t, nil), nano(9)), w.sent(t, w.running(t, nil), nano(30))
	w.settle(t, done, jobs.CallFailedBilled, nano(8))
	b := w.budget(t, billing.Budget{Period: billing.Month, Zone: "Europe/Paris", Limit: 50, Blocks: true})
	if b.Spent != 8 || b.Reserved != 30 {
		t.Errorf("spent %d, reserved %d, want 8 and 30", b.Spent, b.Reserved)
	}
	w.settle(t, running, jobs.CallSucceeded, nano(12))
	if got := w.money(t, b.ID); got.Spent != 20 || got.Reserved != 0 {
		t.Errorf("spent %d, reserved %d, want 20 and 0", got.Spent, got.Reserved)
	}
	// Set again, with another limit: one budget, and no call counts twice.
	again := w.budget(t, billing.Budget{Period: billing.Month, Zone: "UTC", Limit: 21, Blocks: true})
	if again.ID != b.ID || again.Spent != 20 || again.Limit != 21 {
		t.Errorf("%+v", again)
	}
	w.holds(t)
}

// Money is spent, whatever is removed.
func TestABudgetThatIsRaisedStillCountsTheCallsOfARemovedBatch(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	scopes := []billing.Scope{{}, {Provider: "mock"}, {Account: "default"}}
	for _, scope := range scopes {
		w.budget(t, billing.Budget{Scope: scope, Period: billing.Day, Limit: 100, Blocks: true})
	}
	c, refused := w.tries(t, w.mustClaim(t, w.batch(t, "old", 1)[0]), nano(80))
	if refused != nil {
		t.Fatal(refused)
	}
	w.settle(t, c, jobs.CallFailedBilled, nano(70))
	w.exec(t, `DELETE FROM job_states; DELETE FROM job_queue; DELETE FROM jobs`)
	for _, scope := range scopes {
		if b := w.budget(t, billing.Budget{Scope: scope, Period: billing.Day, Limit: 200, Blocks: true}); b.Spent != 70 {
			t.Errorf("%s: %d are spent after it was raised, want 70", scope, b.Spent)
		}
	}
	// A new one counts it as far as the call itself tells.
	if b := w.budget(t, billing.Budget{Scope: billing.Scope{Model: "m"}, Period: billing.Day, Limit: 200, Blocks: true}); b.Spent != 70 {
		t.Errorf("a new budget counts %d, want 70", b.Spent)
	}
}

func TestABlockingBudgetRefusesWhatNobodyCanBoundAndAWarningOneNothing(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	warns := w.budget(t, billing.Budget{Period: billing.Day, Limit: 1})
	if _, refused := w.tries(t, w.running(t, nil), nano(5)); refused != nil {
		t.Error(refused)
	}
	if _, refused := w.tries(t, w.running(t, nil), nil); refused != nil {
		t.Error(refused)
	}
	if got := w.money(t, warns.ID); got.Left() != -4 {
		t.Errorf("%d left, want -4", got.Left())
	}
	w.budget(t, billing.Budget{Period: billing.Week, Limit: 1000, Blocks: true})
	if _, refused := w.tries(t, w.running(t, nil), nil); refused == nil || !refused.Unpriced {
		t.Errorf("%+v", refused)
	}
}

// What a stopped budget keeps from being dispatched says so too.
func TestJobsThatAStoppedBudgetKeepsBackSayForWhatTheyWait(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	b := w.budget(t, billing.Budget{Scope: billing.Scope{Account: "alpha"}, Period: billing.Total, Limit: 10, Blocks: true})
	alpha := func(r *jobs.New) { r.Account = "alpha" }
	if _, refused := w.tries(t, w.running(t, alpha), nano(11)); refused == nil {
		t.Fatal("11 fit in 10")
	}
	kept := w.accept(t, 3, func(r *jobs.New) { r.Account, r.Request.Prompt = "alpha", r.Request.Prompt+" kept back" })
	w.accept(t, 1, func(r *jobs.New) { r.Request.Prompt += " of another" })
	w.exec(t, `UPDATE job_queue SET dispatched_at = NULL, delivery_id = NULL`)
	list, err := w.Waiting(t.Context(), "", "")
	if err != nil || len(list) != 2 || list[0].Jobs != 3 || list[0].Reason != "budget: "+b.String() || list[0].Raise != b.Command() || !list[0].Total ||
		list[1].Reason != "" || list[1].Raise != "" {
		t.Errorf("%+v, %v", list, err)
	}
	of, err := w.WaitingOf(t.Context(), []string{kept[0].ID.String()})
	if got := of[kept[0].ID.String()]; err != nil || got.Reason != "budget: "+b.String() || got.Raise != b.Command() {
		t.Errorf("%+v, %v", of, err)
	}
}

func TestABudgetBeginsAnewByTheCalendarOfItsZone(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	b := w.budget(t, billing.Budget{Period: billing.Day, Zone: "America/New_York", Limit: 10, Blocks: true})
	late, refused := w.tries(t, w.running(t, nil), nano(10))
	if refused != nil {
		t.Fatal(refused)
	}
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	if h, m, s := b.Began.In(zone).Clock(); h+m+s != 0 || b.Ends.In(zone).Day() == b.Began.In(zone).Day() {
		t.Errorf("the day is from %s to %s", b.Began.In(zone), b.Ends.In(zone))
	}
	// A day later.
	w.exec(t, `UPDATE budgets SET began_at = began_at - interval '1 day'`)
	w.exec(t, `UPDATE charges SET began_at = began_at - interval '1 day'`)
	if _, refused := w.tries(t, w.running(t, nil), nano(10)); refused != nil {
		t.Error(refused)
	}
	w.settle(t, late, jobs.CallSucceeded, nano(7))
	if got := w.money(t, b.ID); got.Spent != 0 || got.Reserved != 10 {
		t.Errorf("the new day has spent %d and reserved %d, want 0 and 10: the late call is yesterday's", got.Spent, got.Reserved)
	}
}

// Days, weeks and months are the calendar's, also where a night is an hour longer or
// shorter; hours are hours.
func TestPeriodsFollowTheTimeZoneOverNightsThatChangeTheClock(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, c := range []struct {
		zone, now    string
		period       billing.Period
		began, ends  string
		hours        float64
		comparedWith string
	}{
		{"Europe/Paris", "2026-03-29 12:00+02", billing.Day, "2026-03-28 23:00", "2026-03-29 22:00", 23, "the clock goes forward"},
		{"Europe/Paris", "2026-10-25 00:30+02", billing.Day, "2026-10-24 22:00", "2026-10-25 23:00", 25, "the clock goes back"},
		{"Europe/Paris", "2026-10-25 02:30+01", billing.Day, "2026-10-24 22:00", "2026-10-25 23:00", 25, "in the second of two equal hours"},
		{"America/New_York", "2026-11-03 09:00-05", billing.Week, "2026-11-02 05:00", "2026-11-09 05:00", 168, "the week after it went back"},
		{"America/New_York", "2026-11-01 09:00-05", billing.Week, "2026-10-26 04:00", "2026-11-02 05:00", 169, "the week in which it goes back"},
		{"America/New_York", "2026-11-20 09:00-05", billing.Month, "2026-11-01 04:00", "2026-12-01 05:00", 721, "the month in which it goes back"},
		{"Asia/Kolkata", "2026-11-20 12:10+05:30", billing.Hour, "2026-11-20 06:30", "2026-11-20 07:30", 1, "half an hour beside UTC"},
		{"Europe/Paris", "2026-10-25 02:30+02", billing.Hour, "2026-10-25 00:00", "2026-10-25 01:00", 1, "the first of two equal hours"},
		{"Europe/Paris", "2026-10-25 02:30+01", billing.Hour, "2026-10-25 01:00", "2026-10-25 02:00", 1, "the second of two equal hours"},
		{"America/Havana", "2026-10-31 23:30-04", billing.Day, "2026-10-31 04:00", "2026-11-01 04:00", 24, "the day before one that has two midnights"},
		{"America/Havana", "2026-11-01 00:30-04", billing.Day, "2026-11-01 04:00", "2026-11-02 05:00", 25, "after the first of two midnights"},
		{"America/Havana", "2026-11-01 00:30-05", billing.Day, "2026-11-01 04:00", "2026-11-02 05:00", 25, "after the second of two midnights"},
		{"America/Havana", "2026-11-20 12:00-05", billing.Month, "2026-11-01 04:00", "2026-12-01 05:00", 721, "a month that begins with two midnights"},
		{"America/Havana", "2026-03-08 01:30-04", billing.Day, "2026-03-08 05:00", "2026-03-09 04:00", 23, "a day without a midnight"},
		{"Atlantic/Azores", "2026-10-25 00:30+00", billing.Day, "2026-10-25 00:00", "2026-10-26 01:00", 25, "the first midnight of the Azores"},
		{"UTC", "2026-03-29 12:00+00", billing.Day, "2026-03-29 00:00", "2026-03-30 00:00", 24, "no summer time"},
	} {
		var began, ends time.Time
		// The expressions of the store, with a clock of the test's.
		at := func(sql string) string { return strings.ReplaceAll(sql, "now()", "b.now") }
		if err := w.sql.QueryRow(t.Context(), `SELECT `+at(store.BudgetBegan)+`::timestamptz, `+at(store.BudgetEnds)+`
			FROM (SELECT $1::text AS period, $2::text AS timezone, $3::timestamptz AS now) b`, c.period, c.zone, c.now).Scan(&began, &ends); err != nil {
			t.Fatal(err)
		}
		const layout = "2006-01-02 15:04"
		if b, e := began.UTC().Format(layout), ends.UTC().Format(layout); b != c.began || e != c.ends || ends.Sub(began).Hours() != c.hours {
			t.Errorf("%s: from %s to %s, %g h; want from %s to %s, %g h", c.comparedWith, b, e, ends.Sub(began).Hours(), c.began, c.ends, c.hours)
		}
	}
}

// Two settlements of one call at once: what the second finds charged is what the first
// has left.
func TestTwoSettlementsOfACallAtOnceAreChargedOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	other := openStore(t, w.url)
	b := w.budget(t, billing.Budget{Period: billing.Total, Limit: 1_000_000, Blocks: true})
	for range 15 {
		c, refused := w.tries(t, w.running(t, nil), nano(50))
		if refused != nil {
			t.Fatal(refused)
		}
		together(2, func(i int) {
			s := jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown}
			st := w.Store
			if i == 1 {
				s.Outcome, s.Cost, s.Latency, st = jobs.CallFailedBilled, nano(20), time.Second, other
			}
			if err := st.SettleCall(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	if got := w.money(t, b.ID); got.Spent != 15*20 || got.Reserved != 0 {
		t.Errorf("spent %d, reserved %d, want %d and 0", got.Spent, got.Reserved, 15*20)
	}
	w.holds(t)
}

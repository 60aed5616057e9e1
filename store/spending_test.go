package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestSpendingIsSummedUpByWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	j := w.mustClaim(t, w.bring(t, "alpha", "b", 1)[0])
	w.exec(t, `UPDATE batches SET tags = '{"team": "a", "stage": "test"}'`)
	// The first fails unbilled, another is billed and rejected, the next is dearer than
	// its reserve, one elsewhere has an unknown outcome.
	call := func(change func(*jobs.Call), s jobs.Settlement) {
		t.Helper()
		c := callOf(j, nano(10))
		if change != nil {
			change(&c)
		}
		must(t, w.BeginCall(t.Context(), w.worker, c))
		s.CallID, s.Latency = c.CallID, time.Second
		must(t, w.SettleCall(t.Context(), s))
	}
	call(nil, jobs.Settlement{Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: providers.Overloaded})
	call(nil, jobs.Settlement{Outcome: jobs.CallFailedBilled, Cost: nano(7), Kind: "schema"})
	call(nil, jobs.Settlement{Outcome: jobs.CallFailedBilled, Cost: nano(13), Kind: providers.Timeout})
	call(func(c *jobs.Call) { c.Provider, c.Model, c.Simulated = "other", "fake", true }, jobs.Settlement{Outcome: jobs.CallUnknown})
	single := w.running(t, nil)
	c := callOf(single, nil)
	must(t, w.BeginCall(t.Context(), w.worker, c))
	must(t, w.SettleCall(t.Context(), jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedBilled, Kind: providers.Timeout}))

	for by, want := range map[string]string{
		"":        "[] 5 calls, 20 + 10 simulated, 1 unpriced, 1 over by 3",
		"kind":    "[reask] 1 calls, 13 + 0 simulated, 0 unpriced, 1 over by 3; [retry] 1 calls, 7 + 0 simulated, 0 unpriced, 0 over by 0; " + "[unknown] 1 calls, 0 + 10 simulated, 0 unpriced, 0 over by 0",
		"account": "[alpha] 4 calls, 20 + 10 simulated, 0 unpriced, 1 over by 3; [default] 1 calls, 0 + 0 simulated, 1 unpriced, 0 over by 0",
		"tag": "[stage=test] 4 calls, 20 + 10 simulated, 0 unpriced, 1 over by 3; [team=a] 4 calls, 20 + 10 simulated, 0 unpriced, 1 over by 3; " +
			"[] 1 calls, 0 + 0 simulated, 1 unpriced, 0 over by 0",
		"day": fmt.Sprintf("[%s] 5 calls, 20 + 10 simulated, 1 unpriced, 1 over by 3", time.Now().UTC().Format(time.DateOnly)),
	} {
		q := billing.SpendingQuery{Since: time.Now().Add(-time.Minute)}
		if by != "" {
			q.By = []billing.Dimension{billing.Dimension(by)}
		}
		list, err := w.Spending(t.Context(), q)
		must(t, err)
		got := ""
		for _, s := range list {
			if by == "kind" && s.Of[0] == "first" {
				continue // two of them
			}
			if got != "" {
				got += "; "
			}
			got += fmt.Sprintf("%v %d calls, %d + %d simulated, %d unpriced, %d over by %d", s.Of, s.Calls, s.Cost, s.Simulated, s.Unpriced, s.Overruns, s.Overrun)
		}
		if got != want {
			t.Errorf("by %s:\n%s\nwant\n%s", by, got, want)
		}
	}
	for tag, want := range map[string]string{
		"team": "[team=a] 4", "team=a": "[team=a] 4", "team=b": "", "tea": "", "stage": "[stage=test] 4", "team=a=b": "", `t'; --`: "",
	} {
		list, err := w.Spending(t.Context(), billing.SpendingQuery{By: []billing.Dimension{billing.ByTag}, Tag: tag})
		must(t, err)
		got := ""
		for _, s := range list {
			got += fmt.Sprintf("%v %d", s.Of, s.Calls)
		}
		if got != want {
			t.Errorf("tag %s: %q, want %q", tag, got, want)
		}
		if list, err := w.Batches(t.Context(), batches.Filter{Tag: tag, Limit: 5}); err != nil || (len(list) == 1) != (want != "") {
			t.Errorf("tag %s: %d batches, %v", tag, len(list), err)
		}
		if list, err := w.Jobs(t.Context(), jobs.Filter{Tag: tag, Limit: 5}); err != nil || (len(list.Jobs) == 1) != (want != "") {
			t.Errorf("tag %s: %d jobs, %v", tag, len(list.Jobs), err)
		}
	}
	// The tags that hold a comparison together are not the user's.
	w.exec(t, `UPDATE batches SET tags = '{"comparison": "c", "model": "alpha/m", "team": "a"}'`)
	for tag, want := range map[string]string{"": "[[team=a] []]", "model": "[[model=alpha/m]]"} {
		list, err := w.Spending(t.Context(), billing.SpendingQuery{By: []billing.Dimension{billing.ByTag}, Tag: tag})
		must(t, err)
		var got [][]string
		for _, s := range list {
			got = append(got, s.Of)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("tag %q: %v, want %s", tag, got, want)
		}
	}
	if _, err := w.Spending(t.Context(), billing.SpendingQuery{Tag: "a\x00"}); !errors.Is(err, billing.ErrBadOrder) {
		t.Errorf("%v", err)
	}
	// It outlives the batch, and a correction moves what was spent.
	w.exec(t, `UPDATE spending SET hour = hour - interval '30 days'`)
	if list, err := w.Spending(t.Context(), billing.SpendingQuery{Since: time.Now().Add(-time.Hour)}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := w.Spending(t.Context(), billing.SpendingQuery{By: []billing.Dimension{"cost; DROP TABLE jobs"}}); err == nil {
		t.Error("an unknown dimension is taken")
	}
	figures, err := w.MetricsByHour(t.Context(), time.Now().Add(-time.Hour), time.Time{})
	if err != nil || len(figures) != 2 || figures[0].Requests+figures[1].Requests != 5 || figures[0].Cost+figures[1].Cost != 20 || figures[0].Simulated+figures[1].Simulated != 10 {
		t.Errorf("%+v, %v", figures, err)
	}
}

// A correction of an unknown outcome moves what it costs to where it belongs.
func TestACorrectedCallIsSpentOnceOnly(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	c, _ := w.tries(t, w.running(t, nil), nano(50))
	w.settle(t, c, jobs.CallUnknown, nil)
	w.settle(t, c, jobs.CallFailedBilled, nano(20))
	list, err := w.Spending(t.Context(), billing.SpendingQuery{By: []billing.Dimension{billing.ByKind}})
	if err != nil || len(list) != 1 || list[0].Of[0] != "first" || list[0].Calls != 1 || list[0].Cost != 20 {
		t.Errorf("%+v, %v", list, err)
	}
	w.holds(t)
}

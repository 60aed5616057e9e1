package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/fleet"
)

// foldAll sums up all that may be summed up.
func (w *database) foldAll(t *testing.T) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.FoldMetrics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSummingUpFiguresOfCallsChangesNoSum(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	// Of three minutes in a row, two are of one hour whenever the test runs.
	three := 3 * time.Hour
	for i, ago := range []time.Duration{time.Second, 10 * time.Minute, 50 * time.Minute, three, three + time.Minute, three + 2*time.Minute, 5 * time.Hour, 30 * time.Hour} {
		w.called(t, "", ago, "succeeded", "", int64(100+i), new(int64(500)))
		w.called(t, "", ago, "failed_unbilled", "overloaded", 7, new(int64(0)))
	}
	// As if calls of several connections had ended.
	w.exec(t, `UPDATE provider_metrics SET slot = 1 + extract(minute FROM minute)::int % 7`)
	w.exec(t, `UPDATE provider_latencies SET slot = 1 + extract(minute FROM minute)::int % 7`)
	read := func() (out struct {
		Health []fleet.Figures
		Hours  []fleet.Metrics
		All    fleet.CallTotals
		Rows   int
	},
	) {
		t.Helper()
		health, err := w.Health(ctx, 48*time.Hour)
		must(t, err)
		out.Health = health[0].Models
		out.Hours, err = w.MetricsByHour(ctx, time.Time{}, time.Time{})
		must(t, err)
		out.All, err = w.CallTotals(ctx, time.Time{}, time.Time{})
		must(t, err)
		return out
	}
	rows := func() int {
		return list[int](t, w, `SELECT to_jsonb((SELECT count(*) FROM provider_metrics) + (SELECT count(*) FROM provider_latencies))`)[0]
	}
	before, had := read(), rows()
	w.foldAll(t)
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	if now := rows(); now >= had {
		t.Errorf("%d rows, and %d before", now, had)
	}
	if n := list[int](t, w, `SELECT to_jsonb(count(*)) FROM provider_metrics WHERE slot <> 0 AND minute < now() - interval '6 minutes'`)[0]; n != 0 {
		t.Errorf("%d minutes keep their slots", n)
	}
	hours := `SELECT to_jsonb(count(*)) FROM provider_metrics WHERE minute < now() - interval '2 hours' AND extract(minute FROM minute) <> 59`
	if n := list[int](t, w, hours)[0]; n != 0 {
		t.Errorf("%d minutes are not in their hours", n)
	}

	// A correction of a call whose minute is gone is added to what there is.
	w.exec(t, `UPDATE calls SET state = 'failed_unbilled', error_kind = 'overloaded', cost_nano = 0 WHERE state = 'succeeded' AND finished_at < now() - interval '2 hours'`)
	changed := read()
	w.foldAll(t)
	if diff := cmp.Diff(changed, read()); diff != "" {
		t.Errorf("-before +after the correction:\n%s", diff)
	}
	if f := changed.Health[0]; f.Succeeded != 3 || f.Requests != 16 || f.Cost != 1500 {
		t.Errorf("%+v", f)
	}

	// Figures that begin anew within an hour that is over do so to the minute.
	w.exec(t, `UPDATE providers SET metrics_since = date_trunc('hour', now() - interval '3 hours') + interval '30 minutes'`)
	w.exec(t, `UPDATE calls SET finished_at = date_trunc('hour', now() - interval '3 hours') + make_interval(mins => CASE WHEN state = 'succeeded' THEN 10 ELSE 40 END)`)
	began := read()
	w.foldAll(t)
	if diff := cmp.Diff(began, read()); diff != "" {
		t.Errorf("-before +after figures began anew:\n%s", diff)
	}
}

func TestTheLastHourIsToldMinuteByMinute(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.called(t, "", 90*time.Second, "succeeded", "", 100, new(int64(500)))
	w.called(t, "", 2*time.Hour, "succeeded", "", 100, new(int64(700)))
	w.exec(t, `INSERT INTO job_ends (minute, provider, lane, state, wait, jobs, wait_seconds)
		SELECT date_trunc('minute', now()) - make_interval(mins => m), 'mock', 'bulk', s, 0, n, 0
		FROM (VALUES (0, 'succeeded', 3), (0, 'succeeded', 4), (0, 'expired', 1), (3, 'unknown', 2), (3, 'failed', 2), (4, 'cancelled', 9), (59, 'succeeded', 5), (70, 'succeeded', 100)) x (m, s, n)`)
	f, err := w.Fleet(t.Context())
	must(t, err)
	var money, succeeded, failed int64
	for _, m := range f.Activity {
		money, succeeded, failed = money+int64(m.Cost), succeeded+m.Succeeded, failed+m.Failed
	}
	last := f.Activity[len(f.Activity)-1]
	if len(f.Activity) != 60 || money != 500 || succeeded < 7 || succeeded > 12 || failed != 5 || last.At.After(time.Now()) || time.Since(last.At) > 2*time.Minute {
		t.Errorf("%+v", f.Activity)
	}
	if f.Totals.PerMinute < 2 || f.Totals.PerMinute > 2.4 {
		t.Errorf("%v jobs a minute", f.Totals.PerMinute)
	}
}

func TestLatenciesOverTimeAreThoseOfAnswers(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for _, ms := range []int64{100, 200, 1000} {
		w.called(t, "", 10*time.Minute, "succeeded", "", ms, new(int64(500)))
	}
	// All of one minute, also where another began between them.
	w.exec(t, `UPDATE calls SET finished_at = (SELECT min(finished_at) FROM calls)`)
	w.called(t, "", 10*time.Minute, "failed_unbilled", "overloaded", 60_000, new(int64(0)))
	w.called(t, "", 3*time.Hour, "succeeded", "", 5000, new(int64(500)))
	for _, c := range []struct {
		window, step  time.Duration
		points, calls int
	}{{time.Hour, time.Minute, 1, 3}, {24 * time.Hour, time.Hour, 2, 4}} {
		w.foldAll(t)
		all, err := w.Latencies(t.Context(), c.window, c.step)
		must(t, err)
		list := all["mock"]
		points, calls := 0, 0
		for i, p := range list {
			if calls += int(p.Calls); p.Calls > 0 {
				points++
			}
			if i > 0 && p.At.Sub(list[i-1].At) != c.step || p.P95 > 6000 {
				t.Errorf("%+v", p)
			}
		}
		// The hour of the last ten minutes may be the one before.
		if len(list) != int(c.window/c.step) || calls != c.calls || points != c.points {
			t.Errorf("%s: %d points of %d, %d calls", c.window, points, len(list), calls)
		}
	}
}

package chaos

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// spare is how many files or goroutines a worker may have beyond those of a new one:
// connections that it keeps for the next call, on either side of each.
func (w *world) spare() int { return 4*w.plan.slots + 24 }

// assertConserved holds what is left of a scenario against what producers were
// told and what the provider saw. It waits for the jobs to end, makes sure that
// everything still works, and stops the workers.
func (w *world) assertConserved() {
	w.t.Helper()
	w.phase("the faults are over")
	w.drained(4 * time.Minute)
	w.phase("all jobs have ended")
	w.stillWorks()
	w.phase("compared with a fresh worker")
	w.nothingLost()
	w.nothingPaidTwice()
	w.keepsSecrets()
	w.givesBack()
	w.phase("all is stopped")
	collect(w.t.Name(), w.result)
	w.t.Logf("%d jobs, %d faults, %d lost, %d paid twice in silence, %d calls repeated on the bill, recovered in %s",
		w.result.jobs, w.result.faults, w.result.lost, w.result.silent, w.result.repeated, w.result.recovery.Round(time.Millisecond))
}

// stillWorks starts a worker beside those that went through it all, gives them
// calm work, and then compares them.
func (w *world) stillWorks() {
	w.t.Helper()
	w.provider.Clear()
	old := w.alive()
	fresh := w.worker().ready()
	w.enqueue("calm", max(60, 2*w.plan.slots), "retry")
	w.drained(2 * time.Minute)
	if len(old) == 0 {
		return
	}
	veteran := old[0]
	base := fresh.files()
	limit := base + w.spare()
	w.until(time.Minute, fmt.Sprintf("a worker to have at most %d open files", limit), func() bool { return veteran.files() <= limit })
	files := veteran.files()
	for _, k := range old[1:] {
		k.stop()
	}
	had, has := fresh.goroutines(), veteran.goroutines()
	if had == 0 || has == 0 {
		w.t.Errorf("goroutines: the fresh worker listed %d and the old one %d", had, has)
	}
	w.t.Logf("a fresh worker has %d files and %d goroutines, one that went through it %d and %d", base, had, files, has)
	if has > had+w.spare() {
		w.t.Errorf("the worker that went through it has %d goroutines, a fresh one %d: see %s", has, had, veteran.log)
	}
}

// nothingLost: every accepted job is there and has ended once, and those that
// succeeded have one result, of a call of their own.
func (w *world) nothingLost() {
	w.t.Helper()
	w.result.jobs = w.accepted()
	terminal := w.count(`SELECT count(*) FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired', 'unknown')`)
	all := w.count(`SELECT count(*) FROM jobs`)
	w.result.lost = w.result.jobs - terminal
	if all != terminal || all != w.result.jobs {
		w.t.Errorf("producers were told of %d jobs; there are %d, of which %d have ended", w.result.jobs, all, terminal)
	}
	if n := w.count(`SELECT count(*) FROM jobs j WHERE (state = 'succeeded') <> EXISTS (SELECT FROM results r WHERE r.job_id = j.id)`); n != 0 {
		w.t.Errorf("%d jobs succeeded without a result, or have one and did not succeed", n)
	}
	if n := w.count(`SELECT count(*) FROM attempts WHERE state = 'running'`); n != 0 {
		w.t.Errorf("%d calls are open in the ledger, and every job has ended", n)
	}
	if n := w.count(`SELECT count(*) FROM jobs j WHERE cost_nano <> (SELECT coalesce(sum(a.cost_nano), 0) FROM attempts a WHERE a.job_id = j.id)`); n != 0 {
		w.t.Errorf("%d jobs cost something else than their calls together", n)
	}
	states, err := ask[string](w, `SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM jobs GROUP BY state) s`)
	w.t.Logf("jobs: %s %v", states, err)
}

// entry is one row of the ledger.
type entry struct {
	Job       string
	OnUnknown string
	State     string
	RequestID string
	Cost      int64
	Won       bool // its answer is the job's result
}

// ledger reads all rows.
func (w *world) ledger() []entry {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context())
	conn, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `
		SELECT j.batch_id || '/' || j.custom_id AS job, j.on_unknown, a.state, a.request_id, coalesce(a.cost_nano, -1) AS cost,
			EXISTS (SELECT FROM results r WHERE r.attempt_id = a.id) AS won
		FROM attempts a
		JOIN jobs j ON j.id = a.job_id`)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// account is what is known of one job's calls, on either side.
type account struct {
	onUnknown string
	calls     int   // that the provider received
	paid      int   // of which it charges
	unclear   int   // that the ledger calls unknown, or billed without an answer
	bound     int64 // what the ledger charges for those
	unmatched int   // charged calls that no success in the ledger stands for
	cost      int64 // of those
}

// nothingPaidTwice compares the ledger with the provider, call by call.
func (w *world) nothingPaidTwice() {
	w.t.Helper()
	w.until(30*time.Second, "the provider to end its calls", func() bool { return w.underWay() == 0 })
	calls, ledger := w.calls(), w.ledger()
	jobs := map[string]*account{}
	of := func(job string) *account {
		if jobs[job] == nil {
			jobs[job] = &account{}
		}
		return jobs[job]
	}
	matched := map[string]bool{}
	var known, apart, entries int64
	for _, e := range ledger {
		a := of(e.Job)
		a.onUnknown = e.OnUnknown
		entries++
		switch e.State {
		case "succeeded":
			c, there := calls[e.RequestID]
			switch {
			case !there || c.job != e.Job || !c.delivered():
				w.t.Errorf("%s: the ledger has an answer %s that the provider has not given to it (%+v)", e.Job, e.RequestID, c)
			case matched[e.RequestID]:
				w.t.Errorf("%s: the answer %s is in the ledger twice", e.Job, e.RequestID)
			case c.cost != e.Cost:
				w.t.Errorf("%s: the ledger says %d nano-USD for %s, the provider charges %d", e.Job, e.Cost, e.RequestID, c.cost)
			}
			matched[e.RequestID] = true
			known += e.Cost
		case "unknown", "failed_billed":
			a.unclear++
			a.bound += e.Cost
			apart += e.Cost
		}
	}
	var charged, failed int64
	for id, c := range calls {
		charged += c.cost
		if !c.delivered() && c.outcome != "gone" {
			failed++ // by the provider's own fault
		}
		if c.job == "" {
			continue // it was reset before it had arrived
		}
		a := of(c.job)
		a.calls++
		if c.paid {
			a.paid++
			if !matched[id] {
				a.unmatched++
				a.cost += c.cost
			}
		}
	}
	var hidden int64
	for _, job := range sorted(jobs) {
		a := jobs[job]
		hidden += a.cost
		w.result.repeated += max(0, a.calls-1)
		w.result.silent += max(0, a.unmatched-a.unclear)
		switch {
		case a.unmatched > a.unclear:
			w.t.Errorf("%s: the provider charges for %d calls of which the ledger knows nothing (%+v)", job, a.unmatched-a.unclear, *a)
		case a.cost > a.bound:
			w.t.Errorf("%s: calls of unknown outcome cost %d nano-USD, the ledger reserved %d", job, a.cost, a.bound)
		case a.onUnknown == "fail" && a.paid > 1:
			w.t.Errorf("%s: paid %d times, and on_unknown is fail", job, a.paid)
		case a.paid > 2:
			w.t.Errorf("%s: paid %d times: an unknown outcome allows one more call", job, a.paid)
		}
	}
	// Every dollar: what the provider charges is what the ledger knows, and what it
	// lists apart as unknown.
	if charged != known+hidden {
		w.t.Errorf("the provider charges %d nano-USD, the ledger knows %d and is unsure of %d", charged, known, hidden)
	}
	if most := int64(w.result.allowed) + failed; int64(w.result.repeated) > most {
		w.t.Errorf("%d calls were repeated; %d may have been in flight when something broke, and the provider failed %d", w.result.repeated, w.result.allowed, failed)
	}
	w.t.Logf("provider: %d calls, %d nano-USD; ledger: %d calls, %d nano-USD known, at most %d more of unknown outcome (really %d)",
		len(calls), charged, entries, known, apart, hidden)
}

// keepsSecrets looks for the key and the prompt in all that was written, in
// Redis, in metrics and in errors.
func (w *world) keepsSecrets() {
	w.t.Helper()
	var b strings.Builder
	w.mu.Lock()
	for _, f := range w.said {
		data, err := os.ReadFile(f.Name())
		if err != nil {
			w.t.Error(err)
		}
		b.Write(data)
	}
	w.mu.Unlock()
	b.WriteString(w.redisText())
	for _, sql := range []string{
		`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`,
		`SELECT coalesce(string_agg(p::text, ' '), '') FROM providers p`,
		`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM jobs UNION ALL SELECT error_message FROM attempts) e`,
	} {
		text, err := ask[string](w, sql)
		if err != nil {
			w.t.Error(err)
		}
		b.WriteString(text)
	}
	all := b.String()
	for _, secret := range []string{canaryKey, canaryPrompt} {
		if i := strings.Index(all, secret); i >= 0 {
			w.t.Errorf("%q got out: …%s…", secret, all[max(0, i-200):min(len(all), i+200)])
		}
	}
	// Where it belongs it is: else this would not notice it elsewhere.
	if n := w.count(`SELECT count(*) FROM jobs WHERE request::text LIKE '%' || $1 || '%'`, canaryPrompt); n != w.accepted() {
		w.t.Errorf("the prompt is in %d of %d jobs", n, w.accepted())
	}
}

// redisText is everything in Redis.
func (w *world) redisText() string {
	ctx := context.WithoutCancel(w.t.Context())
	client := w.client()
	defer func() { _ = client.Close() }()
	var b strings.Builder
	for it := client.Scan(ctx, 0, "*", 1000).Iterator(); it.Next(ctx); {
		b.WriteString(it.Val() + " ")
		// DUMP is the value as Redis keeps it, of whatever type. Short strings in
		// it are not compressed.
		if dump, err := client.Dump(ctx, it.Val()).Result(); err == nil {
			b.WriteString(dump)
		}
		if h, err := client.HGetAll(ctx, it.Val()).Result(); err == nil {
			fmt.Fprint(&b, h)
		}
	}
	return b.String()
}

// givesBack stops the workers that are left, and sees that no connection stays.
func (w *world) givesBack() {
	w.t.Helper()
	for _, k := range w.alive() {
		k.stop()
	}
	w.until(30*time.Second, "Postgres to be left", func() bool {
		n, err := ask[int64](w, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`)
		return err == nil && n == 0
	})
	client := w.client()
	defer func() { _ = client.Close() }()
	w.until(30*time.Second, "Redis to be left", func() bool {
		list, err := client.ClientList(context.WithoutCancel(w.t.Context())).Result()
		return err == nil && strings.Count(list, "\n") == 1
	})
}

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/harness"
	"oneflow/internal/storetest"
)

// spare returns the number of files or goroutines that a worker may have beyond those of a new one:
// connections that it keeps for the next call, on either side of each.
func (x *experiment) spare() int { return 3*x.plan.slots + 8 }

// assertConserved holds what is left of a scenario against what producers were
// told and what the provider saw. It waits for the jobs to end, makes sure that
// everything still works, and stops the workers.
func (x *experiment) assertConserved() {
	x.t.Helper()
	x.phase("the faults are over")
	x.drained(4 * time.Minute)
	x.phase("all jobs have ended")
	x.stillWorks()
	x.phase("compared with a fresh worker")
	x.nothingLost()
	x.nothingPaidTwice()
	x.keepsSecrets()
	x.givesBack()
	x.phase("all is stopped")
	collect(x.t.Name(), x.result)
	x.t.Logf("%d jobs, %d faults, %d lost, %d paid twice in silence, %d calls repeated on the bill, recovered in %s",
		x.result.jobs, x.result.faults, x.result.lost, x.result.silent, x.result.repeated, x.result.recovery.Round(time.Millisecond))
}

// stillWorks starts a worker beside those that went through it all, gives them
// calm work, and then compares them.
func (x *experiment) stillWorks() {
	x.t.Helper()
	x.provider.Clear()
	old := x.alive()
	fresh := x.worker().ready()
	// Each is a task of its own, so that all get some; the old ones may be quicker to take them all.
	for round := 1; round == 1 || round <= 10 && !hasWorked(fresh.Log); round++ {
		x.enqueue(fmt.Sprintf("calm-%d", round), max(60, 2*x.plan.slots), "retry", "--lane", "default")
		x.drained(2 * time.Minute)
	}
	if len(old) == 0 {
		return
	}
	veteran := old[0]
	base := fresh.Files()
	limit := base + x.spare()
	x.until(time.Minute, fmt.Sprintf("a worker to have at most %d open files", limit), func() bool { return veteran.Files() <= limit })
	files := veteran.Files()
	for _, k := range old[1:] {
		k.stop()
	}
	had, has := fresh.goroutines(), veteran.goroutines()
	x.t.Logf("a fresh worker has %d files and %d goroutines, one that went through it %d and %d", base, had, files, has)
	if has > had+x.spare() {
		x.t.Errorf("the worker that went through it has %d goroutines, a fresh one %d: see %s", has, had, veteran.Log)
	}
}

// hasWorked reports whether a worker with that log has brought a job to its end.
func hasWorked(log string) bool {
	text, _ := os.ReadFile(log) // without it nothing is known of it
	return bytes.Contains(text, []byte(`"message":"succeeded"`))
}

// nothingLost: every accepted job is there and has ended once, and those that
// succeeded have one result, of a call of their own.
func (x *experiment) nothingLost() {
	x.t.Helper()
	x.result.jobs = x.accepted()
	terminal := x.count(`SELECT count(*) FROM job_states WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired', 'unknown')`)
	all := x.count(`SELECT count(*) FROM jobs`)
	x.result.lost = x.result.jobs - terminal
	if all != terminal || all != x.result.jobs {
		x.t.Errorf("producers were told of %d jobs; there are %d, of which %d have ended", x.result.jobs, all, terminal)
	}
	if n := x.count(`SELECT count(*) FROM calls WHERE state = 'running'`); n != 0 {
		x.t.Errorf("%d calls are open in the ledger, and every job has ended", n)
	}
	ctx := context.WithoutCancel(x.t.Context())
	conn, err := pgx.Connect(ctx, x.DatabaseURL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	storetest.Invariants(x.t, conn)
	states, err := ask[string](x, `SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM job_states GROUP BY state) s`)
	x.t.Logf("jobs: %s %v", states, err)
}

// entry is one row of the ledger, for one of the jobs that the call served.
type entry struct {
	Call      string
	Job       string
	OnUnknown string
	State     string
	RequestID string
	Cost      int64
	Won       bool // its answer is the job's result
}

// ledger reads all rows.
func (x *experiment) ledger() []entry {
	x.t.Helper()
	ctx := context.WithoutCancel(x.t.Context())
	conn, err := pgx.Connect(ctx, x.pg.URL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `
		SELECT a.id::text AS call, j.batch_id || '/' || j.custom_id AS job, j.on_unknown, a.state, a.request_id, coalesce(a.cost_nano, -1) AS cost,
			EXISTS (SELECT FROM results r WHERE r.call_id = a.id AND r.job_id = cj.job_id) AS won
		FROM calls a
		JOIN call_jobs cj ON cj.call_id = a.id
		JOIN jobs j ON j.id = cj.job_id`)
	if err != nil {
		x.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[entry])
	if err != nil {
		x.t.Fatal(err)
	}
	return all
}

// account sums up one job's calls, on either side.
type account struct {
	onUnknown string
	calls     int   // that the provider received
	paid      int   // of which it charges
	unclear   int   // that the ledger calls unknown, or billed without an answer
	bound     int64 // what the ledger charges for those
	unmatched int   // charged calls that no success in the ledger stands for
	cost      int64 // of those, where they serve several jobs with all of it
	asked     int   // calls that were answered, and not with its result
}

// nothingPaidTwice compares the ledger with the provider, call by call.
func (x *experiment) nothingPaidTwice() {
	x.t.Helper()
	x.until(30*time.Second, "the provider to end its calls", func() bool { return x.underWay() == 0 })
	calls, ledger := x.calls(), x.ledger()
	jobs := map[string]*account{}
	of := func(job string) *account {
		if jobs[job] == nil {
			jobs[job] = &account{}
		}
		return jobs[job]
	}
	matched := map[string]string{} // calls by the provider's id
	read := map[string]bool{}
	var known, apart, entries int64
	for _, e := range ledger {
		a := of(e.Job)
		a.onUnknown = e.OnUnknown
		again := read[e.Call]
		if read[e.Call] = true; !again {
			entries++
		}
		switch e.State {
		case "succeeded":
			c, there := calls[e.RequestID]
			switch {
			case !there || !slices.Contains(c.jobs, e.Job) || !c.delivered():
				x.t.Errorf("%s: the ledger has an answer %s that the provider has not given to it (%+v)", e.Job, e.RequestID, c)
			case matched[e.RequestID] != "" && matched[e.RequestID] != e.Call:
				x.t.Errorf("%s: the answer %s is in the ledger twice", e.Job, e.RequestID)
			case c.cost != e.Cost:
				x.t.Errorf("%s: the ledger says %d nano-USD for %s, the provider charges %d", e.Job, e.Cost, e.RequestID, c.cost)
			}
			matched[e.RequestID] = e.Call
			if !again {
				known += e.Cost
			}
			if !e.Won {
				a.asked++
			}
		case "unknown", "failed_billed":
			a.unclear++
			a.bound += e.Cost
			if !again {
				apart += e.Cost
			}
		}
	}
	var charged, failed, hidden int64
	for id, c := range calls {
		charged += c.cost
		if c.paid && matched[id] == "" {
			hidden += c.cost
		}
		if !c.delivered() && c.outcome != "gone" {
			failed++ // by the provider's own fault
		}
		for _, job := range c.jobs { // none where it was reset before it had arrived
			a := of(job)
			a.calls++
			if c.paid {
				a.paid++
				if matched[id] == "" {
					a.unmatched++
					a.cost += c.cost
				}
			}
		}
	}
	for _, job := range sorted(jobs) {
		a := jobs[job]
		if x.plan.combined {
			a.paid -= a.asked // asked alone after an answer to several that had none for it
		}
		x.result.repeated += max(0, a.calls-1)
		x.result.silent += max(0, a.unmatched-a.unclear)
		switch {
		case a.unmatched > a.unclear:
			x.t.Errorf("%s: the provider charges for %d calls of which the ledger knows nothing (%+v)", job, a.unmatched-a.unclear, *a)
		case a.cost > a.bound:
			x.t.Errorf("%s: calls of unknown outcome cost %d nano-USD, the ledger reserved %d", job, a.cost, a.bound)
		case a.onUnknown == "fail" && a.paid > 1:
			x.t.Errorf("%s: paid %d times, and on_unknown is fail", job, a.paid)
		case a.paid > 2:
			x.t.Errorf("%s: paid %d times: an unknown outcome allows one more call", job, a.paid)
		}
	}
	// Every dollar: what the provider charges is what the ledger knows, and what it
	// lists apart as unknown.
	if charged != known+hidden {
		x.t.Errorf("the provider charges %d nano-USD, the ledger knows %d and is unsure of %d", charged, known, hidden)
	}
	if most := int64(x.result.allowed) + failed; int64(x.result.repeated) > most {
		x.t.Errorf("%d calls were repeated; %d may have been in flight when something broke, and the provider failed %d", x.result.repeated, x.result.allowed, failed)
	}
	x.t.Logf("provider: %d calls, %d nano-USD; ledger: %d calls, %d nano-USD known, at most %d more of unknown outcome (really %d)",
		len(calls), charged, entries, known, apart, hidden)
}

// keepsSecrets looks for the key and the prompt in all that was written, in
// Redis, in metrics and in errors.
func (x *experiment) keepsSecrets() {
	x.t.Helper()
	all, err := x.Output()
	if err != nil {
		x.t.Error(err)
	}
	inRedis, err := harness.RedisText(context.WithoutCancel(x.t.Context()), x.RedisURL)
	if err != nil {
		x.t.Error(err)
	}
	all += inRedis
	for _, sql := range []string{
		`SELECT coalesce(string_agg(m::text, ' '), '') FROM provider_metrics m`,
		`SELECT coalesce(string_agg(p::text, ' '), '') FROM providers p`,
		`SELECT coalesce(string_agg(error_message, ' '), '') FROM (SELECT error_message FROM job_states UNION ALL SELECT error_message FROM calls) e`,
	} {
		text, err := ask[string](x, sql)
		if err != nil {
			x.t.Error(err)
		}
		all += text
	}
	if err := harness.Leak(all, canaryKey, canaryPrompt); err != nil {
		x.t.Error(err)
	}
	// Where it belongs it is: else this would not notice it elsewhere.
	if n := x.count(`SELECT count(*) FROM jobs WHERE request::text LIKE '%' || $1 || '%'`, canaryPrompt); n != x.accepted() {
		x.t.Errorf("the prompt is in %d of %d jobs", n, x.accepted())
	}
}

// givesBack stops the workers that are left, and sees that no connection stays.
func (x *experiment) givesBack() {
	x.t.Helper()
	for _, k := range x.alive() {
		k.stop()
	}
	x.until(30*time.Second, "Postgres to be left", func() bool {
		n, err := ask[int64](x, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`)
		return err == nil && n == 0
	})
	client := x.client()
	defer func() { _ = client.Close() }()
	x.until(30*time.Second, "Redis to be left", func() bool {
		list, err := client.ClientList(context.WithoutCancel(x.t.Context())).Result()
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

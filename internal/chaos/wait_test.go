package chaos

import (
	"context"
	"fmt"
	"time"

	"oneflow/internal/harness"
)

// ask asks Postgres for one value. It fails while Postgres is away.
func ask[T any](x *experiment, sql string, args ...any) (T, error) {
	return harness.Query[T](context.WithoutCancel(x.t.Context()), x.DatabaseURL, sql, args...)
}

// count is ask for a number, which must work.
func (x *experiment) count(sql string, args ...any) int64 {
	x.t.Helper()
	n, err := ask[int64](x, sql, args...)
	if err != nil {
		x.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// until polls until done, for at most limit; then it ends the test.
func (x *experiment) until(limit time.Duration, what string, done func() bool) {
	x.t.Helper()
	if !x.wait(limit, what, done) {
		x.t.FailNow()
	}
}

// wait is until for goroutines beside the test's own, which may not end it.
func (x *experiment) wait(limit time.Duration, what string, done func() bool) bool {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), limit)
	defer cancel()
	err := harness.Until(ctx, 100*time.Millisecond, what, func() (bool, error) { return done(), nil })
	if err != nil {
		states, stateErr := ask[string](x, `SELECT coalesce(string_agg(state || ' ' || n, ', '), 'none') FROM (SELECT state, count(*) AS n FROM job_states GROUP BY state) s`)
		x.t.Errorf("%v, after %s (jobs: %s %v)", err, limit, states, stateErr)
	}
	return err == nil
}

// pass lets time pass: the length of an outage.
func (x *experiment) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.t.Context().Done():
	}
}

// drained waits until all jobs have ended. What takes long is shown.
func (x *experiment) drained(limit time.Duration) {
	x.t.Helper()
	show := time.Now().Add(45 * time.Second)
	x.until(limit, "all jobs to end", func() bool {
		n, err := ask[int64](x, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`)
		if err == nil && n > 0 && time.Now().After(show) {
			show = show.Add(time.Hour)
			x.t.Log(x.waiting())
		}
		return err == nil && n == 0
	})
}

// waiting describes one of the jobs that have not ended, as Postgres and Redis see it.
func (x *experiment) waiting() string {
	var id, row string
	err := x.row(`
		SELECT job_id::text || '-' || gen, to_jsonb(j)::text
		FROM job_states j
		WHERE finished_at IS NULL
		ORDER BY job_id
		LIMIT 1`, &id, &row)
	if err != nil {
		return err.Error()
	}
	client := x.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(x.t.Context())
	queue := "asynq:{openai.bulk}:"
	task := client.HGet(ctx, queue+"t:"+id, "state").Val()
	lease := client.ZScore(ctx, queue+"lease", id).Val()
	return fmt.Sprintf("%s: %s; in Redis: state %q, lease until %s", id, row, task, time.Unix(int64(lease), 0).UTC().Format(time.TimeOnly))
}

// row asks Postgres for one row.
func (x *experiment) row(sql string, into ...any) error {
	return harness.QueryRow(context.WithoutCancel(x.t.Context()), x.DatabaseURL, sql, nil, into...)
}

// progressed waits until as many jobs have ended.
func (x *experiment) progressed(limit time.Duration, n int64) {
	x.t.Helper()
	x.until(limit, fmt.Sprintf("%d jobs to end", n), func() bool {
		got, err := ask[int64](x, `SELECT count(*) FROM job_states WHERE finished_at IS NOT NULL`)
		return err == nil && got >= n
	})
}

// workFrom waits until ten calls that began after t have brought a result, or all
// jobs have ended, and returns how long after t that was.
func (x *experiment) workFrom(t time.Time) time.Duration {
	x.t.Helper()
	x.until(2*time.Minute, "results after the outage", func() bool {
		done, err := ask[bool](x, `
			SELECT (SELECT count(*) >= 10 FROM calls WHERE state = 'succeeded' AND started_at > $1)
				OR NOT EXISTS (SELECT FROM job_states WHERE finished_at IS NULL)`, t)
		return err == nil && done
	})
	return time.Since(t)
}

// takenOver waits until nothing is in the name of a dead worker, and returns how
// long after its death that was.
func (x *experiment) takenOver(dead *worker, died time.Time) time.Duration {
	x.t.Helper()
	x.wait(2*time.Minute, "a dead worker's jobs to be taken over", func() bool {
		n, err := ask[int64](x, `
			SELECT count(*)
			FROM job_states
			WHERE state = 'running' AND worker_id IN (SELECT id FROM workers WHERE pid = $1)`, dead.Pid)
		return err == nil && n == 0
	})
	return time.Since(died)
}

package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ask asks Postgres for one value. It fails while Postgres is away.
func ask[T any](w *world, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		return v, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

// count is ask for a number, which must work.
func (w *world) count(sql string, args ...any) int64 {
	w.t.Helper()
	n, err := ask[int64](w, sql, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// until polls until done, for at most limit; then it ends the test.
func (w *world) until(limit time.Duration, what string, done func() bool) {
	w.t.Helper()
	if !w.wait(limit, what, done) {
		w.t.FailNow()
	}
}

// wait is until for goroutines beside the test's own, which may not end it.
func (w *world) wait(limit time.Duration, what string, done func() bool) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			states, err := ask[string](w, `SELECT coalesce(string_agg(state || ' ' || n, ', '), 'none') FROM (SELECT state, count(*) AS n FROM jobs GROUP BY state) s`)
			w.t.Errorf("waited %s in vain for: %s (jobs: %s %v)", limit, what, states, err)
			return false
		case <-tick.C:
		}
	}
	return true
}

// pass lets time pass: the length of an outage.
func (w *world) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.t.Context().Done():
	}
}

// drained waits until all jobs have ended. What takes long is shown.
func (w *world) drained(limit time.Duration) {
	w.t.Helper()
	show := time.Now().Add(45 * time.Second)
	w.until(limit, "all jobs to end", func() bool {
		n, err := ask[int64](w, `SELECT count(*) FROM jobs WHERE finished_at IS NULL`)
		if err == nil && n > 0 && time.Now().After(show) {
			show = show.Add(time.Hour)
			w.t.Log(w.waiting())
		}
		return err == nil && n == 0
	})
}

// waiting describes one of the jobs that have not ended, as Postgres and Redis see it.
func (w *world) waiting() string {
	var id, row string
	err := w.row(`
		SELECT id::text || '-' || gen, (to_jsonb(j) - 'request' - 'content_sha256')::text
		FROM jobs j
		WHERE finished_at IS NULL
		ORDER BY id
		LIMIT 1`, &id, &row)
	if err != nil {
		return err.Error()
	}
	client := w.client()
	defer func() { _ = client.Close() }()
	ctx := context.WithoutCancel(w.t.Context())
	queue := "asynq:{openai.bulk}:"
	task := client.HGet(ctx, queue+"t:"+id, "state").Val()
	lease := client.ZScore(ctx, queue+"lease", id).Val()
	return fmt.Sprintf("%s: %s; in Redis: state %q, lease until %s", id, row, task, time.Unix(int64(lease), 0).UTC().Format(time.TimeOnly))
}

// row asks Postgres for one row.
func (w *world) row(sql string, into ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.pg.URL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, sql).Scan(into...)
}

// progressed waits until as many jobs have ended.
func (w *world) progressed(limit time.Duration, n int64) {
	w.t.Helper()
	w.until(limit, fmt.Sprintf("%d jobs to end", n), func() bool {
		got, err := ask[int64](w, `SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL`)
		return err == nil && got >= n
	})
}

// workFrom waits until ten calls that began after t have brought a result, or all
// jobs have ended, and returns how long after t that was.
func (w *world) workFrom(t time.Time) time.Duration {
	w.t.Helper()
	w.until(2*time.Minute, "results after the outage", func() bool {
		done, err := ask[bool](w, `
			SELECT (SELECT count(*) >= 10 FROM attempts WHERE state = 'succeeded' AND started_at > $1)
				OR NOT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)`, t)
		return err == nil && done
	})
	return time.Since(t)
}

// takenOver waits until nothing is in the name of a dead worker, and returns how
// long after its death that was.
func (w *world) takenOver(dead *worker, died time.Time) time.Duration {
	w.t.Helper()
	w.wait(time.Minute, "a dead worker's jobs to be taken over", func() bool {
		n, err := ask[int64](w, `
			SELECT count(*)
			FROM jobs
			WHERE state = 'running' AND worker_id IN (SELECT id FROM workers WHERE pid = $1)`, dead.cmd.Process.Pid)
		return err == nil && n == 0
	})
	return time.Since(died)
}

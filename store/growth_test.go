package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/store"
)

// readBy returns how many rows of tables and indexes a Store read for do: the growth
// of a statement, without a clock.
func (w *database) readBy(t *testing.T, do func(*store.Store)) int64 {
	t.Helper()
	others := func() (n int64) {
		w.one(t, &n, `
			SELECT to_jsonb(count(*))
			FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'counted'`)
		return n
	}
	read := func() (n int64) {
		w.one(t, &n, `
			SELECT to_jsonb(coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)
				+ (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes))
			FROM pg_stat_user_tables`)
		return n
	}
	// What a connection has read it tells once a second at most: what the test itself did just
	// now, such as to fill tables, would be counted with do.
	for _, c := range w.sql.AcquireAllIdle(t.Context()) {
		_, err := c.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`)
		c.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.TellStatistics(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := read()
	s, err := store.Open(t.Context(), w.url+"&application_name=counted")
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	s.Close() // a server process adds its figures to the others' when it ends
	for range 1200 {
		if others() == 0 {
			return read() - before
		}
		w.exec(t, `SELECT pg_sleep(0.05)`)
	}
	t.Fatal("the connections of the Store do not end")
	return 0
}

// waiting fills the queue of the mock's default lane behind the Store's back: n jobs
// in Redis, and as many that wait for room.
func (w *database) filled(t *testing.T, dispatched, waiting int) {
	t.Helper()
	w.exec(t, `
		WITH new AS (
			INSERT INTO jobs (id, seq, key, content_sha256, task, provider, model, request)
			SELECT gen_random_uuid(), n, 'k', decode(repeat('ab', 32), 'hex'), 'text', 'mock', 'm', '{"task":"text","prompt":"x"}'
			FROM generate_series(1, $1::int + $2::int) n
			RETURNING id, seq, run_at
		), state AS (
			INSERT INTO job_states (job_id, state, deadline)
			SELECT id, 'queued', now() + interval '1 day' FROM new
		)
		INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, run_at, gen, deadline, paused, dispatched_at, start_tag)
		SELECT id, 'mock', 'default', '', 'default', '', seq, run_at, 1, now() + interval '1 day', false, CASE WHEN seq <= $1 THEN now() END, seq
		FROM new`, dispatched, waiting)
}

func TestToppingUpReadsNoMoreWhenMoreWait(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.exec(t, `UPDATE providers SET dispatch_window = 200`)
	topUp := func(s *store.Store) {
		if _, _, err := s.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Default}, 2000); err != nil {
			t.Error(err)
		}
	}
	w.filled(t, 100, 1000)
	w.exec(t, `ANALYZE`)
	few := w.readBy(t, topUp)
	w.filled(t, 0, 30_000)
	w.exec(t, `UPDATE job_queue SET dispatched_at = NULL WHERE seq > 100`)
	w.exec(t, `VACUUM ANALYZE`)
	many := w.readBy(t, topUp)
	if few < 100 || many > 2*few {
		t.Errorf("%d rows were read with 1,000 jobs waiting, and %d with 31,000", few, many)
	}
	// Beyond the window there is nothing to do, and nothing to read.
	w.filled(t, 30_000, 0)
	w.exec(t, `VACUUM ANALYZE`)
	if full := w.readBy(t, topUp); full > 6000 {
		t.Errorf("%d rows were read with a window of 200 that is full", full)
	}
}

// A plan that takes the table for empty must not look for each job among all.
func TestToppingUpReadsNoMoreWhereTheTableWasEmptyBefore(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.exec(t, `UPDATE providers SET dispatch_window = 400`)
	w.exec(t, `ALTER TABLE job_queue SET (autovacuum_enabled = false)`)
	w.filled(t, 0, 20_000)
	read := w.readBy(t, func(s *store.Store) {
		marked, _, err := s.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Default}, 400)
		if err != nil || len(marked) < 390 {
			t.Errorf("%d were marked, %v", len(marked), err)
		}
		if err := s.Undispatch(t.Context(), marked); err != nil {
			t.Error(err)
		}
	})
	if read > 20*400 {
		t.Errorf("%d rows were read to dispatch 400 jobs and to take them back", read)
	}
}

func TestALookForStuckQueuesReadsNoMoreWhenMoreWait(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	look := func(s *store.Store) {
		if stuck, err := s.StuckQueues(t.Context(), time.Minute); err != nil || len(stuck) != 0 {
			t.Error(stuck, err)
		}
	}
	w.filled(t, 100, 1000)
	w.exec(t, `UPDATE job_queue SET run_at = now() - interval '1 hour'`)
	w.exec(t, `INSERT INTO job_ends VALUES (now(), 'mock', 'default', 'succeeded', 1, 50, 0)`)
	few := w.readBy(t, look)
	w.filled(t, 1000, 10000)
	if many := w.readBy(t, look); many > 2*few+100 {
		t.Errorf("%d rows were read with 11,000 more that wait, %d before", many, few)
	}
}

func TestAQueueIsToppedUpOnceItIsFourFifthsFull(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.exec(t, `UPDATE providers SET dispatch_window = 10`)
	w.filled(t, 8, 20)
	if marked, full, err := w.TopUp(t.Context(), jobs.Queue{Provider: "mock", Lane: jobs.Default}, 100); err != nil || len(marked) != 0 || !full {
		t.Errorf("%d were marked with 8 of 10 inside, full %t, %v", len(marked), full, err)
	}
	w.exec(t, `DELETE FROM job_queue WHERE seq = 1`)
	if marked := w.topUp(t, 100); len(marked) != 3 {
		t.Errorf("%d were marked with 7 of 10 inside, want the 3 that there is room for", len(marked))
	}
}

// A job's way must cost the same whatever the tables were when its statements were
// planned, and however many jobs and calls there are.
func TestAJobsWayReadsTheSameWhateverTheTablesWere(t *testing.T) {
	t.Parallel()
	const group = 40
	w := newDatabase(t)
	w.exec(t, `VACUUM ANALYZE`) // all are known to be empty
	first, second := w.batch(t, "first", group), w.batch(t, "second", group)
	alone := w.readBy(t, func(s *store.Store) {
		goTogether(t, s, w, first) // plans are made now
		w.filled(t, 500, 500)
		w.underWay(t, 20000)
		goTogether(t, s, w, second)
	})
	if alone > 120*2*group {
		t.Errorf("%d rows were read for %d jobs beside 5,000 calls of others, want fewer than 120 a job", alone, 2*group)
	}
	// A summary of pages never forgets that it has seen calls under way.
	w.exec(t, `INSERT INTO calls (id, worker_id, provider, model, deadline)
		SELECT gen_random_uuid(), gen_random_uuid(), 'mock', 'm', now() FROM generate_series(1, 15000)`)
	w.exec(t, `VACUUM calls`)
	w.exec(t, `UPDATE calls SET state = 'succeeded', finished_at = now() WHERE finished_at IS NULL`)
	w.exec(t, `VACUUM ANALYZE`)
	third := w.batch(t, "third", group)
	if later := w.readBy(t, func(s *store.Store) { goTogether(t, s, w, third) }); later > 300*group {
		t.Errorf("%d rows were read for %d jobs with plans of full tables", later, group)
	}
}

// A worker plans its statements as it starts: also where tables are known to be empty by then, as that of what
// waits is whenever nothing does.
func TestAJobsWayReadsTheSameWhereAWorkerStartedWithEmptyTables(t *testing.T) {
	t.Parallel()
	const group = 40
	for name, empty := range map[string]string{
		"all":   `TRUNCATE jobs, job_states, job_queue, batch_counts`,
		"calls": ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDatabase(t)
			// By the first temporary table of a connection Postgres drops all plans.
			w.batch(t, "before", 100)
			w.exec(t, empty)
			w.exec(t, `VACUUM ANALYZE`)
			read := w.readBy(t, func(s *store.Store) {
				if err := s.Warm(t.Context()); err != nil {
					t.Error(err)
				}
				w.filled(t, 3000, 3000)
				w.underWay(t, 20000)
				goTogether(t, s, w, w.batch(t, "first", group))
			})
			if read > 100*group {
				t.Errorf("%d rows were read for %d jobs beside others, want fewer than 100 a job", read, group)
			}
		})
	}
}

// underWay has calls of others be under way.
func (w *database) underWay(t *testing.T, n int) {
	t.Helper()
	w.exec(t, `
		WITH call AS (
			INSERT INTO calls (id, worker_id, provider, model, deadline)
			SELECT gen_random_uuid(), gen_random_uuid(), 'mock', 'm', now() FROM generate_series(1, $1::int) RETURNING id
		)
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token) SELECT id, gen_random_uuid(), 1, 1, id FROM call`, n)
}

// goTogether takes jobs from their claims to their ends, all at once.
func goTogether(t *testing.T, s *store.Store, w *database, deliveries []jobs.Delivery) {
	t.Helper()
	ends := make(chan error, len(deliveries))
	for i, d := range deliveries {
		go func() { ends <- goThrough(t.Context(), s, w, d, i) }()
	}
	for range deliveries {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// goThrough takes a job from its claim to its end: most succeed, some fail. Every other is
// claimed with its call.
func goThrough(ctx context.Context, s *store.Store, w *database, d jobs.Delivery, i int) (err error) {
	claim := jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()}
	var job *jobs.Job
	if i%2 == 0 {
		list, err := s.Untouched(ctx, []jobs.Claim{claim})
		if err != nil || len(list) != 1 {
			return fmt.Errorf("look at %s: %+v, %w", d.ID, list, err)
		}
		job = &list[0]
		job.LeaseToken = claim.LeaseToken
	} else {
		got, err := s.Claim(ctx, w.worker, claim)
		if job = got.Job; err != nil || job == nil {
			return fmt.Errorf("claim %s: %+v, %w", d.ID, got, err)
		}
	}
	c := callOf(job, nano(5))
	if i%2 == 0 {
		c.Gen = d.Gen
	}
	if err := s.BeginCall(ctx, w.worker, c); err != nil {
		return err
	}
	if i%4 > 0 {
		return s.Succeed(ctx, success(job, c, nano(3)))
	}
	if i%8 > 0 {
		err = s.SettleCall(ctx, jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Latency: time.Second})
	}
	if err == nil {
		_, err = s.Complete(ctx, jobs.Completion{JobID: job.ID, LeaseToken: job.LeaseToken, State: jobs.Failed, Class: "x"})
	}
	return err
}

func TestProgressReadsTheCountsAndNotTheJobs(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	w.batch(t, "small", 1)
	w.batch(t, "large", 3000)
	progress := func(id string, want int64) func(*store.Store) {
		return func(s *store.Store) {
			p, err := s.Progress(t.Context(), id)
			if err != nil || p.Total() != want || p.Counts[jobs.Queued] != want {
				t.Errorf("%+v, %v", p, err)
			}
			tallies, err := s.Tallies(t.Context(), []string{id})
			if err != nil || tallies[id].Counts[jobs.Queued] != want {
				t.Errorf("%+v, %v", tallies, err)
			}
		}
	}
	small, large := w.readBy(t, progress("small", 1)), w.readBy(t, progress("large", 3000))
	if large > small+50 {
		t.Errorf("%d rows were read for a batch of 1, and %d for one of 3,000", small, large)
	}
}

func TestWhatWasSentIsReadByTheMinute(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	d := w.accept(t, 400, nil)
	sent := func(s *store.Store) {
		if _, err := s.Sent(t.Context(), "mock", ""); err != nil {
			t.Error(err)
		}
	}
	through := func(list []jobs.Delivery) {
		ends := make(chan error, len(list))
		for i, one := range list {
			go func() { ends <- goThrough(t.Context(), w.Store, w, one, i) }()
		}
		for range list {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	}
	through(d[:20])
	w.exec(t, `VACUUM calls`)
	few := w.readBy(t, sent)
	through(d[20:])
	w.exec(t, `VACUUM calls`)
	if many := w.readBy(t, sent); many > few+100 {
		t.Errorf("%d rows were read after 20 calls, and %d after 400", few, many)
	}
}

func TestAnAuditMendsCountsThatAreWrong(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for i, d := range w.batch(t, "b", 9) {
		if i > 2 {
			must(t, goThrough(t.Context(), w.Store, w, d, i))
		}
	}
	w.batch(t, "c", 2)
	audit := func(after, want string, wantWrong bool) {
		t.Helper()
		if batch, wrong, err := w.AuditCounts(t.Context(), after); err != nil || batch != want || wrong != wantWrong {
			t.Errorf("after %q: %q wrong %t, %v; want %q %t", after, batch, wrong, err, want, wantWrong)
		}
	}
	audit("", "b", false)
	w.exec(t, `UPDATE batch_counts SET queued = queued + 3, failed = failed - 1, cost_nano = cost_nano + 7 WHERE batch_id = 'b'`)
	audit("", "b", true)
	audit("", "b", false)
	audit("b", "c", false)
	w.exec(t, `DELETE FROM batch_counts`)
	audit("b", "c", true)
	audit("", "b", true)
	audit("c", "", false)
	w.holds(t)
}

// status reads what `enqueue status` shows of a batch.
func status(t *testing.T, s *store.Store, id string) (problems int64) {
	t.Helper()
	ctx := t.Context()
	p, err := s.Progress(ctx, id)
	must(t, err)
	_, err = s.Detail(ctx, p)
	must(t, err)
	_, err = fleet.Waits(ctx, s, id, "")
	must(t, err)
	_, err = s.WebhooksOf(ctx, id)
	must(t, err)
	_, err = s.Steps(ctx, id)
	must(t, err)
	list, err := s.Problems(ctx, id)
	must(t, err)
	for _, one := range list {
		problems += one.Jobs
	}
	return problems
}

// It is asked for while a batch runs, again and again.
func TestStatusOfALargeBatchReadsNoMoreWhenTheBatchIsLarger(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	large := func(id string, n int) int64 {
		must(t, w.OpenBatch(t.Context(), jobs.Batch{ID: id, Account: "default"}))
		w.exec(t, `
			WITH new AS (
				INSERT INTO jobs (id, batch_id, seq, key, content_sha256, task, provider, model, request)
				SELECT gen_random_uuid(), $1, n, n::text, decode(repeat('ab', 32), 'hex'), 'text', 'mock', 'm', '{"task":"text","prompt":"x"}'
				FROM generate_series(1, $2::int) n
				RETURNING id, seq, run_at
			), state AS (
				INSERT INTO job_states (job_id, batch_id, state, deadline, error_class, finished_at)
				SELECT id, $1, CASE WHEN seq % 1000 = 0 THEN 'failed' ELSE 'queued' END, now() + interval '1 day',
					CASE WHEN seq % 1000 = 0 THEN 'server' ELSE '' END, CASE WHEN seq % 1000 = 0 THEN now() END
				FROM new
			), counted AS (
				INSERT INTO batch_counts (batch_id, slot, queued, failed)
				SELECT $1, 1, count(*) FILTER (WHERE seq % 1000 <> 0), count(*) FILTER (WHERE seq % 1000 = 0) FROM new
			)
			INSERT INTO job_queue (job_id, provider, lane, model, account, batch_id, seq, run_at, gen, deadline, paused)
			SELECT id, 'mock', 'bulk', '', 'default', $1, seq, run_at, 1, now() + interval '1 day', false
			FROM new
			WHERE seq % 1000 <> 0`, id, n)
		most := int64(0)
		for range 2 { // as the tables looked when they were empty, and as they are
			var problems int64
			most = max(most, w.readBy(t, func(s *store.Store) { problems = status(t, s, id) }))
			if problems != int64(n/1000) {
				t.Errorf("%s: %d jobs have failed, and status tells of %d", id, n/1000, problems)
			}
			w.exec(t, `ANALYZE`)
		}
		return most
	}
	few, many := large("few", 11_000), large("many", 60_000)
	if few < fleet.MaxWaiting/16 || max(few, many) > 10*fleet.MaxWaiting { // of tables and indexes, whatever the plan
		t.Errorf("%d rows were read of 11,000 jobs, and %d of 60,000", few, many)
	}
}

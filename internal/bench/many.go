package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"oneflow/internal/harness"
	"oneflow/jobs"
)

const (
	// mostIntake bounds the number of prompts whose acceptance is measured: see intake.
	mostIntake = 100_000
	// warm is the number of jobs that end before a worker's time is measured.
	warm = 1000
	// looks is the number of times that status is asked for, about.
	looks = 9
)

// intake is the number of prompts whose acceptance is measured: a tenth of many.
func (b *bench) intake() int { return min(b.Many/10, mostIntake) }

// many measures what grows where there is much: what a job takes with few and with many
// that wait in its queue, and with many that have ended; how long the status of a batch
// of many takes while it runs; and how fast many are accepted.
func (b *bench) many(ctx context.Context, w io.Writer) error {
	few, err := b.drains(func(i int) (time.Duration, error) { return b.drain(ctx, fmt.Sprint("few-", i), b.wait10k, nil) })
	if err != nil {
		return err
	}
	batch, err := b.accepted(ctx, w)
	if err != nil {
		return err
	}
	if err := b.fill(ctx, batch, b.intake(), b.Many); err != nil {
		return err
	}
	var status []time.Duration
	waiting, err := b.drains(func(int) (time.Duration, error) {
		return b.drain(ctx, batch, b.store.Resume, func() error {
			for range max(1, looks/b.Rounds) {
				began := time.Now()
				if _, err := b.fleet.Run(ctx, harness.Command{Name: "enqueue", Args: []string{"status", batch, "-o", "json"}}); err != nil && harness.ExitCode(err) == 0 {
					return err
				}
				status = append(status, time.Since(began))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	slices.Sort(status)
	fmt.Fprintf(w, "growth/1M_waiting_vs_10k = %.2f\n", float64(waiting)/float64(few))
	fmt.Fprintf(w, "status_ms/1M_running = %d\n", status[len(status)/2].Milliseconds())
	if err := b.finish(ctx, batch); err != nil {
		return err
	}
	finished, err := b.drains(func(i int) (time.Duration, error) { return b.drain(ctx, fmt.Sprint("then-", i), b.wait10k, nil) })
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "growth/1M_finished_vs_10k = %.2f\n", float64(finished)/float64(few))
	return nil
}

// drains returns the median of as many measurements as there are rounds.
func (b *bench) drains(one func(i int) (time.Duration, error)) (time.Duration, error) {
	all := make([]time.Duration, b.Rounds)
	for i := range all {
		var err error
		if all[i], err = one(i); err != nil {
			return 0, err
		}
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// accepted prints how fast many prompts are accepted, beside asynq's Enqueue, in turns; the median
// counts. It returns the last batch; those before are paused.
func (b *bench) accepted(ctx context.Context, w io.Writer) (batch string, err error) {
	shares := make([]float64, b.Rounds)
	for i := range shares {
		if batch != "" {
			if err := b.store.Pause(ctx, batch); err != nil {
				return "", err
			}
		}
		raw, err := b.enqueue(ctx, b.intake())
		if err != nil {
			return "", err
		}
		batch = fmt.Sprint("many-", i)
		took, _, err := b.produce(ctx, batch, b.intake())
		if err != nil {
			return "", err
		}
		shares[i] = raw.Seconds() / took.Seconds()
	}
	slices.Sort(shares)
	fmt.Fprintf(w, "accepted/asynq_enqueue = %.2f\n", shares[len(shares)/2])
	return batch, nil
}

// wait10k has a little more jobs wait in a batch than a measurement takes.
func (b *bench) wait10k(ctx context.Context, batch string) error {
	return b.fill(ctx, batch, 0, b.Jobs+10*warm)
}

// fill has the jobs of a batch from a place to another wait in Postgres.
func (b *bench) fill(ctx context.Context, batch string, from, to int) error {
	if err := b.store.OpenBatch(ctx, jobs.Batch{ID: batch, Account: jobs.DefaultAccount, Source: "bench"}); err != nil {
		return err
	}
	const page = 2000
	for ; from < to; from += page {
		rows, err := made(from, min(page, to-from), jobs.Bulk, func(int) time.Time { return time.Time{} })
		if err != nil {
			return err
		}
		if _, err := b.store.AcceptJobs(ctx, batch, rows, false); err != nil {
			return err
		}
	}
	if err := b.store.SealBatch(ctx, batch); err != nil {
		return err
	}
	return harness.Exec(ctx, b.url, `VACUUM ANALYZE`)
}

// drain has one worker take jobs of a batch that prepare has made wait, and returns what
// each took of the processor; meanwhile runs after that, while more are taken. What is left of
// the batch is paused.
func (b *bench) drain(ctx context.Context, batch string, prepare func(context.Context, string) error, meanwhile func() error) (perJob time.Duration, err error) {
	if err := prepare(ctx, batch); err != nil {
		return 0, err
	}
	before, err := b.done(ctx, batch, 0)
	if err != nil {
		return 0, err
	}
	started, leave, err := b.workers(ctx, 1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	first, err := b.done(ctx, batch, before+warm)
	if err != nil {
		return 0, err
	}
	used, err := b.processor(ctx, started)
	if err != nil {
		return 0, err
	}
	last, err := b.done(ctx, batch, first+b.Jobs)
	if err != nil {
		return 0, err
	}
	now, err := b.processor(ctx, started)
	if err != nil {
		return 0, err
	}
	perJob = now.minus(used).perJob(last - first)
	if meanwhile != nil {
		err = meanwhile()
	}
	return perJob, errors.Join(err, b.store.Pause(ctx, batch), b.emptied(ctx))
}

// emptied waits until nothing is left in Redis of what was dispatched.
func (b *bench) emptied(ctx context.Context) error {
	queue := "asynq:{" + jobs.QueueName("mock", jobs.Bulk) + "}:"
	return harness.Until(ctx, 200*time.Millisecond, "the queue to be empty", func() (bool, error) {
		pending, err := b.redis.LLen(ctx, queue+"pending").Result()
		if err != nil {
			return false, err
		}
		active, err := b.redis.LLen(ctx, queue+"active").Result()
		return pending+active == 0, err
	})
}

// done waits until so many jobs of a batch have succeeded, and returns how many have.
func (b *bench) done(ctx context.Context, batch string, want int) (n int, err error) {
	err = harness.Until(ctx, 200*time.Millisecond, "jobs to end", func() (bool, error) {
		p, err := b.store.Progress(ctx, batch)
		n = int(p.Counts[jobs.Succeeded])
		return n >= want, err
	})
	return n, err
}

// enqueue returns the time that asynq takes to enqueue n tasks.
func (b *bench) enqueue(ctx context.Context, n int) (time.Duration, error) {
	client := asynq.NewClientFromRedisClient(b.redis)
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for p := range pushers {
		g.Go(func() error {
			for i := p; i < n; i += pushers {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask("noop", nil), asynq.Queue("enqueued")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(began), err
}

// finish ends what waits of a batch behind the fleet's back, with a call and a result
// for each job, as if workers had done it.
func (b *bench) finish(ctx context.Context, batch string) error {
	return harness.Exec(ctx, b.url, `
		SET session_replication_role = replica;
		CREATE TEMP TABLE left_over AS
		SELECT s.job_id AS id FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.batch_id = '`+batch+`' AND s.finished_at IS NULL;
		INSERT INTO calls (id, worker_id, provider, model, simulated, state, cost_nano, deadline, finished_at, latency_ms, http_status)
		SELECT id, gen_random_uuid(), 'mock', 'mock', true, 'succeeded', 0, now(), now(), 1, 200 FROM left_over;
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token, share_nano) SELECT id, id, 1, 1, gen_random_uuid(), 0 FROM left_over;
		INSERT INTO results (job_id, call_id, provider, model, text) SELECT id, id, 'mock', 'mock', 'done' FROM left_over;
		UPDATE job_states s
		SET state = 'succeeded', attempt = 1, started_at = now(), finished_at = now(), lease_token = NULL, worker_id = NULL
		FROM left_over l
		WHERE s.job_id = l.id;
		DELETE FROM job_queue q USING left_over l WHERE q.job_id = l.id;
		DELETE FROM batch_counts WHERE batch_id = '`+batch+`';
		INSERT INTO batch_counts (batch_id, slot, succeeded, last_finished_at)
		SELECT '`+batch+`', 0, count(*), now() FROM jobs WHERE batch_id = '`+batch+`'`, `VACUUM ANALYZE`)
}

package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
)

// NewestBatches implements the OverviewStore of package monitor.
func (s *Store) NewestBatches(ctx context.Context, limit int) ([]batches.Summary, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+batchColumns+`
		FROM batches
		WHERE removed_at IS NULL
		ORDER BY created_at DESC, id
		LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("read newest batches: %w", err)
	}
	list, err := pgx.CollectRows(rows, batchRow)
	if err != nil {
		return nil, fmt.Errorf("read newest batches: %w", err)
	}
	return list, nil
}

// batchColumns are the columns that batchRow reads.
const batchColumns = `id, source, account, created_at, sealed_at, cancelled_at, paused_at, removed_at`

func batchRow(row pgx.CollectableRow) (batches.Summary, error) { return scanBatch(row) }

// scanBatch is batchRow, and reads into more what stands after these columns.
func scanBatch(row pgx.CollectableRow, more ...any) (batches.Summary, error) {
	var b batches.Summary
	var sealed, cancelled, paused, removed *time.Time
	err := row.Scan(append([]any{&b.ID, &b.Source, &b.Account, &b.CreatedAt, &sealed, &cancelled, &paused, &removed}, more...)...)
	b.RemovedAt = timeOrZero(removed)
	b.SealedAt, b.CancelledAt, b.PausedAt = timeOrZero(sealed), timeOrZero(cancelled), timeOrZero(paused)
	b.Tally = batches.Tally{Counts: zeroCounts()}
	return b, err
}

// Tallies implements the OverviewStore of package monitor.
func (s *Store) Tallies(ctx context.Context, ids []string) (map[string]batches.Tally, error) {
	tallies, err := tally(ctx, s.pool, ids)
	if err != nil {
		return nil, fmt.Errorf("count jobs of %d batches: %w", len(ids), err)
	}
	return tallies, nil
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// tally reads the counts of batches.
func tally(ctx context.Context, q querier, ids []string) (map[string]batches.Tally, error) {
	rows, err := q.Query(ctx, `
		SELECT batch_id, `+sumsOfCounts+`
		FROM batch_counts
		WHERE batch_id = ANY ($1)
		GROUP BY batch_id`, ids)
	if err != nil {
		return nil, err
	}
	tallies := make(map[string]batches.Tally, len(ids))
	for _, id := range ids {
		tallies[id] = batches.Tally{Counts: zeroCounts()}
	}
	var id string
	var c counts
	_, err = pgx.ForEachRow(rows, append([]any{&id}, c.columns()...), func() error {
		tallies[id] = batches.Tally{Counts: c.byState(), Money: c.money, Estimate: c.estimate, LastFinished: timeOrZero(c.last)}
		return nil
	})
	return tallies, err
}

// Fleet implements the OverviewStore of package monitor.
func (s *Store) Fleet(ctx context.Context) (f fleet.Snapshot, err error) {
	var day fleet.Totals
	// Beside each other: with a million jobs each takes a while.
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		if f.Workers, err = s.workers(ctx); err != nil {
			return fmt.Errorf("read workers: %w", err)
		}
		if f.Providers, err = s.providers(ctx, f.Workers); err != nil {
			return fmt.Errorf("read providers: %w", err)
		}
		return nil
	})
	all.Go(func() (err error) {
		if f.Totals, f.Queues, err = s.sums(ctx); err != nil {
			return fmt.Errorf("read totals: %w", err)
		}
		return nil
	})
	all.Go(func() (err error) {
		if f.Activity, err = s.activity(ctx); err != nil {
			return fmt.Errorf("read the last hour: %w", err)
		}
		return nil
	})
	all.Go(func() (err error) {
		if day, err = s.day(ctx); err != nil {
			return fmt.Errorf("read the figures of a day: %w", err)
		}
		return nil
	})
	err = all.Wait()
	f.Totals.Day, f.Totals.Today, f.Totals.Hour = day.Day, day.Today, day.Hour
	f.Totals.PerMinute = perMinute(f.Activity)
	return f, err
}

// maxWorkers bounds what is read of a fleet.
const maxWorkers = 500

// workers reads the workers that have not stopped, silent ones last.
func (s *Store) workers(ctx context.Context) ([]fleet.Worker, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id::text, host, pid, providers, slots, version, started_at, extract(epoch FROM now() - heartbeat_at)::float8,
			(SELECT count(*) FROM job_queue q WHERE q.worker_id = w.id)
		FROM workers w
		WHERE stopped_at IS NULL
		ORDER BY heartbeat_at < now() - make_interval(secs => $1), host, pid, started_at
		LIMIT $2`, fleet.Silence.Seconds(), maxWorkers)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.Worker, error) {
		var w fleet.Worker
		var silent float64
		err := row.Scan(&w.ID, &w.Host, &w.PID, &w.Providers, &w.Slots, &w.Version, &w.StartedAt, &silent, &w.Running)
		w.SilentFor = time.Duration(max(silent, 0) * float64(time.Second))
		w.Alive = w.SilentFor < fleet.Silence
		return w, err
	})
}

// providers reads the providers and what the ledger's roll-up says about the last
// minutes.
func (s *Store) providers(ctx context.Context, workers []fleet.Worker) ([]fleet.Provider, error) {
	known, now, err := s.standings(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]fleet.Provider, len(known))
	for i, k := range known {
		list[i] = fleet.Provider{
			Name: k.Name, Kind: k.Kind, Standing: k.Standing, Concurrency: k.concurrency, Curve: make([]int64, fleet.Minutes),
		}
	}
	place := make(map[string]*fleet.Provider, len(list))
	for i := range list {
		place[list[i].Name] = &list[i]
	}
	for _, w := range workers {
		for _, name := range w.Providers {
			if p, ok := place[name]; ok && w.Alive {
				p.Workers++
			}
		}
	}
	if err := s.minutes(ctx, place); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Judge(list[i].Traffic, now)
	}
	return list, nil
}

// minutes adds the figures of the last minutes. Those from before a person let
// them begin anew are in the curve only.
func (s *Store) minutes(ctx context.Context, place map[string]*fleet.Provider) error {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, (extract(epoch FROM date_trunc('minute', now()) - minute) / 60)::int AS ago,
			coalesce(minute >= metrics_since, true) AS counts,
			saturated(sum(requests)), saturated(sum(succeeded)), saturated(sum(rate_limited)), saturated(sum(refused)), saturated(sum(unknown)),
			saturated(sum(input_tokens)), saturated(sum(output_tokens)), saturated(sum(cost_nano)), saturated(sum(simulated_nano)), saturated(sum(unpriced)),
			max(latency_ms_max)
		FROM provider_metrics
		JOIN providers ON name = provider
		WHERE minute > date_trunc('minute', now()) - make_interval(mins => $1)
		GROUP BY provider, minute, metrics_since`, fleet.Minutes)
	if err != nil {
		return err
	}
	recent := int(fleet.Recent / time.Minute)
	highest := map[string]int64{}
	var name string
	var ago int
	var counts bool
	var t fleet.Traffic
	var high int64
	_, err = pgx.ForEachRow(rows, []any{
		&name, &ago, &counts, &t.Requests, &t.Succeeded, &t.RateLimited, &t.Refused, &t.Unknown,
		&t.InputTokens, &t.OutputTokens, (*int64)(&t.Cost), (*int64)(&t.Simulated), &t.Unpriced, &high,
	}, func() error {
		p, ok := place[name]
		if !ok || ago < 0 || ago >= fleet.Minutes {
			return nil
		}
		p.Curve[fleet.Minutes-1-ago] = t.Requests
		if ago < recent && counts {
			p.Traffic = sum(p.Traffic, t)
			highest[name] = max(highest[name], high)
		}
		return nil
	})
	if err != nil {
		return err
	}
	latencies, err := s.latencies(ctx, recent)
	for name, p := range place {
		p.P50, p.P95 = latencies[name].percentile(0.50, highest[name]), latencies[name].percentile(0.95, highest[name])
	}
	return err
}

// latencies counts the latencies of each provider in the last minutes.
func (s *Store) latencies(ctx context.Context, minutes int) (map[string]histogram, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, bucket, sum(calls)::bigint
		FROM provider_latencies
		JOIN providers ON name = provider
		WHERE minute > date_trunc('minute', now()) - make_interval(mins => $1)
		AND minute >= coalesce(metrics_since, '-infinity')
		GROUP BY provider, bucket`, minutes)
	if err != nil {
		return nil, err
	}
	out := map[string]histogram{}
	var name string
	var bucket int
	var calls int64
	_, err = pgx.ForEachRow(rows, []any{&name, &bucket, &calls}, func() error {
		if out[name] == nil {
			out[name] = histogram{}
		}
		out[name][bucket] = calls
		return nil
	})
	return out, err
}

func sum(a, b fleet.Traffic) fleet.Traffic {
	return fleet.Traffic{
		Requests: a.Requests + b.Requests, Succeeded: a.Succeeded + b.Succeeded,
		RateLimited: a.RateLimited + b.RateLimited, Refused: a.Refused + b.Refused, Unknown: a.Unknown + b.Unknown,
		InputTokens: jobs.Sum(a.InputTokens, b.InputTokens), OutputTokens: jobs.Sum(a.OutputTokens, b.OutputTokens),
		Money: a.Plus(b.Money),
	}
}

// perMinute returns the number of jobs that ended in a minute, on average over the recent time.
func perMinute(minutes []fleet.Minute) float64 {
	recent := int(fleet.Recent / time.Minute)
	var ended int64
	for _, m := range minutes[max(len(minutes)-recent, 0):] {
		ended = jobs.Sum(ended, jobs.Sum(m.Succeeded, m.Failed))
	}
	return float64(ended) / float64(recent)
}

// sums reads what waits and runs, and what waits in each queue. Unfinished jobs are counted up to a
// bound; those that run, all.
func (s *Store) sums(ctx context.Context) (t fleet.Totals, queues []fleet.Queue, err error) {
	queues = []fleet.Queue{}
	err = collect(ctx, s, &queues, `
		WITH lanes AS (
			SELECT provider, lane
			FROM (SELECT name AS provider FROM providers UNION SELECT provider FROM last_start_tags) known
			CROSS JOIN unnest('{high,default,bulk}'::text[]) lane
		), running AS (
			SELECT provider, lane, count(*) AS running
			FROM job_queue
			WHERE worker_id IS NOT NULL
			GROUP BY provider, lane
		)
		SELECT provider, lane, waiting, delivered, coalesce(running, 0) AS running
		FROM lanes l
		CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (
			SELECT FROM job_queue q WHERE q.provider = l.provider AND q.lane = l.lane AND dispatched_at IS NULL AND NOT paused AND worker_id IS NULL LIMIT $1) x) w
		CROSS JOIN LATERAL (SELECT count(*) AS delivered FROM (
			SELECT FROM job_queue q WHERE q.provider = l.provider AND q.lane = l.lane AND dispatched_at IS NOT NULL AND worker_id IS NULL LIMIT $1) x) d
		LEFT JOIN running r USING (provider, lane)
		WHERE waiting + delivered + coalesce(running, 0) > 0
		ORDER BY provider, array_position('{high,default,bulk}'::text[], lane)`, fleet.MaxQueued)
	if err != nil {
		return t, nil, err
	}
	err = s.pool.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM (SELECT FROM job_queue LIMIT $1) unfinished), (SELECT count(*) FROM job_queue WHERE worker_id IS NOT NULL)`,
		fleet.MaxUnfinished+1).Scan(&t.Unfinished, &t.Running)
	if err != nil {
		return t, nil, err
	}
	if t.Unfinished > fleet.MaxUnfinished {
		t.Unfinished, t.More = fleet.MaxUnfinished, true
	}
	return t, queues, nil
}

// activity reads what has ended in each minute of the last hour, without those of cancelled jobs.
func (s *Store) activity(ctx context.Context) ([]fleet.Minute, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT m.minute, coalesce(e.succeeded, 0), coalesce(e.failed, 0), coalesce(c.cost, 0), coalesce(c.simulated, 0), coalesce(c.unpriced, 0)
		FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()), interval '1 minute') m (minute)
		LEFT JOIN (
			SELECT minute, saturated(coalesce(sum(jobs) FILTER (WHERE state = 'succeeded'), 0)) AS succeeded,
				saturated(coalesce(sum(jobs) FILTER (WHERE state IN ('failed', 'expired', 'unknown')), 0)) AS failed
			FROM job_ends
			WHERE minute > now() - interval '1 hour'
			GROUP BY minute
		) e USING (minute)
		LEFT JOIN (
			SELECT minute, saturated(sum(cost_nano)) AS cost, saturated(sum(simulated_nano)) AS simulated, saturated(sum(unpriced)) AS unpriced
			FROM provider_metrics
			WHERE minute > now() - interval '1 hour'
			GROUP BY minute
		) c USING (minute)
		ORDER BY m.minute`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (m fleet.Minute, err error) {
		err = row.Scan(&m.At, &m.Succeeded, &m.Failed, (*int64)(&m.Cost), (*int64)(&m.Simulated), &m.Unpriced)
		return m, err
	})
}

// day reads what calls came to in the last 24 hours, today and in the last hour.
func (s *Store) day(ctx context.Context) (t fleet.Totals, err error) {
	d := &t.Day
	err = s.pool.QueryRow(ctx, `
		SELECT saturated(coalesce(sum(requests), 0)), saturated(coalesce(sum(succeeded), 0)),
			saturated(coalesce(sum(rate_limited), 0)), saturated(coalesce(sum(refused), 0)), saturated(coalesce(sum(unknown), 0)),
			saturated(coalesce(sum(input_tokens), 0)), saturated(coalesce(sum(output_tokens), 0)),
			saturated(coalesce(sum(cost_nano), 0)), saturated(coalesce(sum(simulated_nano), 0)), saturated(coalesce(sum(unpriced), 0)),
			`+moneyOf(`minute >= date_trunc('day', now(), 'UTC')`)+`, `+moneyOf(`minute > now() - interval '1 hour'`)+`
		FROM provider_metrics
		WHERE minute > now() - interval '24 hours'`).
		Scan(&d.Requests, &d.Succeeded, &d.RateLimited, &d.Refused, &d.Unknown, &d.InputTokens, &d.OutputTokens,
			(*int64)(&d.Cost), (*int64)(&d.Simulated), &d.Unpriced, (*int64)(&t.Today.Cost), (*int64)(&t.Today.Simulated), &t.Today.Unpriced,
			(*int64)(&t.Hour.Cost), (*int64)(&t.Hour.Simulated), &t.Hour.Unpriced)
	return t, err
}

// moneyOf sums up the money of rows of provider_metrics.
func moneyOf(where string) string {
	sums := make([]string, 0, 3)
	for _, column := range []string{"cost_nano", "simulated_nano", "unpriced"} {
		sums = append(sums, `saturated(coalesce(sum(`+column+`) FILTER (WHERE `+where+`), 0))`)
	}
	return strings.Join(sums, ", ")
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

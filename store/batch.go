package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

// BatchDetail implements the OverviewStore of package monitor.
func (s *Store) BatchDetail(ctx context.Context, id string, whole bool) (batches.Breakdown, error) {
	var d batches.Breakdown
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.pool, opts, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT `+batchColumns+`, tags, coalesce((SELECT pipeline FROM steps WHERE batch_id = id), '')
			FROM batches
			WHERE id = $1`, id)
		if err != nil {
			return err
		}
		d.Summary, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (batches.Summary, error) { return scanBatch(row, &d.Tags, &d.Pipeline) })
		if err != nil {
			return err
		}
		tallies, err := tally(ctx, tx, []string{id})
		if err != nil {
			return err
		}
		d.Tally = tallies[id]
		if !whole {
			return nil
		}
		if d.Models, err = modelsOf(ctx, tx, id); err != nil {
			return err
		}
		d.Problems, err = problemsOf(ctx, tx, id)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("%s: %w", id, jobs.ErrNotFound)
	}
	if err != nil {
		return d, fmt.Errorf("read batch %s: %w", id, err)
	}
	return d, nil
}

// modelsOf sums up a batch's calls, from the ledger.
func modelsOf(ctx context.Context, tx pgx.Tx, id string) ([]batches.ModelUse, error) {
	rows, err := tx.Query(ctx, `
		WITH call AS (
			SELECT cj.call_id, sum(cj.share_nano) AS share
			FROM jobs j
			JOIN call_jobs cj ON cj.job_id = j.id
			WHERE j.batch_id = $1
			GROUP BY cj.call_id
		)
		SELECT a.provider, a.model, count(*), count(*) FILTER (WHERE a.state = 'succeeded'),
			saturated(sum(a.input_tokens)), saturated(sum(a.output_tokens)),
			saturated(coalesce(sum(coalesce(call.share, a.cost_nano)) FILTER (WHERE NOT a.simulated), 0)),
			saturated(coalesce(sum(coalesce(call.share, a.cost_nano)) FILTER (WHERE a.simulated), 0)), count(*) FILTER (WHERE a.cost_nano IS NULL AND a.state <> 'running')
		FROM call
		JOIN calls a ON a.id = call.call_id
		GROUP BY a.provider, a.model
		ORDER BY count(*) DESC, a.provider, a.model
		LIMIT 100`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (batches.ModelUse, error) {
		var m batches.ModelUse
		err := row.Scan(&m.Provider, &m.Model, &m.Calls, &m.Succeeded, &m.InputTokens, &m.OutputTokens, (*int64)(&m.Cost), (*int64)(&m.Simulated), &m.Unpriced)
		return m, err
	})
}

// Problems returns the reasons for which jobs of a batch failed or wait for another
// attempt, the most frequent first, with the latest of each. Of a batch of more than 10,000 jobs it
// looks at so many failures at most, and tells of jobs that expired before they failed no sample.
func (s *Store) Problems(ctx context.Context, id string) ([]batches.Problem, error) {
	p, err := batchProgress(ctx, s.pool, id, false)
	var list []batches.Problem
	switch {
	case err != nil:
	case p.Total() <= detailJobs:
		list, err = problemsOf(ctx, s.pool, id)
	default:
		list, err = someProblems(ctx, s.pool, p)
	}
	if err != nil {
		return nil, fmt.Errorf("read why jobs of batch %s failed: %w", id, err)
	}
	return list, nil
}

// problemsOf groups what went wrong, with the latest of each kind. The message holds
// the provider's own sentence, from which prompt and key were cut out.
func problemsOf(ctx context.Context, tx querier, id string) ([]batches.Problem, error) {
	return groupProblems(ctx, tx, id, `SELECT * FROM job_states WHERE job_id IN (SELECT id FROM jobs WHERE batch_id = $1)`)
}

// someProblems is problemsOf for a large batch: it reads what has failed alone, by its index.
func someProblems(ctx context.Context, tx querier, p jobs.Progress) ([]batches.Problem, error) {
	list, err := groupProblems(ctx, tx, p.BatchID, fmt.Sprintf(`SELECT * FROM job_states WHERE batch_id = $1 AND error_class <> '' LIMIT %d`, detailJobs))
	expired := p.Counts[jobs.Expired]
	for _, one := range list {
		if one.State == jobs.Expired {
			expired -= one.Jobs
		}
	}
	if expired > 0 {
		list = append(list, batches.Problem{State: jobs.Expired, Jobs: expired})
	}
	return list, err
}

// groupProblems is problemsOf among the rows of job_states that states selects.
func groupProblems(ctx context.Context, tx querier, id, states string) ([]batches.Problem, error) {
	rows, err := tx.Query(ctx, `
		SELECT state, error_class, n, id::text, left(error_message, 500), finished_at
		FROM (
			SELECT job_id AS id, state, error_class, error_message, finished_at,
				count(*) OVER (PARTITION BY state, error_class) AS n,
				row_number() OVER (PARTITION BY state, error_class ORDER BY finished_at DESC NULLS LAST, job_id DESC) AS place
			FROM (`+states+`) s
			WHERE state IN ('failed', 'unknown', 'expired', 'retrying')
		) wrong
		WHERE place <= $2
		ORDER BY n DESC, state, error_class, place
		LIMIT $3`, id, problemSamples, problemSamples*maxProblems)
	if err != nil {
		return nil, err
	}
	var list []batches.Problem
	var p batches.Problem
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&p.State, &p.Class, &p.Jobs, &p.JobID, &p.Message, &at}, func() error {
		p.At = timeOrZero(at)
		if n := len(list); n == 0 || list[n-1].State != p.State || list[n-1].Class != p.Class {
			list = append(list, p)
		}
		last := &list[len(list)-1]
		last.Samples = append(last.Samples, batches.ProblemSample{JobID: p.JobID, Message: p.Message, At: p.At})
		return nil
	})
	return list[:min(len(list), maxProblems)], err
}

const (
	// maxProblems bounds the reasons that are told apart, and problemSamples the jobs that are
	// shown of each.
	maxProblems    = 50
	problemSamples = 3
)

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

const (
	// detailJobs is the largest batch that is looked at job by job, and
	// detailRows how many sorts of jobs are told apart.
	detailJobs = 10_000
	detailRows = 20
	// detailCalls bounds the calls of one job; retries by hand may add to what it
	// may make by itself.
	detailCalls = 200
)

// Detail tells what a job, a batch or all steps of a pipeline asked for, and who answered: the most
// frequent twenty of each, and a job's first two hundred calls. Of a batch of more than
// 10,000 jobs it tells nothing, as that takes too long to look at.
func (s *Store) Detail(ctx context.Context, p jobs.Progress) (d batches.Detail, err error) {
	if p.Total() > detailJobs {
		return d, nil
	}
	id, where, of := p.BatchID, "batch_id = ANY ("+allSteps+")", any(p.BatchID)
	if p.JobID != "" {
		id, where, of = p.JobID, "id = $1", p.JobID
	}
	err = errors.Join(
		collect(ctx, s, &d.Asked, `
			SELECT provider, model, coalesce(chain, '{}') AS chain, fallback, count(*) AS jobs
			FROM jobs
			WHERE `+where+`
			GROUP BY provider, model, jobs.chain, fallback
			ORDER BY jobs DESC, provider, model, jobs.chain, fallback
			LIMIT $2`, of, detailRows),
		collect(ctx, s, &d.Answered, `
			SELECT provider, model, count(*) AS jobs
			FROM results
			WHERE job_id IN (SELECT id FROM jobs WHERE `+where+`)
			GROUP BY provider, model
			ORDER BY jobs DESC, provider, model
			LIMIT $2`, of, detailRows))
	if err == nil {
		d.Finished, err = s.finished(ctx, where, of)
	}
	if err == nil && p.JobID != "" {
		err = collect(ctx, s, &d.Calls, `
			SELECT provider, model, scope, state AS outcome, error_kind AS error, error_message AS message,
				coalesce(http_status, 0) AS status, latency_ms, coalesce(cj.share_nano, c.cost_nano) AS cost
			FROM call_jobs cj
			JOIN calls c ON c.id = cj.call_id
			WHERE cj.job_id = $1
			ORDER BY c.started_at, c.id
			LIMIT $2`, p.JobID, detailCalls)
	}
	if err != nil {
		return batches.Detail{}, fmt.Errorf("read the detail of %s: %w", id, err)
	}
	return d, nil
}

// finished counts the reasons for which answers ended.
func (s *Store) finished(ctx context.Context, where string, of any) ([]batches.Finished, error) {
	var words []struct {
		Word string
		Jobs int64
	}
	err := collect(ctx, s, &words, `
		SELECT finish_reason AS word, count(*) AS jobs
		FROM results
		WHERE job_id IN (SELECT id FROM jobs WHERE `+where+`)
		GROUP BY finish_reason
		ORDER BY jobs DESC, word
		LIMIT $2`, of, 10*detailRows)
	var all []batches.Finished
	for _, w := range words {
		reason := providers.FinishOf(w.Word)
		i := slices.IndexFunc(all, func(f batches.Finished) bool { return f.Finish == reason })
		switch {
		case reason == "":
		case i < 0:
			all = append(all, batches.Finished{Finish: reason, Jobs: w.Jobs})
		default:
			all[i].Jobs += w.Jobs
		}
	}
	return all, err
}

// collect reads rows into a slice of structs, by the names of their columns.
func collect[T any](ctx context.Context, s *Store, into *[]T, sql string, args ...any) error {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
	return err
}

// BatchJobs lists the first jobs of a batch in the order of its input: all, or those
// that have finished without a result and that nobody cancelled. It fails with
// jobs.ErrNotFound and jobs.ErrBatchRemoved.
func (s *Store) BatchJobs(ctx context.Context, id string, failed bool, limit int) (list []batches.Job, err error) {
	if err := s.hasBatch(ctx, id); err != nil {
		return nil, err
	}
	err = collect(ctx, s, &list, `
		SELECT j.id::text, coalesce(j.custom_id, '') AS custom_id, j.seq AS row, s.state, coalesce(r.provider, j.provider) AS provider,
			coalesce(r.model, j.model) AS model, (SELECT count(*) FROM call_jobs cj WHERE cj.job_id = j.id) AS calls,
			s.cost_nano AS cost, s.simulated_nano AS simulated, s.charge_nano AS charge, s.unpriced_calls AS unpriced, s.error_class AS error, left(s.error_message, 500) AS message
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		LEFT JOIN results r ON r.job_id = j.id
		WHERE j.batch_id = $1 AND (NOT $2 OR s.state IN ('failed', 'expired', 'unknown'))
		ORDER BY j.seq, j.id
		LIMIT $3`, id, failed, limit)
	if err != nil {
		return nil, fmt.Errorf("list the jobs of batch %s: %w", id, err)
	}
	return list, nil
}

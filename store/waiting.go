package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/fleet"
)

// Waiting implements fleet.WaitStore.
func (s *Store) Waiting(ctx context.Context, batch, job string) ([]fleet.WaitingJobs, error) {
	var id *uuid.UUID
	if job != "" {
		parsed, err := uuid.Parse(job)
		if err != nil {
			return nil, nil //nolint:nilerr // no job has such an id, and none waits
		}
		id = &parsed
	}
	which := `($1 = '' OR batch_id = $1) AND ($2::uuid IS NULL OR job_id = $2)`
	if batch != "" {
		which = `batch_id = $1 AND ($2::uuid IS NULL OR job_id = $2)`
	}
	// By the index, as far as it is needed: the bitmap of a large batch has all of it.
	var list []fleet.WaitingJobs
	var stopped []*int64
	var p pgx.Batch
	p.Queue(`SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`)
	p.Queue(`
		SELECT q.provider, q.model, s.state, s.paused_at IS NOT NULL OR b.paused_at IS NOT NULL AS paused, s.wait_reason, x.id,
			CASE WHEN s.state = 'retrying' THEN s.error_class ELSE '' END AS error_class,
			count(*), min(q.run_at) FILTER (WHERE q.run_at > now()), min(s.not_before) FILTER (WHERE s.not_before > now())
		FROM (
			SELECT job_id, provider, model, account, batch_id, run_at, dispatched_at
			FROM job_queue
			WHERE worker_id IS NULL AND `+which+`
			LIMIT CASE WHEN (SELECT sum(scheduled + queued + retrying) FROM batch_counts WHERE batch_id = $1) > $4 THEN $3::int / 16 ELSE $3::int END
		) q
		CROSS JOIN LATERAL (SELECT state, paused_at, wait_reason, error_class, not_before FROM job_states WHERE job_id = q.job_id OFFSET 0) s
		LEFT JOIN batches b ON b.id = q.batch_id
		`+stoppedBy+`
		GROUP BY q.provider, q.model, s.state, paused, s.wait_reason, x.id, 7, q.run_at > now()
		ORDER BY count(*) DESC, q.provider, q.model
		LIMIT 100`, batch, id, fleet.MaxWaiting, detailJobs).Query(func(rows pgx.Rows) (err error) {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.WaitingJobs, error) {
			var w fleet.WaitingJobs
			var runAt, notBefore *time.Time
			var by *int64
			err := row.Scan(&w.Provider, &w.Model, &w.State, &w.Paused, &w.Reason, &by, &w.ErrorClass, &w.Jobs, &runAt, &notBefore)
			w.RunAt, w.NotBefore = timeOrZero(runAt), timeOrZero(notBefore)
			stopped = append(stopped, by)
			return w, err
		})
		return err
	})
	if err := s.pool.SendBatch(ctx, &p).Close(); err != nil {
		return nil, fmt.Errorf("read what jobs wait for: %w", err)
	}
	return list, s.explainBudgets(ctx, list, stopped)
}

// stoppedBy joins the job q of the queue, in the state s, with the budget x for which it
// stays in Postgres, if there is one: see topUpSQL. It looks at none where none stops anything.
const stoppedBy = `LEFT JOIN LATERAL (
			SELECT id
			FROM budgets x
			WHERE (SELECT EXISTS (SELECT FROM budgets WHERE blocks AND stopped_until > now()))
			AND s.state = 'queued' AND s.wait_reason = '' AND q.dispatched_at IS NULL
			AND x.blocks AND x.stopped_until > now()
			AND x.model = '' AND x.tag = '' AND x.provider IN ('', q.provider) AND x.account IN ('', q.account) AND x.batch_id IN ('', q.batch_id)
			AND x.simulated = coalesce((SELECT simulated FROM providers WHERE name = q.provider), false)
			ORDER BY x.period = 'total' DESC, id
			LIMIT 1
		) x ON true`

// explainBudgets says of jobs that wait for a budget for which one, and what raises it: the one that a worker
// named, or the one that keeps them from being dispatched, whose id stopped has.
func (s *Store) explainBudgets(ctx context.Context, list []fleet.WaitingJobs, stopped []*int64) error {
	waits := func(w fleet.WaitingJobs) bool { return strings.HasPrefix(w.Reason, waitsForBudget) }
	if !slices.ContainsFunc(list, waits) && !slices.ContainsFunc(stopped, func(id *int64) bool { return id != nil }) {
		return nil
	}
	budgets, err := s.Budgets(ctx)
	if err != nil {
		return err
	}
	byID, byName := map[int64]billing.Budget{}, map[string]billing.Budget{}
	for _, b := range budgets {
		byID[b.ID], byName[b.String()] = b, b
	}
	for i := range list {
		w := &list[i]
		if id := stopped[i]; id != nil {
			if b, ok := byID[*id]; ok {
				w.Reason = waitsForBudget + b.String()
			}
		}
		if b, ok := byName[strings.TrimPrefix(w.Reason, waitsForBudget)]; ok && waits(*w) {
			w.Raise, w.Anew, w.Total, w.Short = b.Command(), b.Ends, b.Ends.IsZero() && b.Reserved == 0, b.Short()
		}
	}
	return nil
}

// waitsForBudget begins the wait reason of jobs that wait for money.
const waitsForBudget = "budget: "

// WaitingOf returns what those of the jobs that wait, wait for, by their ids.
func (s *Store) WaitingOf(ctx context.Context, ids []string) (map[string]fleet.WaitingJobs, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT q.job_id::text, q.provider, q.model, s.state, s.paused_at IS NOT NULL OR b.paused_at IS NOT NULL, s.wait_reason, x.id,
			CASE WHEN s.state = 'retrying' THEN s.error_class ELSE '' END, q.run_at, s.not_before
		FROM job_queue q
		JOIN job_states s ON s.job_id = q.job_id
		LEFT JOIN batches b ON b.id = q.batch_id
		`+stoppedBy+`
		WHERE q.job_id = ANY ($1::uuid[]) AND q.worker_id IS NULL`, ids)
	if err != nil {
		return nil, fmt.Errorf("read what %d jobs wait for: %w", len(ids), err)
	}
	var found []string
	var list []fleet.WaitingJobs
	var stopped []*int64
	var id string
	w := fleet.WaitingJobs{Jobs: 1}
	var runAt, notBefore *time.Time
	var by *int64
	_, err = pgx.ForEachRow(rows, []any{&id, &w.Provider, &w.Model, &w.State, &w.Paused, &w.Reason, &by, &w.ErrorClass, &runAt, &notBefore}, func() error {
		w.RunAt, w.NotBefore = timeOrZero(runAt), timeOrZero(notBefore)
		found, list, stopped = append(found, id), append(list, w), append(stopped, by)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what %d jobs wait for: %w", len(ids), err)
	}
	if err := s.explainBudgets(ctx, list, stopped); err != nil {
		return nil, err
	}
	out := map[string]fleet.WaitingJobs{}
	for i, id := range found {
		out[id] = list[i]
	}
	return out, nil
}

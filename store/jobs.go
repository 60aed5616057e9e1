package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// jobsWindow bounds the jobs that are looked at for one part of a list: a filter that finds
// few does not read them all at once.
const jobsWindow = 5_000

// smallBatch is the number of jobs below which all of a batch are looked at for one part of a list.
const smallBatch = 20_000

const jobLineColumns = `j.id::text, coalesce(j.batch_id, ''), coalesce(j.custom_id, ''), j.account, j.task, coalesce(r.provider, j.provider), coalesce(r.model, j.model),
	j.provider, j.lane, s.state, s.paused_at IS NOT NULL, s.attempt, (SELECT count(*) FROM call_jobs cj WHERE cj.job_id = j.id),
	CASE WHEN s.finished_at IS NULL THEN s.wait_reason ELSE '' END, s.error_class, left(s.error_message, 500),
	s.cost_nano, s.simulated_nano, s.unpriced_calls, j.created_at, j.run_at, s.deadline, s.started_at, s.finished_at`

func jobLine(row pgx.CollectableRow) (l jobs.Line, err error) {
	var started, finished *time.Time
	err = row.Scan(&l.ID, &l.BatchID, &l.CustomID, &l.Account, &l.Task, &l.Provider, &l.Model, &l.RequestedProvider, &l.Lane, &l.State, &l.Paused, &l.Attempt, &l.Calls,
		&l.Waits, &l.Error, &l.Message, (*int64)(&l.Cost), (*int64)(&l.Simulated), &l.Unpriced, &l.CreatedAt, &l.RunAt, &l.Deadline, &started, &finished)
	l.StartedAt, l.FinishedAt = timeOrZero(started), timeOrZero(finished)
	return l, err
}

// Jobs lists the jobs that a filter selects, the newest first. It looks at few jobs at
// first, and at more and more only where those did not fill the list.
func (s *Store) Jobs(ctx context.Context, f jobs.Filter) (out jobs.Lines, err error) {
	before := uuid.Max
	if f.Before != uuid.Nil {
		before = f.Before
	}
	for looked, window := 0, min(4*f.Limit, jobsWindow); ; window = min(4*window, jobsWindow-looked) {
		part, last, err := s.jobsBefore(ctx, f, before, window)
		if err != nil {
			return jobs.Lines{}, fmt.Errorf("list jobs: %w", err)
		}
		out.Jobs = append(out.Jobs, part...)
		if len(out.Jobs) > f.Limit {
			out.Jobs = out.Jobs[:f.Limit]
			out.Next = out.Jobs[f.Limit-1].ID
			return out, nil
		}
		if last == uuid.Nil {
			return out, nil // there are no more
		}
		if looked += window; looked >= jobsWindow {
			out.Next = last.String()
			return out, nil
		}
		before = last
	}
}

// jobsBefore returns those that a filter selects of the window of jobs before one, and the
// last of the window; none where there are no more after it.
func (s *Store) jobsBefore(ctx context.Context, f jobs.Filter, before uuid.UUID, window int) (list []jobs.Line, last uuid.UUID, err error) {
	args := []any{before, window}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	from := `
		FROM jobs
		WHERE id < $1`
	switch f.State { //nolint:exhaustive // of those that have ended the table is all jobs
	case jobs.Running:
		from = `
		FROM (SELECT job_id AS id, batch_id FROM job_queue WHERE worker_id IS NOT NULL OFFSET 0) held
		WHERE id < $1`
	case jobs.Queued, jobs.Retrying, jobs.Scheduled:
		from = `
		FROM (SELECT job_id AS id, batch_id FROM job_queue WHERE worker_id IS NULL) waiting
		WHERE id < $1`
	}
	if f.BatchID != "" {
		from += " AND batch_id = " + arg(f.BatchID)
		size, first, newest, err := s.extent(ctx, f.BatchID)
		switch {
		case err != nil:
			return nil, last, err
		case size < smallBatch:
			// By the batch: by age, all jobs that are younger would be passed on the way.
			from = "FROM (SELECT id " + from + " OFFSET 0) batch WHERE true"
		case first != nil && newest != nil:
			from += " AND id BETWEEN " + arg(*first) + " AND " + arg(*newest)
		}
	}
	if f.IDs != nil {
		from += " AND id = ANY (" + arg(f.IDs) + ")"
	}
	ends, err := s.pool.Query(ctx, `SELECT id `+from+` ORDER BY id DESC OFFSET $2 - 1 LIMIT 2`, args...)
	if err != nil {
		return nil, last, err
	}
	end, err := pgx.CollectRows(ends, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, last, err
	}
	if len(end) == 2 { // the last of the window, and one beyond it
		last = end[0]
	}
	where := conditions(f, arg)
	rows, err := s.pool.Query(ctx, `
		WITH w AS MATERIALIZED (
			SELECT id `+from+`
			ORDER BY id DESC
			LIMIT $2
		)
		SELECT `+jobLineColumns+`
		FROM w
		CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = w.id OFFSET 0) j
		CROSS JOIN LATERAL (SELECT * FROM job_states WHERE job_id = w.id OFFSET 0) s
		LEFT JOIN LATERAL (SELECT * FROM results WHERE job_id = w.id OFFSET 0) r ON true -- one by one: no condition is worth reading all
		WHERE true`+where+`
		ORDER BY w.id DESC
		LIMIT `+arg(f.Limit+1), args...)
	if err == nil {
		list, err = pgx.CollectRows(rows, jobLine)
	}
	return list, last, err
}

// extent returns how many jobs a batch has, and the lowest and the highest of their ids.
func (s *Store) extent(ctx context.Context, batch string) (size int64, first, last *uuid.UUID, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT coalesce(sum(scheduled + queued + running + retrying + succeeded + failed + cancelled + expired + unknown), 0)::bigint,
			min(first_job::text)::uuid, max(last_job::text)::uuid
		FROM batch_counts
		WHERE batch_id = $1`, batch).Scan(&size, &first, &last)
	return size, first, last, err
}

// conditions are those of a filter on each job of a window.
func conditions(f jobs.Filter, arg func(any) string) string {
	where := &strings.Builder{}
	for _, c := range []struct{ column, value string }{
		{"j.account", f.Account},
		{"s.state", string(f.State)},
		{"j.task", string(f.Task)},
		{"coalesce(r.provider, j.provider)", f.Provider},
		{"coalesce(r.model, j.model)", f.Model},
	} {
		if c.value != "" {
			where.WriteString(" AND " + c.column + " = " + arg(c.value))
		}
	}
	if f.Dead {
		where.WriteString(" AND s.state IN ('failed', 'expired', 'unknown')")
	}
	if f.Error != "" {
		where.WriteString(" AND position(lower(" + arg(f.Error) + ") IN lower(s.error_class || ' ' || s.error_message)) > 0")
	}
	if f.Tag != "" {
		where.WriteString(" AND j.batch_id IN (SELECT b.id FROM batches b JOIN jsonb_each_text(b.tags) t ON true WHERE " + hasTag("t.key", "t.value", arg(f.Tag)) + ")")
	}
	if !f.From.IsZero() {
		where.WriteString(" AND j.created_at >= " + arg(f.From))
	}
	if !f.Until.IsZero() {
		where.WriteString(" AND j.created_at < " + arg(f.Until))
	}
	return where.String()
}

// JobLine reads one job. It fails with jobs.ErrNotFound.
func (s *Store) JobLine(ctx context.Context, id uuid.UUID) (l jobs.Line, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+jobLineColumns+`
		FROM jobs j
		JOIN job_states s ON s.job_id = j.id
		LEFT JOIN results r ON r.job_id = j.id
		WHERE j.id = $1`, id)
	if err == nil {
		l, err = pgx.CollectExactlyOneRow(rows, jobLine)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = jobs.ErrNotFound
	}
	if err != nil {
		return l, fmt.Errorf("read job %s: %w", id, err)
	}
	return l, nil
}

// JobCalls lists the calls of a job in the order in which they were sent, the first
// two hundred.
func (s *Store) JobCalls(ctx context.Context, id uuid.UUID) (list []jobs.CallLine, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT c.id::text, c.provider, c.model, cj.attempt, cj.gen, c.state, c.started_at, c.finished_at, coalesce(c.http_status, 0), c.request_id, c.error_kind, left(c.error_message, 1000),
			c.jobs, c.latency_ms, c.input_tokens, c.output_tokens, c.simulated, c.reserved_nano, coalesce(cj.share_nano, c.cost_nano)
		FROM call_jobs cj
		JOIN calls c ON c.id = cj.call_id
		WHERE cj.job_id = $1
		ORDER BY c.started_at, c.id
		LIMIT $2`, id, detailCalls)
	if err == nil {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c jobs.CallLine, err error) {
			var ended *time.Time
			err = row.Scan(&c.ID, &c.Provider, &c.Model, &c.Attempt, &c.Gen, &c.Outcome, &c.StartedAt, &ended, &c.Status, &c.RequestID, &c.Error, &c.Message,
				&c.Jobs, &c.LatencyMS, &c.InputTokens, &c.OutputTokens, &c.Simulated, &c.Reserved, &c.Cost)
			c.EndedAt = timeOrZero(ended)
			return c, err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the calls of job %s: %w", id, err)
	}
	return list, nil
}

// JobTrail returns what has happened to a job.
func (s *Store) JobTrail(ctx context.Context, id uuid.UUID) (t jobs.Trail, err error) {
	if t.Calls, err = s.JobCalls(ctx, id); err != nil {
		return t, err
	}
	var dispatched, cancelled, paused, notBefore *time.Time
	var gen int
	var child bool
	err = s.pool.QueryRow(ctx, `
		SELECT s.gen, coalesce(q.delivery_id, ''), q.dispatched_at, s.cancel_requested_at, s.paused_at, CASE WHEN s.finished_at IS NULL THEN s.not_before END,
			coalesce((SELECT parent_id::text FROM step_links WHERE child_id = s.job_id), ''),
			l.parent_id IS NOT NULL, coalesce(l.child_id::text, '')
		FROM job_states s
		LEFT JOIN job_queue q ON q.job_id = s.job_id
		LEFT JOIN step_links l ON l.parent_id = s.job_id
		WHERE s.job_id = $1`, id).Scan(&gen, &t.Delivery, &dispatched, &cancelled, &paused, &notBefore, &t.Parent, &child, &t.Child)
	if err != nil {
		return t, fmt.Errorf("read what happened to job %s: %w", id, err)
	}
	t.DispatchedAt, t.CancelRequestedAt, t.PausedAt, t.NotBefore = timeOrZero(dispatched), timeOrZero(cancelled), timeOrZero(paused), timeOrZero(notBefore)
	if t.Delivery == "" && dispatched != nil {
		t.Delivery = jobs.TaskID(id, gen)
	}
	t.LeftOut = child && t.Child == ""
	return t, nil
}

// JobRequest returns what a job asks for, as it is kept. It fails with jobs.ErrNotFound.
func (s *Store) JobRequest(ctx context.Context, id uuid.UUID) (request []byte, err error) {
	err = s.pool.QueryRow(ctx, `SELECT request FROM jobs WHERE id = $1`, id).Scan(&request)
	if errors.Is(err, pgx.ErrNoRows) {
		err = jobs.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read what job %s asks for: %w", id, err)
	}
	return request, nil
}

// RetryGroup brings those jobs of a batch back that ended in one state for one reason: see Retry.
func (s *Store) RetryGroup(ctx context.Context, id string, state jobs.State, class string) error {
	_, err := s.Retry(ctx, id, []jobs.State{state}, class)
	return err
}

// SettleUnknown settles the calls of a job or a batch whose outcome is not known, as a person
// found out: see Resolve.
func (s *Store) SettleUnknown(ctx context.Context, id string, billed, retry bool) error {
	_, err := s.Resolve(ctx, id, Resolution{Billed: billed, Retry: retry})
	return err
}

// RetryFailed brings the jobs of a batch, or a job, back to the queue that have failed or
// expired: see Retry.
func (s *Store) RetryFailed(ctx context.Context, id string) error {
	_, err := s.Retry(ctx, id, []jobs.State{jobs.Failed, jobs.Expired}, "")
	return err
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/webhooks"
)

var _ webhooks.Store = (*Store)(nil)

// addWebhook adds an event in the transaction of what it tells.
func addWebhook(ctx context.Context, tx pgx.Tx, url, kind, subject string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `SELECT add_webhook($1, $2, $3, $4::jsonb)`, url, kind, subject, encoded)
	return err
}

// webhookColumns are those of webhooks.Event, of webhook_events e.
const webhookColumns = `e.id, e.url, e.type, e.subject, e.payload, e.created_at, e.tries, e.try_at,
	coalesce(e.ended_at, '0001-01-01 00:00:00Z') AS ended_at, e.delivered, coalesce(e.status, 0) AS status, e.error`

// DueWebhooks implements webhooks.Store. It goes from URL to URL, not from event to
// event: one with a million of them makes no other wait.
func (s *Store) DueWebhooks(ctx context.Context, without []string, perURL, limit int, lease time.Duration) ([]webhooks.Event, error) {
	rows, err := s.pool.Query(ctx, `
		WITH RECURSIVE url AS (
			(SELECT url FROM webhook_events WHERE ended_at IS NULL ORDER BY url LIMIT 1)
			UNION ALL
			SELECT (SELECT n.url FROM webhook_events n WHERE n.ended_at IS NULL AND n.url > u.url ORDER BY n.url LIMIT 1)
			FROM url u
			WHERE u.url IS NOT NULL
		), open AS (
			SELECT u.url
			FROM url u
			WHERE u.url IS NOT NULL AND u.url <> ALL ($1)
			AND EXISTS (SELECT FROM webhook_events d WHERE d.ended_at IS NULL AND d.url = u.url AND d.try_at <= now())
			LIMIT $3
		), due AS (
			SELECT e.id
			FROM open
			CROSS JOIN LATERAL (
				SELECT id
				FROM webhook_events
				WHERE ended_at IS NULL AND url = open.url AND try_at <= now()
				ORDER BY try_at
				LIMIT $2
				FOR UPDATE SKIP LOCKED
			) e
		)
		UPDATE webhook_events e
		SET try_at = now() + make_interval(secs => $4)
		FROM due
		WHERE e.id = due.id
		RETURNING `+webhookColumns, without, perURL, limit, lease.Seconds())
	if err != nil {
		return nil, fmt.Errorf("look for webhooks that are due: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[webhooks.Event])
	if err != nil {
		return nil, fmt.Errorf("look for webhooks that are due: %w", err)
	}
	return list, nil
}

// EndWebhookTry implements webhooks.Store.
func (s *Store) EndWebhookTry(ctx context.Context, id uuid.UUID, t webhooks.Try) error {
	over := t.Delivered || t.Again == 0
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE webhook_events
			SET tries = tries + 1,
				try_at = now() + make_interval(secs => $2),
				ended_at = CASE WHEN $3 THEN now() END,
				delivered = $4,
				status = nullif($5, 0),
				error = $6
			WHERE id = $1 AND ended_at IS NULL`, id, t.Again.Seconds(), over, t.Delivered, t.Status, sanitise(t.Error))
		return err
	})
	if err != nil {
		return fmt.Errorf("note what came of webhook %s: %w", id, err)
	}
	return nil
}

// HoldWebhooks implements webhooks.Store.
func (s *Store) HoldWebhooks(ctx context.Context, why string) (waiting int64, err error) {
	_, err = s.pool.Exec(ctx, `
		UPDATE webhook_events
		SET error = $1
		WHERE id IN (
			SELECT id FROM webhook_events WHERE ended_at IS NULL AND try_at <= now() AND error <> $1 LIMIT $2
		)`, why, manyJobs)
	if err == nil {
		err = s.pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM webhook_events WHERE ended_at IS NULL LIMIT $1) e`, manyJobs).Scan(&waiting)
	}
	if err != nil {
		return 0, fmt.Errorf("note why webhooks wait: %w", err)
	}
	return waiting, nil
}

// ForgetWebhooks removes events that ended longer than age ago, and gives those up that
// have waited for so long.
func (s *Store) ForgetWebhooks(ctx context.Context, age time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		WITH gone AS (
			DELETE FROM webhook_events
			WHERE id IN (SELECT id FROM webhook_events WHERE ended_at < now() - make_interval(secs => $1) LIMIT $2)
		)
		UPDATE webhook_events
		SET ended_at = now()
		WHERE id IN (SELECT id FROM webhook_events WHERE ended_at IS NULL AND created_at < now() - make_interval(secs => $1) LIMIT $2)`,
		age.Seconds(), manyJobs)
	if err != nil {
		return fmt.Errorf("forget webhooks: %w", err)
	}
	return nil
}

// WebhookFilter selects events; what is zero selects all.
type WebhookFilter struct {
	// ID is a batch, with its jobs, or another subject.
	ID string
	// Failed and Waiting leave out those that are neither.
	Failed, Waiting bool
	// Limit bounds the list, the newest first.
	Limit int
}

// Webhooks returns events, the newest first.
func (s *Store) Webhooks(ctx context.Context, f WebhookFilter) ([]webhooks.Event, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+webhookColumns+`
		FROM webhook_events e
		WHERE ($1 = '' OR e.subject = $1 OR e.batch_id = $1)
		AND (NOT $2 AND NOT $3 OR $2 AND e.ended_at IS NOT NULL AND NOT e.delivered OR $3 AND e.ended_at IS NULL)
		ORDER BY e.created_at DESC, e.id
		LIMIT $4`, f.ID, f.Failed, f.Waiting, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("read webhooks: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[webhooks.Event])
	if err != nil {
		return nil, fmt.Errorf("read webhooks: %w", err)
	}
	return list, nil
}

// ResendWebhook makes an event due again that was given up or delivered, with all its
// tries. It fails with jobs.ErrNotFound.
func (s *Store) ResendWebhook(ctx context.Context, id uuid.UUID) error {
	tag, err := s.pool.Exec(ctx, `
		UPDATE webhook_events
		SET tries = 0, try_at = now(), ended_at = NULL, delivered = false, created_at = now()
		WHERE id = $1`, id)
	switch {
	case err != nil:
		return fmt.Errorf("send webhook %s again: %w", id, err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("webhook %s: %w", id, jobs.ErrNotFound)
	}
	return nil
}

// WebhookSummary holds what is told of a batch, and what came of it.
type WebhookSummary struct {
	URL                        string
	PerJob                     bool
	Delivered, Waiting, Failed int64
	// Error says why the last one that was not delivered was not.
	Error string
}

// WebhooksOf returns what is told of a batch, or of all steps of a pipeline; nil: nothing is.
func (s *Store) WebhooksOf(ctx context.Context, batch string) (*WebhookSummary, error) {
	var w WebhookSummary
	err := s.pool.QueryRow(ctx, `
		SELECT b.webhook, b.per_job, w.*
		FROM batch_ends b
		CROSS JOIN LATERAL (
			SELECT count(*) FILTER (WHERE delivered), count(*) FILTER (WHERE ended_at IS NULL), count(*) FILTER (WHERE ended_at IS NOT NULL AND NOT delivered),
				coalesce((array_agg(error ORDER BY created_at DESC) FILTER (WHERE NOT delivered AND error <> ''))[1], '')
			FROM webhook_events e
			WHERE e.batch_id = ANY (`+allSteps+`) OR e.subject = ANY (`+allSteps+`)
		) w
		WHERE b.batch_id = $1 AND b.webhook <> ''`, batch).Scan(&w.URL, &w.PerJob, &w.Delivered, &w.Waiting, &w.Failed, &w.Error)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nothing is told of it
	}
	if err != nil {
		return nil, fmt.Errorf("read the webhooks of batch %s: %w", batch, err)
	}
	return &w, nil
}

// batchEnd holds what an application is told of a batch that has ended.
type batchEnd struct {
	BatchID    string               `json:"batch_id"`
	State      string               `json:"state"`
	Jobs       int64                `json:"jobs"`
	Counts     map[jobs.State]int64 `json:"counts"`
	Cost       billing.NanoUSD      `json:"cost_usd"`
	Simulated  billing.NanoUSD      `json:"simulated_cost_usd"`
	Unpriced   int64                `json:"unpriced_calls"`
	CreatedAt  time.Time            `json:"created_at"`
	FinishedAt time.Time            `json:"finished_at"`
}

// EndBatches notes the end of batches that have ended where that has a consequence, in the
// commit of that, and returns how many.
func (s *Store) EndBatches(ctx context.Context) (int, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT e.batch_id
		FROM batch_ends e
		JOIN batches b ON b.id = e.batch_id
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(scheduled + queued + running + retrying), 0) AS unfinished FROM batch_counts WHERE batch_id = e.batch_id
		) c
		WHERE e.ended_at IS NULL AND c.unfinished = 0 AND (b.sealed_at IS NOT NULL OR b.cancelled_at IS NOT NULL)
		ORDER BY e.batch_id
		LIMIT $1`, manyJobs)
	if err != nil {
		return 0, fmt.Errorf("look for batches that have ended: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("look for batches that have ended: %w", err)
	}
	n := 0
	for _, id := range list {
		ended, err := s.endBatch(ctx, id)
		if err != nil {
			return n, fmt.Errorf("note the end of batch %s: %w", id, err)
		}
		if ended {
			n++
		}
	}
	return n, nil
}

// endBatch looks again under the lock that whoever lets the batch go on takes, too.
func (s *Store) endBatch(ctx context.Context, id string) (ended bool, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		ended = false
		var url string
		err := tx.QueryRow(ctx, `SELECT webhook FROM batch_ends WHERE batch_id = $1 AND ended_at IS NULL FOR UPDATE`, id).Scan(&url)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // somebody else was first
		}
		if err != nil {
			return err
		}
		p, err := batchProgress(ctx, tx, id, false)
		if err != nil || !p.Finished() {
			return err
		}
		ended = true
		if url != "" {
			err := addWebhook(ctx, tx, url, "batch."+p.State, id, batchEnd{
				id, p.State, p.Total(), p.Counts, p.Cost, p.Simulated, p.Unpriced, p.CreatedAt.UTC(), p.FinishedAt.UTC(),
			})
			if err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, sealNext, id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE batch_ends SET ended_at = now() WHERE batch_id = $1`, id)
		return err
	})
	return ended, err
}

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/frontdoor"
	"oneflow/jobs"
)

var (
	_ frontdoor.FileStore  = (*Store)(nil)
	_ frontdoor.BatchStore = (*Store)(nil)
	_ frontdoor.CallStore  = (*Store)(nil)
	_ frontdoor.JobStore   = (*Store)(nil)
)

const fileColumns = `id, account, filename, purpose, bytes, url, created_at, expires_at`

// AddFile implements frontdoor.FileStore.
func (s *Store) AddFile(ctx context.Context, f frontdoor.File) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO api_files (`+fileColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		f.ID, f.Account, f.Filename, f.Purpose, f.Bytes, f.URL, f.CreatedAt, f.ExpiresAt)
	if err != nil {
		return fmt.Errorf("store file %s: %w", f.ID, err)
	}
	return nil
}

// File implements frontdoor.FileStore.
func (s *Store) File(ctx context.Context, id string) (f frontdoor.File, err error) {
	list, err := s.files(ctx, `WHERE id = $1 AND expires_at > now()`, id)
	if err == nil && len(list) == 0 {
		err = frontdoor.ErrNoFile
	}
	if err != nil {
		return f, fmt.Errorf("read file %.80q: %w", id, err)
	}
	return list[0], nil
}

// Files implements frontdoor.FileStore.
func (s *Store) Files(ctx context.Context, p frontdoor.Page, purpose string) ([]frontdoor.File, error) {
	list, err := s.files(ctx, `
		WHERE expires_at > now() AND ($1 = '' OR account = $1) AND ($2 = '' OR purpose = $2)
		AND ($3 = '' OR (created_at, id) < (SELECT created_at, id FROM api_files WHERE id = $3))
		ORDER BY created_at DESC, id DESC
		LIMIT $4`, p.Account, purpose, p.After, p.Limit)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// ExpiredFiles implements frontdoor.FileStore.
func (s *Store) ExpiredFiles(ctx context.Context, limit int) ([]frontdoor.File, error) {
	list, err := s.files(ctx, `WHERE expires_at <= now() ORDER BY expires_at LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("look for expired files: %w", err)
	}
	return list, nil
}

func (s *Store) files(ctx context.Context, rest string, args ...any) ([]frontdoor.File, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+fileColumns+` FROM api_files `+rest, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[frontdoor.File])
}

// RemoveFile implements frontdoor.FileStore.
func (s *Store) RemoveFile(ctx context.Context, id string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM api_files WHERE id = $1`, id); err != nil {
		return fmt.Errorf("remove file %s: %w", id, err)
	}
	return nil
}

const apiBatchColumns = `id, account, endpoint, input_file_id, metadata, created_at, expires_at, taken_at, failed_at, cancelled_at, errors`

func apiBatchRow(row pgx.CollectableRow) (b frontdoor.Batch, err error) {
	var taken, failed, cancelled *time.Time
	err = row.Scan(&b.ID, &b.Account, &b.Endpoint, &b.InputFileID, &b.Metadata, &b.CreatedAt, &b.ExpiresAt, &taken, &failed, &cancelled, &b.Faults)
	b.TakenAt, b.FailedAt, b.CancelledAt = timeOrZero(taken), timeOrZero(failed), timeOrZero(cancelled)
	return b, err
}

func apiBatches(ctx context.Context, q querier, rest string, args ...any) ([]frontdoor.Batch, error) {
	rows, err := q.Query(ctx, `SELECT `+apiBatchColumns+` FROM api_batches `+rest, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, apiBatchRow)
}

// AddAPIBatch implements frontdoor.BatchStore.
func (s *Store) AddAPIBatch(ctx context.Context, b frontdoor.Batch, again bool) (made frontdoor.Batch, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		if again {
			// Of the same file and for the same: so that it stands twice only where it was
			// asked for twice.
			list, err := apiBatches(ctx, tx, `
				WHERE account = $1 AND input_file_id = $2 AND endpoint = $3 AND metadata = $4 AND created_at > now() - interval '15 minutes'
				ORDER BY created_at DESC
				LIMIT 1`, b.Account, b.InputFileID, b.Endpoint, b.Metadata)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				made = list[0]
				return nil
			}
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO api_batches (id, account, endpoint, input_file_id, metadata, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO NOTHING`, b.ID, b.Account, b.Endpoint, b.InputFileID, b.Metadata, b.CreatedAt, b.ExpiresAt)
		made = b
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
		list, err := apiBatches(ctx, tx, `WHERE id = $1 AND account = $2 AND input_file_id = $3 AND endpoint = $4 AND metadata = $5`,
			b.ID, b.Account, b.InputFileID, b.Endpoint, b.Metadata)
		if err == nil && len(list) == 0 {
			err = frontdoor.ErrOtherBody
		}
		if err == nil {
			made = list[0]
		}
		return err
	})
	if err != nil {
		return made, fmt.Errorf("store batch %s: %w", b.ID, err)
	}
	return made, nil
}

// APIBatch implements frontdoor.BatchStore.
func (s *Store) APIBatch(ctx context.Context, id string) (b frontdoor.Batch, err error) {
	list, err := apiBatches(ctx, s.pool, `WHERE id = $1`, id)
	if err == nil && len(list) == 0 {
		err = frontdoor.ErrNoBatch
	}
	if err != nil {
		return b, fmt.Errorf("read batch %.80q: %w", id, err)
	}
	return list[0], nil
}

// APIBatches implements frontdoor.BatchStore.
func (s *Store) APIBatches(ctx context.Context, p frontdoor.Page) ([]frontdoor.Batch, error) {
	list, err := apiBatches(ctx, s.pool, `
		WHERE ($1 = '' OR account = $1)
		AND ($2 = '' OR (created_at, id) < (SELECT created_at, id FROM api_batches WHERE id = $2))
		AND CASE WHEN $4 = '' THEN endpoint <> '/v1/messages' ELSE endpoint = $4 END
		ORDER BY created_at DESC, id DESC
		LIMIT $3`, p.Account, p.After, p.Limit, p.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	return list, nil
}

// NextIntake implements frontdoor.BatchStore.
func (s *Store) NextIntake(ctx context.Context, lease time.Duration) (b frontdoor.Batch, ok bool, err error) {
	rows, err := s.pool.Query(ctx, `
		UPDATE api_batches SET intake_until = now() + make_interval(secs => $1)
		WHERE id = (
			SELECT id
			FROM api_batches
			WHERE taken_at IS NULL AND failed_at IS NULL AND (intake_until IS NULL OR intake_until < now())
			ORDER BY created_at
			LIMIT 1
			FOR UPDATE SKIP LOCKED)
		RETURNING `+apiBatchColumns, lease.Seconds())
	if err != nil {
		return b, false, fmt.Errorf("look for batches to take in: %w", err)
	}
	b, err = pgx.CollectExactlyOneRow(rows, apiBatchRow)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, false, nil
	}
	if err != nil {
		return b, false, fmt.Errorf("look for batches to take in: %w", err)
	}
	return b, true, nil
}

// EndIntake implements frontdoor.BatchStore.
func (s *Store) EndIntake(ctx context.Context, id string, faults []frontdoor.Fault) error {
	if faults == nil {
		faults = []frontdoor.Fault{}
	}
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE api_batches
			SET taken_at = CASE WHEN $2 THEN NULL ELSE now() END, failed_at = CASE WHEN $2 THEN now() END, errors = $3, intake_until = NULL
			WHERE id = $1 AND taken_at IS NULL AND failed_at IS NULL`, id, len(faults) > 0, faults)
		return err
	})
	if err != nil {
		return fmt.Errorf("end the intake of batch %s: %w", id, err)
	}
	return nil
}

// CancelAPIBatch implements frontdoor.BatchStore.
func (s *Store) CancelAPIBatch(ctx context.Context, id string) error {
	_, err := s.pool.Exec(ctx, `UPDATE api_batches SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("cancel batch %s: %w", id, err)
	}
	return nil
}

// StopJobs implements frontdoor.JobStore.
func (s *Store) StopJobs(ctx context.Context, id string) error {
	_, err := s.Cancel(ctx, id)
	return err
}

// RememberCall implements frontdoor.CallStore.
func (s *Store) RememberCall(ctx context.Context, c frontdoor.Call) (id uuid.UUID, err error) {
	var sum []byte
	err = again(ctx, func() error {
		// The second half sees what was there before; who comes between the halves finds
		// nothing, and asks again.
		err := s.pool.QueryRow(ctx, `
			WITH made AS (
				INSERT INTO api_calls (job_id, caller, sha256, idempotency)
				VALUES ($1, $2, $3, $4)
				ON CONFLICT DO NOTHING
				RETURNING job_id, sha256
			)
			SELECT job_id, sha256 FROM made
			UNION ALL
			SELECT job_id, sha256 FROM api_calls WHERE caller = $2 AND idempotency = $4 AND $4 <> ''
			LIMIT 1`, c.JobID, c.Caller, c.SHA256[:], c.Idempotency).Scan(&id, &sum)
		if errors.Is(err, pgx.ErrNoRows) {
			return s.pool.QueryRow(ctx, `SELECT job_id, sha256 FROM api_calls WHERE job_id = $1 OR (caller = $2 AND idempotency = $3 AND $3 <> '')`,
				c.JobID, c.Caller, c.Idempotency).Scan(&id, &sum)
		}
		return err
	})
	if err == nil && !bytes.Equal(sum, c.SHA256[:]) {
		err = frontdoor.ErrOtherBody
	}
	if err != nil {
		return id, fmt.Errorf("remember a call: %w", err)
	}
	return id, nil
}

// JoinCall implements frontdoor.CallStore. Of several the one that was joined least comes
// first, so that clients that sent the same get one each.
func (s *Store) JoinCall(ctx context.Context, c frontdoor.Call) (id uuid.UUID, ok bool, err error) {
	err = again(ctx, func() error {
		if c.Idempotency != "" {
			var sum []byte
			err := s.pool.QueryRow(ctx, `SELECT job_id, sha256 FROM api_calls WHERE caller = $1 AND idempotency = $2`, c.Caller, c.Idempotency).Scan(&id, &sum)
			if err == nil && !bytes.Equal(sum, c.SHA256[:]) {
				err = frontdoor.ErrOtherBody
			}
			return err
		}
		return s.pool.QueryRow(ctx, `
			UPDATE api_calls SET retries = retries + 1
			WHERE job_id = (
				SELECT a.job_id
				FROM api_calls a
				WHERE a.caller = $1 AND a.sha256 = $2 AND a.created_at > now() - interval '1 hour'
				AND NOT EXISTS (
					SELECT FROM job_states s
					WHERE s.job_id = a.job_id AND s.state IN ('cancelled', 'expired')
					AND NOT EXISTS (SELECT FROM call_jobs cj WHERE cj.job_id = s.job_id))
				ORDER BY a.retries, a.created_at
				LIMIT 1
				FOR UPDATE OF a)
			RETURNING job_id`, c.Caller, c.SHA256[:]).Scan(&id)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return id, false, nil
	}
	if err != nil {
		return id, false, fmt.Errorf("look for a call that was sent before: %w", err)
	}
	return id, true, nil
}

// CallJoined implements frontdoor.CallStore.
func (s *Store) CallJoined(ctx context.Context, jobID uuid.UUID) (joined bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM api_calls WHERE job_id = $1 AND retries > 0)`, jobID).Scan(&joined)
	if err != nil {
		return false, fmt.Errorf("look for a retry of a call: %w", err)
	}
	return joined, nil
}

// EndedOf implements frontdoor.CallStore.
func (s *Store) EndedOf(ctx context.Context, of []uuid.UUID) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT i.id
		FROM unnest($1::uuid[]) i (id)
		LEFT JOIN job_states s ON s.job_id = i.id
		WHERE s.job_id IS NULL OR s.finished_at IS NOT NULL`, of)
	if err != nil {
		return nil, fmt.Errorf("look for %d jobs' ends: %w", len(of), err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("look for %d jobs' ends: %w", len(of), err)
	}
	return list, nil
}

// WaitingIn implements frontdoor.CallStore.
func (s *Store) WaitingIn(ctx context.Context, q jobs.Queue, limit int) (n int, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT count(*)
		FROM (
			SELECT FROM job_queue
			WHERE provider = $1 AND lane = $2 AND worker_id IS NULL AND dispatched_at IS NOT NULL
			LIMIT $3) a`, q.Provider, q.Lane, limit).Scan(&n)
	if err == nil && n < limit {
		var more int
		err = s.pool.QueryRow(ctx, `
			SELECT count(*)
			FROM (
				SELECT FROM job_queue
				WHERE provider = $1 AND lane = $2 AND worker_id IS NULL AND dispatched_at IS NULL AND NOT paused
				LIMIT $3) a`, q.Provider, q.Lane, limit-n).Scan(&more)
		n += more
	}
	if err != nil {
		return 0, fmt.Errorf("count what waits in %s: %w", jobs.QueueName(q.Provider, q.Lane), err)
	}
	return n, nil
}

// ForgetCalls implements frontdoor.CallStore.
func (s *Store) ForgetCalls(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM api_calls WHERE created_at < now() - interval '1 day'`); err != nil {
		return fmt.Errorf("forget calls: %w", err)
	}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// ExportWindow returns what an export of a batch's new results is about: the jobs that
// have finished from from on and before until. Each job's end lies in one window only, and
// none is missed: a job's end is the time at which its transaction began, and until is
// before the beginning of each transaction that is still open. Those of other roles are
// not seen: a batch's results are to be exported by the role that the workers have. It
// fails with jobs.ErrNotFound and jobs.ErrBatchRemoved.
func (s *Store) ExportWindow(ctx context.Context, id string) (from, until time.Time, err error) {
	if err := s.hasBatch(ctx, id); err != nil {
		return from, until, err
	}
	var last *time.Time
	err = s.pool.QueryRow(ctx, `
		SELECT exported_until, greatest(exported_until, least(now(), (
			SELECT min(xact_start)
			FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid())))
		FROM batches
		WHERE id = $1`, id).Scan(&last, &until)
	if errors.Is(err, pgx.ErrNoRows) {
		err = jobs.ErrNotFound
	}
	if err != nil {
		return from, until, fmt.Errorf("export %s: %w", id, err)
	}
	return timeOrZero(last), until, nil
}

// MarkExported says that what has finished before until was exported, unless another
// export has begun at from, too, and said so first: then it reports false.
func (s *Store) MarkExported(ctx context.Context, id string, from, until time.Time) (ok bool, err error) {
	err = again(ctx, func() error {
		tag, err := s.pool.Exec(ctx, `
			UPDATE batches SET exported_until = $3
			WHERE id = $1 AND (exported_until IS NOT DISTINCT FROM $2 OR exported_until = $3)`, id, timeOrNull(from), until)
		ok = tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("note that %s was exported: %w", id, err)
	}
	return ok, nil
}

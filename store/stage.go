package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"oneflow/jobs"
	"oneflow/providers"
)

// insertNew inserts what is new, and returns its ids. What enqueueStaged needs of the
// rows is in the table staged then.
func insertNew(ctx context.Context, tx pgx.Tx, batchID string, rows []jobs.New) ([]uuid.UUID, error) {
	// What is to run later is compared with Postgres' clock, which COPY cannot do.
	later := slices.ContainsFunc(rows, func(r jobs.New) bool { return !r.RunAt.IsZero() })
	if !later {
		switch err := copyStraight(ctx, tx, batchID, rows); {
		case err == nil:
			return ids(rows, func(r jobs.New) uuid.UUID { return r.ID }), stage(ctx, tx, rows, false)
		case !taken(err):
			return nil, err
		}
	}
	if err := stage(ctx, tx, rows, true); err != nil {
		return nil, err
	}
	return insertStaged(ctx, tx, batchID)
}

// taken reports whether a row was refused because its key is there already.
func taken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505"
}

// copyStraight copies rows into jobs: all, or none if one is there already.
func copyStraight(ctx context.Context, tx pgx.Tx, batchID string, rows []jobs.New) error {
	return pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		return copyRows(ctx, inner, "jobs", append(jobColumns(), "batch_id"), rows, func(r jobs.New) []any {
			return append(jobValues(r), orNull(batchID))
		})
	})
}

// copyRows copies rows into a table.
func copyRows(ctx context.Context, tx pgx.Tx, table string, columns []string, rows []jobs.New, values func(jobs.New) []any) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		if len(rows[i].Encoded) == 0 {
			return nil, fmt.Errorf("row %d: its request is not encoded: it has not been given a key", rows[i].Seq)
		}
		return values(rows[i]), nil
	}))
	return err
}

// jobColumns are the columns of jobs that a row brings, but for the time at which it may
// run, and jobValues what they get.
func jobColumns() []string {
	return []string{
		"id", "seq", "account", "provider", "lane", "model", "pack", "key", "content_sha256", "custom_id", "task", "request", "own",
		"max_attempts", "on_unknown", "chain", "fallback", "least_nano",
	}
}

func jobValues(r jobs.New) []any {
	return []any{
		r.ID, r.Seq, orDefault(r.Account, jobs.DefaultAccount), r.Provider, string(orDefault(r.Lane, jobs.Default)), r.Request.Model, r.Request.PackSize(),
		r.Key, r.ContentSHA256[:], orNull(r.CustomID), string(r.Request.Task), r.Encoded, r.Own,
		orDefault(r.MaxAttempts, jobs.DefaultMaxAttempts), string(orDefault(r.OnUnknown, jobs.RetryUnknown)),
		r.Chain, string(orDefault(r.Fallback, providers.FallbackAuto)), max(int64(r.Least), 0),
	}
}

// stage copies rows into the temporary table staged: all of them, or what enqueueStaged
// needs. The connection keeps the table, as to make it writes a hundred rows of the catalog; should
// its columns change, it needs another name, since a pooler keeps connections for longer than
// programs live. Statements are planned each time: it may hold one row or thousands.
func stage(ctx context.Context, tx pgx.Tx, rows []jobs.New, whole bool) error {
	var p pgx.Batch
	p.Queue(`SELECT set_config('plan_cache_mode', 'force_custom_plan', true)`)
	p.Queue(`
		CREATE TEMP TABLE IF NOT EXISTS staged (
			id uuid, seq bigint, account text, provider text, lane text, pack smallint, key text, content_sha256 bytea, custom_id text, task text, model text,
			request json, own json, max_attempts int, on_unknown text, chain text[], fallback text, least_nano bigint,
			run_at timestamptz, deadline timestamptz, turn bigint
		) ON COMMIT DELETE ROWS`)
	if err := tx.SendBatch(ctx, &p).Close(); err != nil {
		return err
	}
	const narrow = 7 // the columns of jobs that a queue needs come first
	columns := jobColumns()
	if !whole {
		columns = columns[:narrow]
	}
	return copyRows(ctx, tx, "staged", append(columns, "run_at", "deadline", "turn"), rows, func(r jobs.New) []any {
		values := jobValues(r)
		if !whole {
			values = values[:narrow]
		}
		return append(values, timeOrNull(r.RunAt), timeOrNull(r.Deadline), orDefault(r.Turn, r.Seq))
	})
}

// insertStaged inserts what is new and returns its ids.
func insertStaged(ctx context.Context, tx pgx.Tx, batchID string) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO jobs (id, batch_id, seq, key, content_sha256, custom_id, account, task, provider, model, lane, pack,
			request, own, max_attempts, on_unknown, chain, fallback, run_at, least_nano)
		SELECT id, $1, seq, key, content_sha256, custom_id, account, task, provider, model, lane, pack,
			request, own, max_attempts, on_unknown, chain, fallback, greatest(run_at, now()), least_nano
		FROM staged
		ORDER BY seq
		ON CONFLICT DO NOTHING
		RETURNING id`, orNull(batchID))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

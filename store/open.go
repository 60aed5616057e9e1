package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"oneflow/jobs"
)

// OpenBatch implements jobs.AcceptStore. A sealed batch stays sealed until a row
// comes in: a producer that brings nothing new, or dies before, has not opened it.
func (s *Store) OpenBatch(ctx context.Context, b jobs.Batch) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO batches (id, account, source, origin, options, tags)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO NOTHING`, b.ID, b.Account, b.Source, b.Origin, orEmpty(b.Options), orEmpty(b.Tags))
		if err != nil {
			return fmt.Errorf("open batch %s: %w", b.ID, err)
		}
		if err := takesRowsOf(ctx, tx, b); err != nil {
			return fmt.Errorf("batch %s: %w", b.ID, err)
		}
		if len(b.Steps) > 0 {
			if err := addSteps(ctx, tx, b); err != nil {
				return err
			}
		}
		if b.Webhook != "" {
			_, err = tx.Exec(ctx, `
				INSERT INTO batch_ends (batch_id, webhook, per_job)
				VALUES ($1, $2, $3)
				ON CONFLICT (batch_id) DO UPDATE SET webhook = excluded.webhook, per_job = excluded.per_job`, b.ID, b.Webhook, b.PerJob)
		}
		return err
	})
}

// takesRowsOf fails unless the batch that is there takes the rows of b. One that has none, and
// no steps, becomes b.
func takesRowsOf(ctx context.Context, tx pgx.Tx, b jobs.Batch) error {
	var cancelled, removed, known, empty bool
	var account string
	var options, tags map[string]string
	err := tx.QueryRow(ctx, `
		SELECT cancelled_at IS NOT NULL, removed_at IS NOT NULL, $2 <> '' AND origin = $2
			OR NOT $4 AND EXISTS (SELECT FROM jobs WHERE batch_id = $1 AND key = $3),
			NOT EXISTS (SELECT FROM jobs WHERE batch_id = $1) AND NOT EXISTS (SELECT FROM steps WHERE pipeline = $1), account, options, tags
		FROM batches
		WHERE id = $1`, b.ID, b.Origin, b.First, b.Exact).Scan(&cancelled, &removed, &known, &empty, &account, &options, &tags)
	switch {
	case err != nil:
		return err
	case b.Own && account != b.Account:
		return jobs.ErrNotFound
	case removed:
		return jobs.ErrBatchRemoved
	case cancelled:
		return jobs.ErrBatchCancelled
	case empty:
		_, err := tx.Exec(ctx, `
			UPDATE batches
			SET account = $2, source = $3, origin = $4, options = $5, tags = $6
			WHERE id = $1 AND (account, source, origin, options, tags) IS DISTINCT FROM ($2, $3, $4, $5, $6)`,
			b.ID, orDefault(b.Account, account), b.Source, b.Origin, orEmpty(b.Options), orEmpty(b.Tags))
		return err
	case b.Account != "" && account != b.Account:
		return &jobs.OtherBatchError{Is: "account " + account, Given: b.Account}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Tags)) {
		is, there := tags[name]
		switch given := name + "=" + b.Tags[name]; {
		case !there:
			return &jobs.OtherBatchError{Is: "no tag " + name, Given: given}
		case is != b.Tags[name]:
			return &jobs.OtherBatchError{Is: "tag " + name + "=" + is, Given: given}
		}
	}
	if b.Append {
		return nil
	}
	if len(options) > 0 && len(b.Options) > 0 {
		if err := sameOptions(options, b.Options); err != nil {
			return err
		}
	}
	if !known && b.First != "" {
		return jobs.ErrOtherSource
	}
	return nil
}

// sameOptions fails with the first option, by its name, that differs.
func sameOptions(is, given map[string]string) error {
	all := maps.Clone(is)
	maps.Copy(all, given)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if is[name] != given[name] {
			return &jobs.OtherOptionsError{Name: name, Is: is[name], Given: given[name]}
		}
	}
	return nil
}

// BatchOptions returns the options that a batch was made with; none where there is no batch, or
// they are not known.
func (s *Store) BatchOptions(ctx context.Context, id string) (options map[string]string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT options FROM batches WHERE id = $1`, id).Scan(&options)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the options of batch %s: %w", id, err)
	}
	return options, nil
}

// orEmpty is m, or an empty one where there is none.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

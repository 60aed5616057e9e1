package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
)

const (
	// listPage is the number of batches that are read at a time, and listMost that of those that are looked
	// at for one list.
	listPage = 200
	listMost = 10_000
)

// Batches lists the batches that a filter selects, with their states and what they have
// cost, the newest first. A state follows from a batch's jobs, so that it is found out
// for each; it looks at the newest 10,000 at most.
func (s *Store) Batches(ctx context.Context, f batches.Filter) ([]batches.Summary, error) {
	var found []batches.Summary
	var before *time.Time
	last := f.Before
	if last != "" {
		var at time.Time
		switch err := s.pool.QueryRow(ctx, `SELECT created_at FROM batches WHERE id = $1`, last).Scan(&at); {
		case errors.Is(err, pgx.ErrNoRows):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("list batches: %w", err)
		}
		before = &at
	}
	for range listMost / listPage {
		rows, err := s.pool.Query(ctx, `
			SELECT `+batchColumns+`
			FROM batches
			WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2)) AND created_at >= $3
			AND ($4 = '' OR position(lower($4) IN lower(source)) > 0) AND ($5 = '' OR account = $5)
			AND ($8 = '' OR EXISTS (SELECT FROM jsonb_each_text(tags) WHERE `+hasTag("key", "value", "$8")+`))
			AND (removed_at IS NOT NULL) = ($6 = 'removed')
			ORDER BY created_at DESC, id DESC
			LIMIT $7`, before, last, f.Since, f.Source, f.Account, f.State, listPage, f.Tag)
		if err != nil {
			return nil, fmt.Errorf("list batches: %w", err)
		}
		page, err := pgx.CollectRows(rows, batchRow)
		if err != nil {
			return nil, fmt.Errorf("list batches: %w", err)
		}
		ids := make([]string, len(page))
		for i, b := range page {
			ids[i] = b.ID
		}
		tallies, err := s.Tallies(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, b := range page {
			b.Tally = tallies[b.ID]
			b.State = b.StateNow()
			if f.State == "" || b.State == f.State {
				found = append(found, b)
			}
			if len(found) == f.Limit {
				return found, nil
			}
			at := b.CreatedAt
			before, last = &at, b.ID
		}
		if len(page) < listPage {
			return found, nil
		}
	}
	return found, nil
}

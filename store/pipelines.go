package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

// Pipelines lists the newest pipelines that were not removed, the newest first: of an account,
// or of all where it is empty.
func (s *Store) Pipelines(ctx context.Context, account string, limit int) ([]batches.Pipeline, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT b.id
		FROM steps s
		JOIN batches b ON b.id = s.batch_id
		WHERE s.place = 0 AND b.removed_at IS NULL AND ($1 = '' OR b.account = $1)
		ORDER BY b.created_at DESC, b.id
		LIMIT $2`, account, limit)
	if err != nil {
		return nil, fmt.Errorf("list pipelines: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list pipelines: %w", err)
	}
	return s.pipelines(ctx, ids)
}

// Pipeline reads where a pipeline stands. It fails with jobs.ErrNotFound.
func (s *Store) Pipeline(ctx context.Context, id string) (batches.Pipeline, error) {
	list, err := s.pipelines(ctx, []string{id})
	if err != nil {
		return batches.Pipeline{}, err
	}
	if len(list) == 0 {
		return batches.Pipeline{}, fmt.Errorf("pipeline %s: %w", id, jobs.ErrNotFound)
	}
	return list[0], nil
}

// pipelines reads pipelines, in the order of their ids.
func (s *Store) pipelines(ctx context.Context, ids []string) ([]batches.Pipeline, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, source, account, created_at, sealed_at, cancelled_at, paused_at, removed_at, s.name, s.place,
			(SELECT count(*) FROM step_links l WHERE l.batch_id = b.id AND l.child_id IS NULL)
		FROM steps s
		JOIN batches b ON b.id = s.batch_id
		WHERE s.pipeline = ANY ($1)
		ORDER BY array_position($1, s.pipeline), s.place`, ids)
	if err != nil {
		return nil, fmt.Errorf("read pipelines: %w", err)
	}
	var steps []int // place of each
	var batchIDs []string
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p batches.PipelineStep, err error) {
		var place int
		p.Summary, err = scanBatch(row, &p.Name, &place, &p.LeftOut)
		steps, batchIDs = append(steps, place), append(batchIDs, p.ID)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("read pipelines: %w", err)
	}
	tallies, err := s.Tallies(ctx, batchIDs)
	if err != nil {
		return nil, err
	}
	var all []batches.Pipeline
	for from, i := 0, 0; i < len(list); i++ {
		list[i].Tally = tallies[list[i].ID]
		if i+1 == len(list) || steps[i+1] == 0 {
			all = append(all, batches.NewPipeline(list[from:i+1]))
			from = i + 1
		}
	}
	return all, nil
}

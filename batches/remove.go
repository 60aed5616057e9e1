package batches

import (
	"context"
	"errors"
	"fmt"
	"time"

	"oneflow/jobs"
)

// RemoveStore removes what a batch has left behind. Its steps are to be called in this
// order, and may be called again.
type RemoveStore interface {
	// FilesOf returns the files of a batch that no other shares. It fails with
	// jobs.ErrMediaRunning.
	FilesOf(ctx context.Context, id string) ([]string, error)
	// MarkRemoved leaves a tombstone, by which its id is refused. It fails with
	// jobs.ErrNotFound and jobs.ErrBatchUnfinished.
	MarkRemoved(ctx context.Context, id string) error
	// RemoveJobs deletes its jobs with their results, and returns how many there were.
	RemoveJobs(ctx context.Context, id string) (int64, error)
}

// Remover removes batches for good. What their calls have cost stays in the ledger.
type Remover struct {
	Store RemoveStore
	// Remove removes a file. Nil: files stay where they are.
	Remove func(ctx context.Context, file string) error
}

// Batch removes a batch that has finished, and returns how many jobs and files it had.
// Where that is interrupted, it is continued by calling it again.
func (r Remover) Batch(ctx context.Context, id string) (removed int64, files int, err error) {
	if err := r.Store.MarkRemoved(ctx, id); err != nil {
		return 0, 0, err
	}
	if r.Remove != nil {
		list, err := r.Store.FilesOf(ctx, id)
		if err != nil {
			return 0, 0, err
		}
		for _, file := range list {
			if err := r.Remove(ctx, file); err != nil {
				return 0, 0, err
			}
		}
		files = len(list)
	}
	removed, err = r.Store.RemoveJobs(ctx, id)
	return removed, files, err
}

// All removes several batches, such as the steps of a pipeline: all are marked before a job
// of any is removed.
func (r Remover) All(ctx context.Context, ids []string) (removed int64, files int, err error) {
	for _, id := range ids {
		if err := r.Store.MarkRemoved(ctx, id); err != nil {
			return 0, 0, err
		}
	}
	for _, id := range ids {
		n, f, err := r.Batch(ctx, id)
		if removed, files = removed+n, files+f; err != nil {
			return removed, files, err
		}
	}
	return removed, files, nil
}

// CacheStore forgets what is in the cache.
type CacheStore interface {
	// ForgetCached forgets answers that have expired.
	ForgetCached(ctx context.Context) error
	// LooseFiles returns up to limit files of forgotten answers that nobody has any more.
	LooseFiles(ctx context.Context, limit int) ([]string, error)
	// ForgetFile is told that one of them was removed.
	ForgetFile(ctx context.Context, url string) error
}

// ForgetCached forgets cached answers that have expired, and removes the files that they
// and answers that a person has cleared were the last to have.
func ForgetCached(ctx context.Context, s CacheStore, remove func(context.Context, string) error) error {
	if err := s.ForgetCached(ctx); err != nil {
		return err
	}
	list, err := s.LooseFiles(ctx, looseAtOnce)
	if err != nil {
		return err
	}
	for _, file := range list {
		if err := remove(ctx, file); err != nil {
			return err
		}
		if err := s.ForgetFile(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// looseAtOnce bounds the files that one call of ForgetCached removes.
const looseAtOnce = 1000

// outdatedAtOnce bounds the batches that one call of Outdated takes.
const outdatedAtOnce = 100

// OutdatedStore finds batches that nobody needs any longer.
type OutdatedStore interface {
	RemoveStore
	// Outdated returns up to limit batches that were finished and settled before age,
	// or whose removal was interrupted.
	Outdated(ctx context.Context, age time.Duration, limit int) ([]string, error)
}

// Outdated removes batches whose last job ended before age, as Batch does. One that
// cannot be removed now, as pictures that may be its own are being made, keeps the
// others from nothing: it is tried again with the next call.
func Outdated(ctx context.Context, s OutdatedStore, age time.Duration, remove func(context.Context, string) error) error {
	ids, err := s.Outdated(ctx, age, outdatedAtOnce)
	if err != nil {
		return err
	}
	for _, id := range ids {
		_, _, failed := Remover{Store: s, Remove: remove}.Batch(ctx, id)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed != nil && !errors.Is(failed, jobs.ErrMediaRunning) && !errors.Is(failed, jobs.ErrBatchUnfinished) {
			err = errors.Join(err, fmt.Errorf("remove batch %s, which is older than %s: %w", id, age, failed))
		}
	}
	return err
}

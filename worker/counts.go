package worker

import (
	"context"
	"time"
)

const (
	// auditCountsEvery is the time between two audits of all batches' counts, and
	// auditCountsPause that between two batches: of a large one all jobs are read.
	auditCountsEvery = 6 * time.Hour
	auditCountsPause = 10 * time.Second
	// compactEvery is the time between two looks whether the counts of ended jobs are many.
	compactEvery = 10 * time.Second
	// foldEvery is the time between two rounds of summing up the figures of calls, and
	// foldPause that where one round did not get through.
	foldEvery = time.Minute
	foldPause = time.Second
)

// auditCounts compares the counts of the next batch with its jobs.
func (t *term) auditCounts(ctx context.Context) (more bool, err error) {
	batch, wrong, err := t.cfg.Store.Recovery.AuditCounts(ctx, t.counted)
	if wrong {
		t.did("batch_counts_corrected", 1)
		t.cfg.Log.Error().Str("batch", batch).Msg("counts of a batch were wrong, and are mended: please report it")
	}
	if err == nil {
		t.counted = batch
	}
	return batch != "", err
}

// compactEnds keeps the counts of ended jobs few.
func (t *term) compactEnds(ctx context.Context) (more bool, err error) {
	return false, t.cfg.Store.Recovery.CompactEnds(ctx)
}

// foldMetrics keeps the figures of past calls few.
func (t *term) foldMetrics(ctx context.Context) (more bool, err error) {
	return t.cfg.Store.Recovery.FoldMetrics(ctx)
}

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
)

// auditCounts compares the counts of the next batch with its jobs.
func (t *term) auditCounts(ctx context.Context) (more bool, err error) {
	batch, wrong, err := t.cfg.Store.Recovery.AuditCounts(ctx, t.counted)
	if wrong {
		t.cfg.Log.Error().Str("batch", batch).Msg("counts of a batch were wrong, and are mended: please report it")
	}
	if err == nil {
		t.counted = batch
	}
	return batch != "", err
}

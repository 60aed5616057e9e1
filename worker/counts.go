package worker

import (
	"context"
	"time"
)

const (
	// auditCountsEvery is the time between two audits of all batches' counts, and
	// auditCountsPause that between two batches, and before the first: of a large one all jobs are read.
	auditCountsEvery = 6 * time.Hour
	auditCountsPause = 10 * time.Second
	// compactEvery is the time between two looks whether the counts of ended jobs are many.
	compactEvery = 10 * time.Second
	// foldEvery is the time between two rounds of summing up the figures of calls, and
	// foldPause that where one round did not get through.
	foldEvery = time.Minute
	foldPause = time.Second
)

// countsAudit returns what compares the counts of one batch after the other with its jobs. It runs
// beside the rounds, since a batch of millions takes seconds.
func (r *reconciler) countsAudit() Background {
	after, next := "", time.Now().Add(auditCountsPause)
	return Background{Name: "audit the counts of batches", Every: auditCountsPause, Run: func(ctx context.Context) error {
		if time.Now().Before(next) {
			return nil
		}
		batch, wrong, err := r.cfg.Store.Recovery.AuditCounts(ctx, after)
		if err != nil {
			return err
		}
		if after = batch; batch == "" {
			next = time.Now().Add(auditCountsEvery)
		}
		if !wrong {
			return nil
		}
		r.cfg.Log.Error().Str("batch", batch).Msg("counts of a batch were wrong, and are mended: please report it")
		return r.cfg.Store.Leader.RecordActions(ctx, map[string]int64{"batch_counts_corrected": 1})
	}}
}

// compactEnds keeps the counts of ended jobs few.
func (t *term) compactEnds(ctx context.Context) (more bool, err error) {
	return false, t.cfg.Store.Recovery.CompactEnds(ctx)
}

// foldMetrics keeps the figures of past calls few.
func (t *term) foldMetrics(ctx context.Context) (more bool, err error) {
	return t.cfg.Store.Recovery.FoldMetrics(ctx)
}

package worker

import (
	"context"
	"time"
)

// rollUpEvery is the age that the figures of the minute may reach.
const rollUpEvery = 10 * time.Second

// rollUpMetrics brings the figures of each provider, model and minute up to date.
func (t *term) rollUpMetrics(ctx context.Context) (more bool, err error) {
	return false, t.cfg.Store.RollUpMetrics(ctx)
}

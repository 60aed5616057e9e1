package worker

import (
	"context"
	"time"

	"oneflow/jobs"
)

const (
	// topUpEvery is the time that a window may run down while there is more to do.
	topUpEvery = 200 * time.Millisecond
	// fullFor is the time for which a queue that was found full is not looked at: to count a large
	// window takes long, and no fleet runs one down so fast.
	fullFor = time.Second
	// dueAgain is the least time between two looks for jobs that have become due, and
	// dueWithin the most: a job that is to run later is seen within it.
	dueAgain  = 50 * time.Millisecond
	dueWithin = 250 * time.Millisecond
	// dispatchChunk is the number of deliveries that are marked and pushed at once.
	dispatchChunk = 2000
	// dispatchBudget is the time that one round may push: the leader has to renew its
	// lease in time, and to look after the living.
	dispatchBudget = leaderTTL / 2
)

// topUp fills the windows of the queues that have a backlog. It reports whether
// there is more.
func (t *term) topUp(ctx context.Context) (more bool, err error) {
	queues, err := t.cfg.Store.Deliveries.Backlogs(ctx)
	began := time.Now()
	for _, q := range queues {
		if time.Now().Before(t.fullUntil[q]) {
			more = true
			continue
		}
		for err == nil && time.Since(began) < dispatchBudget {
			var marked []jobs.Delivery
			var full bool
			if marked, full, err = t.cfg.Store.Deliveries.TopUp(ctx, q, dispatchChunk); len(marked) > 0 {
				_, err = t.dispatcher.Push(ctx, marked)
				t.did("job_dispatched", len(marked))
				t.cfg.Log.Debug().Str("queue", jobs.QueueName(q.Provider, q.Lane)).Int("jobs", len(marked)).Msg("topped up")
			}
			more = more || full || len(marked) > 0
			if full {
				t.fullUntil[q] = time.Now().Add(fullFor)
			}
			if len(marked) < dispatchChunk {
				break
			}
		}
	}
	return more, err
}

// dispatchDue dispatches what has become due since it looked last, and returns when to look
// again: when the next job becomes due, as it is a look at one row of an index.
func (t *term) dispatchDue(ctx context.Context) (again time.Duration, err error) {
	wait, now, err := t.cfg.Store.Deliveries.Due(ctx, t.lookedForDue)
	if err != nil {
		return dueWithin, err
	}
	t.lookedForDue = now
	if wait <= 0 {
		_, err = t.topUp(ctx)
	}
	return min(max(wait, dueAgain), dueWithin), err
}

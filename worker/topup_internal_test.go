package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/jobs"
)

// fullQueue is a Postgres with one queue, which is full, and one that is not.
type fullQueue struct {
	DeliveryStore
	looks map[string]int
}

func (*fullQueue) Backlogs(context.Context) ([]jobs.Queue, error) {
	return []jobs.Queue{{Provider: "full"}, {Provider: "empty"}}, nil
}

func (f *fullQueue) TopUp(_ context.Context, q jobs.Queue, _ int) ([]jobs.Delivery, bool, error) {
	f.looks[q.Provider]++
	return nil, q.Provider == "full", nil
}

func TestAFullQueueIsNotLookedAtForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &fullQueue{looks: map[string]int{}}
		tm := &term{cfg: Config{Store: Stores{Deliveries: db}}, fullUntil: map[jobs.Queue]time.Time{}}
		for range 10 {
			if more, err := tm.topUp(t.Context()); err != nil || !more {
				t.Errorf("more is %t (%v), want true: the queue will have room", more, err)
			}
			<-time.After(topUpEvery)
		}
		if full, empty := db.looks["full"], db.looks["empty"]; full != 2 || empty != 10 {
			t.Errorf("in two seconds %d looks at the full queue and %d at the other, want 2 and 10", full, empty)
		}
	})
}

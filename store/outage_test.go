package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"oneflow/jobs"
)

// Connections are cut while jobs are accepted, claimed, called for and ended: no
// caller hears of it, and everything happens exactly once.
func TestEverythingHappensOnceThoughConnectionsAreCut(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const n = 200 // jobs in a round
	over := make(chan struct{})
	var cut atomic.Int64
	cutter := make(chan struct{})
	go func() {
		defer close(cutter)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			var n int64
			err := w.sql.QueryRow(ctx, `
				SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
				FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`).Scan(&n)
			if err != nil {
				t.Error(err)
			}
			// A slow machine must get on, too.
			if cut.Add(n) >= 100 {
				return
			}
		}
	}()
	var accepted atomic.Int64
	rounds := 0
	for ; cut.Load() < 15 && ctx.Err() == nil && !t.Failed(); rounds++ {
		all := rows(t, n, nil)
		if err := w.OpenBatch(ctx, jobs.Batch{ID: fmt.Sprint("b", rounds)}); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("b", rounds)
		together(20, func(i int) {
			mine := all[i*n/20 : (i+1)*n/20]
			acc, err := w.AcceptJobs(ctx, id, mine, true)
			if err != nil || acc.Duplicates+len(acc.Conflicts) != 0 {
				t.Errorf("accept: %+v, %v", acc, err)
				return
			}
			accepted.Add(int64(acc.New))
			together(len(mine), func(k int) {
				claimed, err := w.Claim(ctx, w.worker, jobs.Claim{ID: mine[k].ID, Gen: 1, LeaseToken: jobs.NewID()})
				if err != nil || claimed.Job == nil {
					t.Errorf("claim: %+v, %v", claimed, err)
					return
				}
				j := claimed.Job
				for call := range 3 {
					c := callOf(j, nano(100))
					if err := w.BeginCall(ctx, w.worker, c); err != nil {
						t.Errorf("begin: %v", err)
					}
					switch {
					case call < 2:
						err = w.SettleCall(ctx, jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(10)})
					case (i*n/20+k)%4 == 0:
						if err = w.SettleCall(ctx, jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallUnknown}); err == nil {
							_, err = w.Complete(ctx, jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Unknown, Class: "timeout"})
						}
					default:
						err = w.Succeed(ctx, success(j, c, nano(1)))
					}
					if err != nil {
						t.Errorf("settle: %v", err)
					}
				}
			})
		})
	}
	close(over)
	<-cutter
	t.Logf("%d connections were cut in %d rounds", cut.Load(), rounds)
	total := n * rounds
	if accepted.Load() != int64(total) {
		t.Errorf("%d of %d accepted", accepted.Load(), total)
	}
	if got := w.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded' AND cost_nano = 21 AND attempt = 1`); got != total*3/4 {
		t.Errorf("%d succeeded for 21 nano-USD, want %d", got, total*3/4)
	}
	if got := w.count(t, `SELECT count(*) FROM job_states WHERE state = 'unknown' AND cost_nano = 120 AND attempt = 1`); got != total/4 {
		t.Errorf("%d are unknown for 120 nano-USD, want %d", got, total/4)
	}
	if got := w.count(t, `SELECT count(*) FROM calls`); got != 3*total {
		t.Errorf("%d calls, want %d", got, 3*total)
	}
	w.holds(t)
}

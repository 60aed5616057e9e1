package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/monitor"
)

// slowStore is a store that takes a while to read, and counts.
type slowStore struct {
	mu      sync.Mutex
	takes   time.Duration
	err     error
	batches []batches.Summary
	tallies map[string]batches.Tally

	reads   int
	counted []string // ids, of all calls of Tallies
}

func (f *slowStore) Fleet(ctx context.Context) (fleet.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return fleet.Snapshot{}, ctx.Err()
	}
	return fleet.Snapshot{}, f.err
}

func (f *slowStore) NewestBatches(context.Context, int) ([]batches.Summary, error) {
	return slices.Clone(f.batches), nil
}

func (f *slowStore) Tallies(_ context.Context, ids []string) (map[string]batches.Tally, error) {
	f.counted = append(f.counted, ids...)
	return f.tallies, nil
}

func (f *slowStore) BatchDetail(_ context.Context, id string, _ bool) (batches.Breakdown, error) {
	f.reads++
	t, ok := f.tallies[id]
	if !ok {
		return batches.Breakdown{}, jobs.ErrNotFound
	}
	return batches.Breakdown{Summary: batches.Summary{ID: id, SealedAt: time.Unix(1, 0), Tally: t}}, nil
}

func (f *slowStore) Alerts(context.Context, bool, int) ([]jobs.Alert, error) { return nil, nil }

func counts(succeeded, queued int64) batches.Tally {
	return batches.Tally{Counts: map[jobs.State]int64{jobs.Succeeded: succeeded, jobs.Queued: queued}}
}

func TestManyViewersCostOneReadingAndSlowOnesAreSpaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &slowStore{takes: 3 * time.Second}
		r := monitor.NewReader(f)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := r.Overview(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if f.reads != 1 {
			t.Errorf("100 viewers made %d readings", f.reads)
		}
		time.Sleep(11 * time.Second) //nolint:forbidigo // virtual time
		if _, err := r.Overview(t.Context()); err != nil || f.reads != 1 {
			t.Errorf("11 s after a reading of 3 s: %d readings, %v", f.reads, err)
		}
		<-time.After(2 * time.Second)
		if _, err := r.Overview(t.Context()); err != nil || f.reads != 2 {
			t.Errorf("13 s after a reading of 3 s: %d readings, %v", f.reads, err)
		}
	})
}

func TestFailuresAreNotKeptAndNobodyWaitsForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &slowStore{takes: time.Hour}
		r := monitor.NewReader(f)
		start := time.Now()
		if _, err := r.Overview(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
			t.Errorf("a store that hangs: %v after %s", err, time.Since(start))
		}
		f.takes, f.err = 0, errors.New("down")
		if _, err := r.Overview(t.Context()); !errors.Is(err, f.err) {
			t.Errorf("got %v", err)
		}
		f.err = nil
		if _, err := r.Overview(t.Context()); err != nil {
			t.Errorf("right after a failure: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := r.Overview(gone); err == nil && f.reads > 4 {
			t.Error("read for somebody who has left")
		}
	})
}

func TestFinishedBatchesAreNotCountedAgainAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sealed := time.Now()
		f := &slowStore{
			batches: []batches.Summary{{ID: "running", SealedAt: sealed}, {ID: "finished", SealedAt: sealed}, {ID: "open"}},
			tallies: map[string]batches.Tally{"running": counts(1, 1), "finished": counts(2, 0), "open": counts(2, 0)},
		}
		r := monitor.NewReader(f)
		look := func() []batches.Summary {
			f.counted = nil
			o, err := r.Overview(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(2 * time.Second)
			return o.Batches
		}
		look()
		got := look()
		if want := []string{"running", "open"}; !slices.Equal(f.counted, want) {
			t.Errorf("counted %v again, want %v", f.counted, want)
		}
		for i, want := range []string{jobs.BatchRunning, jobs.BatchFinished, jobs.BatchOpen} {
			if got[i].State != want || got[i].Done() != f.tallies[got[i].ID].Done() {
				t.Errorf("batch %s is %s, %d done", got[i].ID, got[i].State, got[i].Done())
			}
		}
		// Opened again by its producer: counted at once.
		f.batches[1].SealedAt, f.tallies["finished"] = time.Time{}, counts(2, 5)
		if got := look(); got[1].State != jobs.BatchOpen || got[1].Total() != 7 {
			t.Errorf("after it was opened again: %+v", got[1])
		}
		f.batches[1].SealedAt, f.tallies["finished"] = sealed, counts(7, 0)
		look()
		time.Sleep(time.Minute) //nolint:forbidigo // virtual time
		look()
		if !slices.Contains(f.counted, "finished") {
			t.Error("a finished batch is never counted again, though its cost may change")
		}
	})
}

func TestRateComesFromWhatWasSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &slowStore{batches: []batches.Summary{{ID: "b", SealedAt: time.Now()}}, tallies: map[string]batches.Tally{}}
		r := monitor.NewReader(f)
		var last batches.Summary
		var page monitor.Batch
		for i := range int64(20) {
			f.tallies["b"] = counts(100*i, 10_000-100*i)
			o, err := r.Overview(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			last = o.Batches[0]
			if page, err = r.Batch(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
			if i == 0 && last.PerSecond != 0 {
				t.Errorf("a rate of %g at the first look", last.PerSecond)
			}
			<-time.After(2 * time.Second)
		}
		if last.PerSecond != 50 || page.PerSecond != 50 {
			t.Errorf("rates %g and %g, want 50", last.PerSecond, page.PerSecond)
		}
		if left := last.Left(); left != 162*time.Second {
			t.Errorf("left %s", left)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // virtual time
		o, err := r.Overview(t.Context())
		if err != nil || o.Batches[0].PerSecond != 0 {
			t.Errorf("a rate of %g after nobody has looked for an hour, %v", o.Batches[0].PerSecond, err)
		}
	})
}

func TestStates(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	for _, c := range []struct {
		batch batches.Summary
		want  string
	}{
		{batches.Summary{}, jobs.BatchOpen},
		{batches.Summary{SealedAt: now}, jobs.BatchFinished},
		{batches.Summary{SealedAt: now, Tally: counts(1, 1)}, jobs.BatchRunning},
		{batches.Summary{SealedAt: now, Tally: counts(1, 0)}, jobs.BatchFinished},
		{batches.Summary{SealedAt: now, Tally: batches.Tally{Counts: map[jobs.State]int64{jobs.Succeeded: 9, jobs.Expired: 1}}}, jobs.BatchPartial},
		{batches.Summary{SealedAt: now, Tally: batches.Tally{Counts: map[jobs.State]int64{jobs.Failed: 1, jobs.Queued: 1}}}, jobs.BatchRunning},
		{batches.Summary{CancelledAt: now, Tally: counts(0, 1)}, jobs.BatchCancelling},
		{batches.Summary{CancelledAt: now, SealedAt: now, Tally: counts(1, 0)}, jobs.BatchCancelled},
	} {
		c.batch.ID = "b"
		r := monitor.NewReader(&slowStore{batches: []batches.Summary{c.batch}, tallies: map[string]batches.Tally{"b": c.batch.Tally}})
		o, err := r.Overview(t.Context())
		if err != nil || o.Batches[0].State != c.want {
			t.Errorf("%+v: %s, want %s (%v)", c.batch, o.Batches[0].State, c.want, err)
		}
	}
}

func TestOnlyIdsThatCanExistAreLookedUpAndMemoryIsBounded(t *testing.T) {
	t.Parallel()
	f := &slowStore{tallies: map[string]batches.Tally{}}
	r := monitor.NewReader(f)
	for _, id := range []string{"", "-x", ".", "a b", "a/b", "ä", "a'--", string(make([]byte, 65))} {
		if _, err := r.Batch(t.Context(), id); !errors.Is(err, jobs.ErrNotFound) || f.reads != 0 {
			t.Errorf("%q: %v, %d reads", id, err, f.reads)
		}
	}
	for i := range 1000 {
		id := fmt.Sprint("b", i)
		f.tallies[id] = counts(1, 0)
		if d, err := r.Batch(t.Context(), id); err != nil || d.ID != id || d.State != jobs.BatchFinished {
			t.Fatalf("%s: %+v, %v", id, d, err)
		}
	}
	if n := r.Remembered(); n > 64 {
		t.Errorf("%d batches are remembered", n)
	}
}

func (f *slowStore) Waiting(context.Context, string, string) ([]fleet.WaitingJobs, error) {
	return nil, f.err
}

func (f *slowStore) Standings(context.Context) ([]fleet.Health, error) { return nil, f.err }

// largeBatch is a store whose batch takes long to read as a whole.
type largeBatch struct {
	slowStore
	read chan struct{}
}

func (l *largeBatch) BatchDetail(ctx context.Context, id string, whole bool) (batches.Breakdown, error) {
	b := batches.Breakdown{Summary: batches.Summary{ID: id, Tally: counts(9_000, 1_000)}}
	if !whole {
		return b, nil
	}
	select {
	case <-l.read:
		b.Models = []batches.ModelUse{{Provider: "openai", Calls: 10}}
		return b, nil
	case <-ctx.Done():
		return b, ctx.Err()
	}
}

func TestALargeBatchIsShownAtOnceAndAsAWholeWhenItIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &largeBatch{read: make(chan struct{})}
		r := monitor.NewReader(l)
		looked, leave := context.WithCancel(t.Context())
		began := time.Now()
		b, err := r.BatchSoon(looked, "large")
		if err != nil || !b.Pending || b.Done() != 9_000 || len(b.Models) != 0 || time.Since(began) > 100*time.Millisecond {
			t.Errorf("after %s: %+v %v", time.Since(began), b, err)
		}
		leave() // it is read on for the next
		<-time.After(2 * time.Second)
		close(l.read)
		synctest.Wait()
		if b, err = r.BatchSoon(t.Context(), "large"); err != nil || b.Pending || b.Models[0].Calls != 10 {
			t.Errorf("%+v %v", b, err)
		}
	})
}

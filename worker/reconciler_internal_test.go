package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/internal/sleep"
)

// election is a Postgres that gives the lease to this worker, unless it is lost.
type election struct {
	// until is the time at which the lease runs out.
	until time.Time
	lost  atomic.Bool
}

func (e *election) Lead(_ context.Context, _ string, _ uuid.UUID, ttl time.Duration) (bool, error) {
	e.until = time.Now().Add(ttl)
	return !e.lost.Load(), nil
}

func (*election) Heartbeats(context.Context, time.Duration, bool) ([]Heartbeat, error) {
	return nil, nil
}

func (*election) RecordActions(context.Context, map[string]int64) error { return nil }

func (*election) Resign(context.Context, string, uuid.UUID) error { return nil }

// counted is a Postgres whose batches are those, of which the counts of some are wrong.
type counted struct {
	RecoveryStore

	batches []string
	wrong   string
	audited *dutyLog
	began   time.Time
}

func (c counted) AuditCounts(_ context.Context, after string) (string, bool, error) {
	i := slices.Index(c.batches, after) + 1
	if i == len(c.batches) {
		return "", false, nil
	}
	c.audited.names, c.audited.times = append(c.audited.names, c.batches[i]), append(c.audited.times, time.Since(c.began))
	return c.batches[i], c.batches[i] == c.wrong, nil
}

func TestTheCountsOfBatchesAreAuditedOneByOneBesideTheRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &silentWorker{counted: counted{batches: []string{"a", "b"}, wrong: "b", audited: &dutyLog{}, began: time.Now()}, takenOver: 1}
		cfg := Config{ID: uuid.New(), Store: Stores{Leader: db, Recovery: db}, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1"}, Log: zerolog.Nop()}
		cfg.Hasten(time.Second, reconcileEvery, silence)
		r, err := newReconciler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		r.duties = func(*term) []*duty { return nil }
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Hour+time.Minute)
		defer cancel()
		r.run(ctx)
		synctest.Wait()
		want := []time.Duration{10 * time.Second, 20 * time.Second, 6*time.Hour + 30*time.Second, 6*time.Hour + 40*time.Second}
		if got := db.audited; got.String() != "a b a b" || !slices.Equal(got.times, want) {
			t.Errorf("audited %s at %v, want a b a b at %v", got, got.times, want)
		}
		if !maps.Equal(db.recorded, map[string]int64{"batch_counts_corrected": 1}) {
			t.Errorf("recorded: %v", db.recorded)
		}
	})
}

// silentWorker is a Postgres where another worker is silent from the start, with jobs in its name, until they
// are taken over.
type silentWorker struct {
	election
	counted

	jobs      int
	since     time.Time
	takenOver time.Duration
	recorded  map[string]int64
}

func (s *silentWorker) Heartbeats(context.Context, time.Duration, bool) ([]Heartbeat, error) {
	if s.takenOver > 0 {
		return nil, nil
	}
	return []Heartbeat{{Worker: uuid.New(), Silent: time.Since(s.since)}}, nil
}

func (s *silentWorker) TakeOver(context.Context, uuid.UUID) (int, error) {
	s.takenOver = time.Since(s.since)
	return s.jobs, nil
}

func (s *silentWorker) RecordActions(_ context.Context, done map[string]int64) error {
	s.recorded = maps.Clone(done)
	return nil
}

func TestASilentWorkersJobsAreTakenOverThoughNobodyLeads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		leads    bool
		jobs     int
		want     time.Duration
		recorded map[string]int64
	}{
		{true, 8, silence, map[string]int64{"worker_taken_over": 1, "job_taken_over": 8}},
		{true, 0, silence, map[string]int64{"worker_taken_over": 1}},
		// So long may it take until another leads; and several may do it at once.
		{false, 8, silence + leaderTTL, map[string]int64{"worker_taken_over": 1, "job_taken_over": 8}},
		{false, 0, silence + leaderTTL, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &silentWorker{since: time.Now(), jobs: c.jobs}
			w.lost.Store(!c.leads)
			cfg := Config{
				ID: uuid.New(), Store: Stores{Leader: w, Recovery: w}, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1"}, Log: zerolog.Nop(),
			}
			cfg.Hasten(time.Second, reconcileEvery, silence)
			r, err := newReconciler(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			r.duties = func(*term) []*duty { return nil }
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r.run(ctx)
			if w.takenOver < c.want || w.takenOver > c.want+reconcileEvery {
				t.Errorf("leader: %v: %d jobs are taken over after %s, want %s and a round at most", c.leads, c.jobs, w.takenOver, c.want)
			}
			if !maps.Equal(w.recorded, c.recorded) {
				t.Errorf("leader: %v: %v is recorded, want %v", c.leads, w.recorded, c.recorded)
			}
		})
	}
}

// dutyLog holds what duties did, and when.
type dutyLog struct {
	names []string
	times []time.Duration // since the test began
}

func (l *dutyLog) String() string { return strings.Join(l.names, " ") }

// reconciling runs a reconciler with these duties for so long, and returns which of
// them ran.
func reconciling(t *testing.T, e *election, lasts time.Duration, list ...*duty) *dutyLog {
	t.Helper()
	log, began := &dutyLog{}, time.Now()
	for _, d := range list {
		run := d.run
		d.run = func(ctx context.Context) (bool, error) {
			log.names, log.times = append(log.names, d.name), append(log.times, time.Since(began))
			if run == nil {
				return false, nil
			}
			return run(ctx)
		}
	}
	cfg := Config{ID: uuid.New(), Store: Stores{Leader: e, Recovery: counted{}}, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1"}, Log: zerolog.Nop()}
	cfg.Hasten(time.Second, reconcileEvery, silence)
	r, err := newReconciler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	r.duties = func(*term) []*duty {
		var fresh []*duty
		for _, d := range list {
			mine := *d
			fresh = append(fresh, &mine)
		}
		return fresh
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	r.run(ctx)
	return log
}

func failing(context.Context) (bool, error) { return false, errors.New("away") }

func TestADutyThatPostgresRefusesEndsItsRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := false
		log := reconciling(t, &election{}, 3*time.Second, &duty{name: "a"}, &duty{name: "b", run: func(context.Context) (bool, error) {
			if !failed {
				failed = true
				return false, errors.New("away")
			}
			return false, nil
		}}, &duty{name: "c"})
		if got := log.String(); got != "a b a b c" {
			t.Errorf("%s, want c only in the second round", got)
		}
	})
}

func TestARedisThatIsAwayKeepsOnlyWhatNeedsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := reconciling(t, &election{}, 3*time.Second,
			&duty{name: "a"}, &duty{name: "r", redis: true, run: failing}, &duty{name: "s", redis: true}, &duty{name: "b"})
		if got := log.String(); got != "a r b a r b" {
			t.Errorf("%s, want a and b in each round, and s in none", got)
		}
	})
}

func TestUptimeCountsOnlyRoundsThatPostgresTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &election{}
		cfg := Config{ID: uuid.New(), Store: Stores{Leader: e, Recovery: counted{}}, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1"}, Log: zerolog.Nop()}
		cfg.Hasten(time.Second, reconcileEvery, silence)
		r, err := newReconciler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		away := false
		r.duties = func(*term) []*duty {
			return []*duty{
				{name: "p", run: func(ctx context.Context) (bool, error) {
					if away {
						return failing(ctx)
					}
					return false, nil
				}},
				{name: "r", redis: true, run: failing},
			}
		}
		rounds := func(n int) time.Duration {
			for range n {
				_ = sleep.For(t.Context(), time.Until(r.step(t.Context())))
			}
			return r.term.uptime
		}
		if got := rounds(6); got != 5*reconcileEvery {
			t.Errorf("up for %s after six good rounds, want %s", got, 5*reconcileEvery)
		}
		away = true
		rounds(1)
		away = false
		if got := rounds(1); got != 0 {
			t.Errorf("up for %s right after a failed round, want 0", got)
		}
		if got := rounds(2); got != 2*reconcileEvery {
			t.Errorf("up for %s, want %s", got, 2*reconcileEvery)
		}
	})
}

func TestTheLeaseIsRenewedThoughDutiesTakeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &election{}
		slow := func(ctx context.Context) (bool, error) {
			if !time.Now().Before(e.until) {
				t.Error("a duty runs without a lease")
			}
			return false, sleep.For(context.WithoutCancel(ctx), 3*time.Second)
		}
		log := reconciling(t, e, 31*time.Second, &duty{name: "a", run: slow}, &duty{name: "b", run: slow}, &duty{name: "c", run: slow}, &duty{name: "d", run: slow})
		if n := len(log.names); n < 8 || !slices.Contains(log.names, "d") {
			t.Errorf("%s: a long round starves its last duties", log)
		}
	})
}

func TestALeaderThatLosesItsLeaseStopsInTheMiddleOfARoundAndBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &election{}
		log := reconciling(t, e, 9*time.Second,
			&duty{name: "a", every: time.Hour, run: func(ctx context.Context) (bool, error) {
				e.lost.Store(true)
				time.AfterFunc(5*time.Second, func() { e.lost.Store(false) })
				return false, sleep.For(ctx, 4*time.Second)
			}},
			&duty{name: "b", every: time.Hour})
		if got := log.String(); got != "a a" {
			t.Errorf("%s, want b not to run without the lease, and a again in the next term", got)
		}
	})
}

func TestADutyThatHasMoreToDoComesAgainBeforeTheNextRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		log := reconciling(t, &election{}, 2500*time.Millisecond, &duty{name: "a"}, &duty{name: "b", again: 200 * time.Millisecond, run: func(context.Context) (bool, error) {
			n++
			return n < 4, nil
		}}, &duty{name: "m", every: 10 * time.Second})
		if got := log.String(); got != "a b m b b b a b" {
			t.Errorf("%s at %v", got, log.times)
		}
		if got := log.times[5]; got != 600*time.Millisecond {
			t.Errorf("the fourth run of b was after %s, want 600 ms", got)
		}
	})
}

func TestWhatRunsInTheBackgroundRunsWhileThisWorkerLeadsAndNoLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, began := &election{}, time.Now()
		var mu sync.Mutex // two terms are two goroutines
		var times []time.Duration
		wake := make(chan struct{}, 1)
		cfg := Config{
			ID: uuid.New(), Store: Stores{Leader: e, Recovery: counted{}}, Redis: asynq.RedisClientOpt{Addr: "127.0.0.1:1"}, Log: zerolog.Nop(),
			Background: []Background{{Name: "look", Every: 3 * time.Second, Wake: func(context.Context) <-chan struct{} { return wake }, Run: func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(began))
				return errors.New("not yet")
			}}},
		}
		cfg.Hasten(time.Second, reconcileEvery, silence)
		r, err := newReconciler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		r.duties = func(*term) []*duty { return nil }
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		time.AfterFunc(4*time.Second, func() { wake <- struct{}{} })
		time.AfterFunc(7*time.Second, func() { e.lost.Store(true) })
		time.AfterFunc(21*time.Second, func() { e.lost.Store(false) })
		r.run(ctx)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []time.Duration{0, 3 * time.Second, 4 * time.Second, 6 * time.Second, 22 * time.Second, 25 * time.Second, 28 * time.Second}
		if !slices.Equal(times, want) {
			t.Errorf("ran at %v, want %v", times, want)
		}
	})
}

package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/jobs"
	"oneflow/store"
)

func TestTheLeaseOfARoleHasOneHolder(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	lead := func(who uuid.UUID, ttl time.Duration) bool {
		leads, err := w.Lead(ctx, "role", who, ttl)
		if err != nil {
			t.Error(err)
		}
		return leads
	}
	for range 5 {
		var mu sync.Mutex
		var leaders []uuid.UUID
		together(12, func(int) {
			me := jobs.NewID()
			if lead(me, time.Hour) {
				mu.Lock()
				leaders = append(leaders, me)
				mu.Unlock()
			}
		})
		if len(leaders) != 1 {
			t.Fatalf("%d leaders", len(leaders))
		}
		me, other := leaders[0], jobs.NewID()
		if !lead(me, time.Hour) {
			t.Error("the leader cannot renew its lease")
		}
		if err := w.Resign(ctx, "role", other); err != nil {
			t.Error(err)
		}
		if lead(other, time.Hour) {
			t.Error("somebody else's resignation ended the lease")
		}
		if leads, err := w.Lead(ctx, "another role", other, time.Hour); err != nil || !leads {
			t.Error("a lease holds for another role", err)
		}
		if err := w.Resign(ctx, "another role", other); err != nil {
			t.Error(err)
		}
		if err := w.Resign(ctx, "role", me); err != nil {
			t.Error(err)
		}
	}
	dead := jobs.NewID()
	if !lead(dead, 50*time.Millisecond) {
		t.Fatal("nobody leads after a resignation, and nobody can")
	}
	next := jobs.NewID()
	eventually(t, "a dead leader is followed", func() bool { return lead(next, time.Hour) })
	if lead(dead, time.Hour) {
		t.Error("two leaders")
	}
}

func TestHeartbeatsAreThoseOfWorkersThatCanHoldJobs(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	idle, gone, left := jobs.NewID(), jobs.NewID(), jobs.NewID()
	for _, id := range []uuid.UUID{idle, gone, left} {
		w.register(t, id)
	}
	d := w.accept(t, 1, nil)[0]
	if _, err := w.Claim(ctx, left, jobs.Claim{ID: d.ID, Gen: 1, LeaseToken: jobs.NewID()}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uuid.UUID{gone, left} {
		if err := w.Retire(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	beats := func() map[uuid.UUID]time.Duration { return w.beats(t, time.Hour) }
	before := beats()
	if _, there := before[gone]; there || len(before) != 3 {
		t.Errorf("%v, want the live ones and the one that left a job behind", before)
	}
	if live, err := w.Heartbeats(ctx, 0, false); err != nil || len(live) != 2 {
		t.Errorf("%v, %v, want the live ones for those who do not lead", live, err)
	}
	if err := w.Heartbeat(ctx, idle); err != nil {
		t.Fatal(err)
	}
	after := beats()
	if after[idle] != 0 || after[left] <= before[left] {
		t.Errorf("a heartbeat moved %v to %v", before, after)
	}
	if n, err := w.TakeOver(ctx, left); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, there := beats()[left]; there {
		t.Error("a buried worker still counts")
	}
	// It was not dead after all.
	if err := w.Heartbeat(ctx, left); err != nil {
		t.Fatal(err)
	}
	if silent, there := beats()[left]; !there || silent != 0 {
		t.Errorf("a worker that came back counts as %t, silent for %s", there, silent)
	}
}

func TestTheFleetsClockIsNotFasterThanTimeHoweverLongItsRowIsLocked(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	const looks, rounds = 8, 6
	stores := make([]*store.Store, 4)
	for i := range stores {
		stores[i] = openStore(t, w.url)
	}
	w.beats(t, time.Hour)
	w.exec(t, `CREATE TABLE began AS SELECT uptime, advanced_at FROM fleet`)
	for range rounds {
		lock, err := w.sql.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Exec(t.Context(), `SELECT FROM fleet FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range looks * len(stores) {
			all.Go(func() {
				if _, err := stores[i%len(stores)].Heartbeats(t.Context(), time.Hour, false); err != nil {
					t.Error(err)
				}
			})
			// One after the other, so that each has begun at another time.
			eventually(t, "it waits for the row", func() bool {
				return w.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > i
			})
		}
		if err := lock.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		all.Wait()
	}
	var clock struct{ Moved, Passed float64 }
	w.one(t, &clock, `
		SELECT jsonb_build_object('Moved', extract(epoch FROM c.uptime - b.uptime), 'Passed', extract(epoch FROM clock_timestamp() - b.advanced_at))
		FROM fleet c, began b`)
	if clock.Moved > clock.Passed || clock.Moved < clock.Passed/2 {
		t.Errorf("the clock went on by %.3f s in %.3f s", clock.Moved, clock.Passed)
	}
}

// beats is the time that each worker has been silent.
func (w *database) beats(t *testing.T, most time.Duration) map[uuid.UUID]time.Duration {
	t.Helper()
	list, err := w.Heartbeats(t.Context(), most, true)
	if err != nil {
		t.Fatal(err)
	}
	out := map[uuid.UUID]time.Duration{}
	for _, b := range list {
		out[b.Worker] = b.Silent
	}
	return out
}

func TestSilenceIsCountedByAllAndStandsStillWhilePostgresIsAway(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const most = 4 * time.Second
	pass := func(d time.Duration) {
		// However long this test has taken since.
		w.exec(t, `UPDATE fleet SET advanced_at = now() - make_interval(secs => $1)`, d.Seconds())
	}
	// What the test itself takes adds up; each mistake that this looks for is larger in the end.
	near := func(got, want time.Duration) bool { return got >= want && got < want+10*time.Second }
	w.beats(t, most)
	// Whoever looks, and each only once: nobody leads for long.
	for i := range 5 {
		pass(3 * time.Second)
		observer := openStore(t, w.url)
		list, err := observer.Heartbeats(ctx, most, false)
		if want := time.Duration(i+1) * 3 * time.Second; err != nil || len(list) != 1 || !near(list[0].Silent, want) {
			t.Fatalf("%v, %v, want %s", list, err, want)
		}
	}
	// Postgres, or the whole fleet, is away for an hour: nobody could be heard.
	pass(time.Hour)
	if got := w.beats(t, most)[w.worker]; !near(got, 15*time.Second+most) {
		t.Errorf("silent for %s, want no more than %s on top of 15 s", got, most)
	}
	// The database's clock is put back.
	pass(-time.Hour)
	if got := w.beats(t, most)[w.worker]; !near(got, 15*time.Second+most) {
		t.Errorf("silent for %s, want it unchanged", got)
	}
	pass(time.Second)
	if got := w.beats(t, most)[w.worker]; !near(got, 16*time.Second+most) {
		t.Errorf("silent for %s, want a second more", got)
	}
	if err := w.Heartbeat(ctx, w.worker); err != nil {
		t.Fatal(err)
	}
	pass(time.Second)
	if got := w.beats(t, most)[w.worker]; got != 0 {
		t.Errorf("silent for %s, and it has just been heard", got)
	}
	// Many look at once: time passes once for all of them.
	pass(2 * time.Second)
	together(12, func(int) {
		if _, err := w.Heartbeats(ctx, most, false); err != nil {
			t.Error(err)
		}
	})
	if got := w.beats(t, most)[w.worker]; !near(got, 2*time.Second) {
		t.Errorf("silent for %s, want 2 s: it was counted more than once", got)
	}
}

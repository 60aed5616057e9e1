package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/jobs"
	"oneflow/worker"
)

// foreign reports whether err tells that Redis is another fleet's.
func foreign(err error) bool {
	_, is := errors.AsType[*jobs.ForeignRedisError](err)
	return is
}

// takes makes Redis the fleet's, as after it was flushed.
func (f *fleet) takes(t *testing.T) {
	t.Helper()
	id, err := f.store.FleetID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.redis.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.FlushDB(t.Context())
		p.Set(t.Context(), "oneflow:fleet", id.String(), 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := jobs.NewOwner(f.redis, f.store).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestASecondFleetOnOneRedisIsAcceptedFromAndNotDispatched(t *testing.T) {
	t.Parallel()
	first := newFleet(t)
	mine := first.enqueue(t, 3, nil)
	second := newFleetOn(t, first.redisURL)

	acc, dispatchErr, err := second.producer.Enqueue(t.Context(), "", rows(t, 2, nil))
	if err != nil || acc.New != 2 || !foreign(dispatchErr) {
		t.Fatalf("%+v, %v, %v: want 2 accepted, and nothing pushed to a Redis of another fleet", acc, dispatchErr, err)
	}
	if n := second.count(t, `SELECT count(*) FROM job_queue WHERE dispatched_at IS NOT NULL`); n != 0 {
		t.Errorf("%d jobs are marked as dispatched", n)
	}
	if live, _ := first.tasks(t); live != 3 {
		t.Errorf("Redis holds %d deliveries, want those 3 of the first fleet", live)
	}

	// No worker of the second fleet begins, and none takes what is the first's.
	w, err := worker.New(worker.Config{
		ID: jobs.NewID(), Providers: []worker.Served{{Name: "svc", Kind: "test", Concurrency: 8}}, Redis: second.opt, Store: parts(second.store),
		Generator: noGenerator{}, Artifacts: shelf{}, Prices: prices{}, Log: zerolog.Nop(), CallTimeout: time.Minute, CutOff: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); !foreign(err) {
		t.Errorf("the worker ended with %v", err)
	}
	first.worker(t, serve(answers), nil)
	for _, id := range mine {
		first.await(t, id, jobs.Succeeded)
	}

	// Adopted on purpose, it is the second's.
	before, err := jobs.NewOwner(second.redis, second.store).Adopt(t.Context())
	if err != nil || before == "" {
		t.Fatalf("adopted from %q, %v", before, err)
	}
	second.worker(t, serve(answers), nil)
	second.awaitAll(t, jobs.Succeeded)
}

func TestAFleetWhoseRedisWasTakenLeavesTheOthersDeliveriesAlone(t *testing.T) {
	t.Parallel()
	first := newFleet(t)
	s := serve(answers)
	first.worker(t, s, nil)
	first.enqueue(t, 1, nil)
	first.awaitAll(t, jobs.Succeeded)

	second := newFleetOn(t, first.redisURL)
	second.takes(t)
	// Its deliveries reach the first fleet's worker before that knows, and after.
	second.enqueue(t, 50, nil)
	eventually(t, "the first fleet's worker serves nothing", func() bool { return len(first.shown(t)) == 0 })
	second.enqueue(t, 50, func(r *jobs.New) { r.Request.Prompt += " more" })
	if live, archived := second.tasks(t); live != 100 || archived != 0 {
		t.Errorf("%d of 100 deliveries are left in Redis, %d put aside", live, archived)
	}
	waiting := rows(t, 1, func(r *jobs.New) { r.Request.Prompt = "of the first" })
	if _, dispatchErr, err := first.producer.Enqueue(t.Context(), "", waiting); err != nil || !foreign(dispatchErr) {
		t.Errorf("%v, %v", dispatchErr, err)
	}
	second.worker(t, serve(answers), nil)
	second.awaitAll(t, jobs.Succeeded)
	if n := second.count(t, `SELECT max(gen) FROM job_states`); n != 1 {
		t.Errorf("a delivery of the second fleet was lost and made %d times", n)
	}

	// Taken back on purpose: what waits is served without a restart.
	if _, err := jobs.NewOwner(first.redis, first.store).Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.awaitAll(t, jobs.Succeeded)
	if n := len(s.made()); n != 2 {
		t.Errorf("the first fleet made %d calls, want those of its own 2 jobs", n)
	}
}

// noGenerator must not be asked.
type noGenerator struct{ worker.Generator }

// Two producers that come first at once cannot both have it.
func TestOneOfManyFleetsGetsARedisThatNobodyHas(t *testing.T) {
	t.Parallel()
	first := newFleet(t)
	fleets := []*fleet{first}
	for range 3 {
		fleets = append(fleets, newFleetOn(t, first.redisURL))
	}
	got := make(chan error, len(fleets))
	for _, f := range fleets {
		go func() { got <- jobs.NewOwner(f.redis, f.store).Check(context.WithoutCancel(t.Context())) }()
	}
	owners := 0
	for range fleets {
		if err := <-got; err == nil {
			owners++
		} else if !foreign(err) {
			t.Error(err)
		}
	}
	if owners != 1 {
		t.Errorf("%d fleets have one Redis", owners)
	}
}

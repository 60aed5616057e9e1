package worker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// victimVariable makes the test binary a worker that a poison job kills.
const victimVariable = "ONEFLOW_TEST_VICTIM"

// killer is a generator whose process dies of a job's prompt. The innocent wait
// before their calls, so that they are there when it happens.
type killer struct{ claimed *atomic.Int64 }

// follower never leads: the next leader would have to wait for its lease to end.
type follower struct{ worker.LeaderStore }

func (follower) Lead(context.Context, string, uuid.UUID, time.Duration) (bool, error) {
	return false, nil
}

func (killer) Resume(context.Context, string, providers.Request, string, providers.Call) error {
	return nil
}

func (k killer) Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error) {
	k.claimed.Add(1)
	defer k.claimed.Add(-1)
	if req.Prompt == "secret prompt 0" {
		// Not before its neighbours are there, if it has any.
		for start := time.Now(); k.claimed.Load() < 4 && time.Since(start) < time.Second; {
			if err := aMoment(ctx); err != nil {
				return providers.Response{}, err
			}
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
		if err := aMoment(ctx); err != nil {
			return providers.Response{}, err
		}
	}
	call, err := j.Begin(ctx, route.Provider, req)
	if err != nil {
		return providers.Response{}, err
	}
	res, _ := answers(ctx, 1, req)
	return res, call.End(ctx, res, nil)
}

// victim runs a worker until somebody or something kills it.
func victim() error {
	ctx := context.Background()
	db, err := store.Open(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	o, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	cfg := worker.Config{
		ID: jobs.NewID(), Providers: []worker.Served{{Name: "svc", Kind: "test", Concurrency: 8}}, Store: parts(db),
		Redis:     asynq.RedisClientOpt{Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB},
		Generator: killer{&atomic.Int64{}}, Artifacts: shelf{}, Prices: prices{}, Log: zerolog.Nop(), CallTimeout: 10 * time.Second, CutOff: func() {},
	}
	cfg.Store.Leader = follower{db}
	cfg.Hasten(100*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond)
	w, err := worker.New(cfg)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func TestAPoisonJobIsQuarantinedAndItsNeighboursAreNot(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	// A leader that does not die, so that the test need not wait for the next.
	f.worker(t, serve(answers), func(c *worker.Config) {
		c.Providers[0].Name = "other"
		c.Hasten(100*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond)
	})
	eventually(t, "it leads", func() bool { return f.count(t, `SELECT count(*) FROM leaders`) == 1 })
	const n = 5
	// In one queue and one worker all the time: nobody escapes the crashes.
	ids := f.enqueue(t, n, nil)
	ctx, stop := context.WithCancel(t.Context())
	deaths := make(chan int, 1)
	go func() {
		died := 0
		defer func() { deaths <- died }()
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), victimVariable+"=1", "DATABASE_URL="+f.url, "REDIS_URL="+f.redisURL)
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil && ctx.Err() == nil {
				if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Errorf("the worker ended with %v", err)
					return
				}
				died++
			}
		}
	}()
	defer func() {
		for _, id := range ids {
			t.Logf("%+v", f.job(t, id))
		}
	}()
	eventually(t, "all jobs have ended", func() bool { return f.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`) == 0 })
	stop()
	if died := <-deaths; died != jobs.MaxCrashes {
		t.Errorf("%d workers died, want %d", died, jobs.MaxCrashes)
	}
	if got := f.job(t, ids[0]); got.State != jobs.Failed || got.Class != "poison" || got.Crashes != jobs.MaxCrashes {
		t.Errorf("the poison: %+v", got)
	}
	suspects := 0
	for _, id := range ids[1:] {
		got := f.job(t, id)
		if got.State != jobs.Succeeded || got.Cost != 10 || !slices.Equal(got.Outcomes, []string{"succeeded"}) {
			t.Errorf("a neighbour: %+v", got)
		}
		if got.Crashes == jobs.SuspectCrashes {
			suspects++
		}
	}
	if suspects == 0 {
		t.Error("no neighbour was a suspect too: this shows nothing")
	}
}

func TestASuspectRunsAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var inFlight, most atomic.Int64
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		now := inFlight.Add(1)
		defer inFlight.Add(-1)
		most.Store(max(most.Load(), now))
		if req.Prompt == fmt.Sprint("secret prompt ", 20) && f.count(t, `SELECT count(*) FROM job_states WHERE state = 'running'`) != 1 {
			t.Error("others are claimed while a suspect runs")
		}
		if err := aMoment(ctx); err != nil {
			return providers.Response{}, err
		}
		return answers(ctx, n, req)
	})
	ids := f.enqueue(t, 60, nil)
	f.exec(t, fmt.Sprintf(`UPDATE job_states SET crashes = %d WHERE job_id = '%s'`, jobs.SuspectCrashes, ids[20]))
	f.worker(t, s, nil)
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	if most.Load() < 2 {
		t.Error("nothing ran side by side: this shows nothing")
	}
	if got := f.job(t, ids[20]); got.Attempt != 1 || got.Gen != 1 {
		t.Errorf("%+v, want its given-back claim not to count", got)
	}
}

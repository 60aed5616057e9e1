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

// poisoned is the number of jobs in the queue of a poison job, with it.
const poisoned = 5

// killer is a generator whose process dies of a job's prompt. Where it gathers, it does not
// before all are there, and the others wait for that.
type killer struct {
	claimed *atomic.Int64
	gathers bool
}

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
	kills := req.Prompt == "secret prompt 0"
	for k.gathers && (!kills || k.claimed.Load() < poisoned) {
		if err := aMoment(ctx); err != nil {
			return providers.Response{}, err
		}
	}
	if kills {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
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
		Generator: killer{&atomic.Int64{}, os.Getenv(victimVariable) == "gathers"}, Artifacts: shelf{}, Prices: prices{}, Log: zerolog.Nop(), CallTimeout: time.Minute, CutOff: func() {},
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
		c.Hasten(100*time.Millisecond, 50*time.Millisecond, 5*time.Second) // a busy machine is no silence
	})
	eventually(t, "it leads", func() bool { return f.count(t, `SELECT count(*) FROM leaders`) == 1 })
	// In one queue and one worker all the time: nobody escapes the crashes.
	ids := f.enqueue(t, poisoned, nil)
	ctx, stop := context.WithCancel(t.Context())
	deaths := make(chan int, 1)
	go func() {
		died := 0
		defer func() { deaths <- died }()
		for ctx.Err() == nil {
			how := "gathers"
			if died >= jobs.LoneCrashes {
				how = "alone" // each of them is by now
			}
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), victimVariable+"="+how, "DATABASE_URL="+f.url, "REDIS_URL="+f.redisURL)
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
	for _, id := range ids[1:] {
		got := f.job(t, id)
		if got.State != jobs.Succeeded || got.Cost != 10 || !slices.Equal(got.Outcomes, []string{"succeeded"}) || got.Crashes != jobs.LoneCrashes {
			t.Errorf("a neighbour: %+v", got)
		}
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

// After two kills of a busy worker there are many.
func TestSuspectsRunBesideEachOtherAndNothingBesideThem(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var together atomic.Int64
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		var place int
		if _, err := fmt.Sscanf(req.Prompt, "secret prompt %d", &place); err != nil {
			t.Error(err)
		}
		if place < 20 {
			running := f.count(t, `SELECT count(*) FROM job_states WHERE state = 'running'`)
			together.Store(max(together.Load(), int64(running)))
			if place == 0 && running != 1 {
				t.Errorf("%d jobs run while one does that has to be alone", running)
			}
			if others := f.count(t, fmt.Sprintf(`SELECT count(*) FROM job_states WHERE state = 'running' AND crashes < %d`, jobs.SuspectCrashes)); others != 0 {
				t.Errorf("%d jobs that nobody suspects run while suspects do", others)
			}
		}
		if err := aMoment(ctx); err != nil {
			return providers.Response{}, err
		}
		return answers(ctx, n, req)
	})
	ids := f.enqueue(t, 60, nil)
	for i, id := range ids[:20] {
		crashes := jobs.SuspectCrashes
		if i == 0 {
			crashes = jobs.LoneCrashes
		}
		f.exec(t, fmt.Sprintf(`UPDATE job_states SET crashes = %d WHERE job_id = '%s'`, crashes, id))
	}
	f.worker(t, s, func(c *worker.Config) { c.Providers[0].Concurrency = 20 })
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	if n := together.Load(); n < 2 || n > 8 {
		t.Errorf("%d suspects ran side by side, want 2 to 8", n)
	}
}

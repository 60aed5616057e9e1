// Package worker runs jobs: it takes deliveries from asynq, claims their jobs, pushes
// them through the generator, and commits what came of it; and one worker at a time
// leads, and puts right what crashes and outages leave behind.
//
// Each role has a file of its own: handler, journal, spool, servers, capacity,
// heartbeat, reconciler, audit. The package declares, in small interfaces, what it
// needs of a store and of the thing that generates; commands hand these in. It may
// import jobs, billing and providers, and never store or policy.
package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/jobs"
	"oneflow/providers"
)

// Config holds the parts of a worker. All fields are needed, but for those
// with a default.
type Config struct {
	// ID names this worker; NewID makes one.
	ID uuid.UUID
	// Providers are the providers to serve, each with an asynq.Server of its own, as
	// long as Serves says so.
	Providers []Served
	// Serves reports whether a provider can be served now, as when it has an API key.
	// It may change at any time, and must not wait. Default: each can.
	Serves func(provider string) bool
	// KeyEnds returns the last characters, four at most, of each key of a provider. Default:
	// none are shown.
	KeyEnds func(provider string) []string
	// Changed wakes the worker to ask Serves, KeyEnds and Limits again at once; it does so every
	// few seconds by itself. Default: nothing does.
	Changed <-chan struct{}
	// Redis is the server that deliveries come from.
	Redis     asynq.RedisConnOpt
	Store     Stores
	Generator Generator
	Artifacts ArtifactStore
	Prices    Prices
	Log       zerolog.Logger
	// Limits are a provider's limits in force, which may change at any time; it
	// must not wait. Default: the requests a minute in Providers.
	Limits func(provider string) providers.Limits
	// Class returns the class of models with which the calls of a model are counted, and the
	// limits in force of all such calls; an empty class: all calls of the provider are counted
	// together. It must not wait. Default: so they are.
	Class func(provider, model string) (class string, limits providers.Limits)
	// CallTimeout is the time that one provider call may take. It is written into the
	// ledger; the Generator keeps it.
	CallTimeout time.Duration
	// Drain is the time that calls in flight may go on after the worker was asked to
	// stop. Default: 30 s.
	Drain time.Duration
	// State is the folder in which outcomes of calls are kept that could not be
	// recorded before the worker had to stop; the next worker that has it records
	// them. Empty: there is none, and they are lost.
	State string
	// CutOff is called when Drain is over: it must end all calls.
	CutOff func()
	// Version says which build it is, for people. Default: none.
	Version string
	// AlertsURL is the URL that is told of alerts. Empty: none is.
	AlertsURL string
	// Tracer is told of calls and jobs that have ended. Default: nobody is.
	Tracer Tracer
	// Background holds the functions that run while this worker leads. Default: none.
	Background []Background
	// Follow returns what makes the next step's job of a job's answer, in the commit of its
	// success; nil: the job has none. It is asked before the first call, and what it returns
	// never fails: a child that cannot be made is one that failed. Default: no job has one.
	Follow func(ctx context.Context, job jobs.Job) (func(ctx context.Context, res providers.Response, stored []jobs.Artifact) *jobs.Child, error)

	// owner knows whether Redis is this fleet's.
	owner *jobs.Owner
	// pace is nil but in tests that cannot wait.
	pace *pace
}

// pace holds the intervals of a worker's clockwork.
type pace struct {
	heartbeat time.Duration
	reconcile time.Duration
	// regulate is the interval at which a worker looks whether its concurrency still fits.
	regulate time.Duration
	// silence is the time that a worker may miss its heartbeats before its jobs are
	// taken over.
	silence time.Duration
	// backoff is the wait before the queue tries again after so many attempts.
	backoff func(attempt int) time.Duration
	// pushing is the time that a marked delivery is left alone by the audit.
	pushing time.Duration
	// unclaimed is the time that a task may be active without a claim of its job; longer
	// than shortWait.
	unclaimed time.Duration
	// idle is the time without work of a provider after which its Servers leave.
	idle time.Duration
	// pause is the wait while an account or a key is not usable.
	pause time.Duration
}

// Served is a provider that a worker serves.
type Served struct {
	Name string
	// Kind names the client that speaks to it, and BaseURL the address that it is called at.
	Kind, BaseURL string
	// Limits are the configured ones, defaults included.
	Limits providers.Limits
	// Written are the dimensions that stand in the configuration file: what is
	// learned may only lower them.
	Written []providers.Dimension
	// Simulated reports whether its calls cost no real money: the mock, and the
	// fakes of a development stack.
	Simulated bool
	// Concurrency is the number of its jobs that run at once in one worker, on top of
	// which a quarter more, at least 2, serve the high lane alone. Default: what
	// NewPlan makes of the limits.
	Concurrency int
	// Window is the number of tasks that each of its queues may hold in Redis; what is
	// beyond waits in Postgres. Default: Window of the limit in force.
	Window int
	// Chunk is the number of jobs of the bulk lane that one task carries, which a worker
	// finds for itself. Default: 1.
	Chunk int
	// ByModel reports whether limits are counted by model, see Config.Class: then each model has
	// queues of its own, and so many of its jobs in a worker's hand that others find room.
	ByModel bool
	// Models are those that a worker has met where ByModel holds; it finds them for itself.
	Models map[string]ServedModel
	// Min and Max bound the concurrency that follows from the limits. Default: 1
	// and 256.
	Min, Max int
	// Latency is the time that a call is expected to take, until the ledger has seen
	// some. Default: 1 s.
	Latency time.Duration
	// KeyEnds are the last characters of its keys, four of each at most, for people.
	KeyEnds []string
}

// ServedModel is a model that is limited by itself.
type ServedModel struct {
	// Limits are those in force of all its calls.
	Limits providers.Limits
	// Window and Chunk are those of its queues, as in Served.
	Window, Chunk int
}

// Times of a worker's life.
const (
	heartbeatEvery = 5 * time.Second
	reconcileEvery = 2 * time.Second
	silence        = jobs.Silence
	pushing        = 10 * time.Second
	unclaimed      = 10 * time.Second
	// pauseWait is the time that a job waits while an account or a key is not usable.
	pauseWait = time.Minute
	// writeGrace is the time that outcomes may still be recorded after calls were
	// cut off.
	writeGrace = 5 * time.Second
	// joinGrace is the time that handlers may take on top to end, once nothing can be
	// recorded any more.
	joinGrace = 5 * time.Second
)

// Worker runs jobs.
type Worker struct {
	cfg Config
}

// New checks the configuration and makes a Worker.
func New(cfg Config) (*Worker, error) {
	switch {
	case cfg.ID == uuid.Nil:
		return nil, errors.New("worker: ID is missing")
	case len(cfg.Providers) == 0:
		return nil, errors.New("worker: Providers names no provider to serve")
	case cfg.Redis == nil, !cfg.Store.complete(), cfg.Generator == nil, cfg.Artifacts == nil, cfg.Prices == nil, cfg.CutOff == nil:
		return nil, errors.New("worker: Redis, Store, Generator, Artifacts, Prices and CutOff are all needed")
	case cfg.CallTimeout <= 0:
		return nil, fmt.Errorf("worker: CallTimeout must be positive, got %s", cfg.CallTimeout)
	case cfg.Drain < 0:
		return nil, fmt.Errorf("worker: Drain must not be negative, got %s", cfg.Drain)
	}
	for _, p := range cfg.Providers {
		switch {
		case p.Concurrency < 0:
			return nil, fmt.Errorf("worker: provider %s: Concurrency must not be negative, got %d", p.Name, p.Concurrency)
		case p.Min < 0, p.Max < 0, p.Max > 0 && p.Min > p.Max:
			return nil, fmt.Errorf("worker: provider %s: Min and Max must be 0 or a range, got %d to %d", p.Name, p.Min, p.Max)
		}
	}
	if cfg.Drain == 0 {
		cfg.Drain = 30 * time.Second
	}
	if cfg.pace == nil {
		cfg.pace = &pace{
			heartbeat: heartbeatEvery, reconcile: reconcileEvery, regulate: regulateEvery, silence: silence, backoff: backoff, pause: pauseWait,
			pushing: pushing, unclaimed: unclaimed, idle: idleAfter,
		}
	}
	if cfg.Limits == nil {
		limits := make(map[string]providers.Limits, len(cfg.Providers))
		for _, p := range cfg.Providers {
			limits[p.Name] = p.Limits
		}
		cfg.Limits = func(provider string) providers.Limits { return limits[provider] }
	}
	if cfg.Class == nil {
		cfg.Class = func(string, string) (string, providers.Limits) { return "", providers.Limits{} }
	}
	if cfg.Serves == nil {
		cfg.Serves = func(string) bool { return true }
	}
	if cfg.KeyEnds == nil {
		cfg.KeyEnds = func(string) []string { return nil }
	}
	return &Worker{cfg: cfg}, nil
}

// byModel reports whether limits of a provider are counted by model.
func (c *Config) byModel(provider string) bool {
	i := slices.IndexFunc(c.Providers, func(s Served) bool { return s.Name == provider })
	return i >= 0 && c.Providers[i].ByModel
}

func (c *Config) baseURL(provider string) string {
	i := slices.IndexFunc(c.Providers, func(s Served) bool { return s.Name == provider })
	if i < 0 {
		return ""
	}
	return c.Providers[i].BaseURL
}

// Run serves until ctx ends, then drains: it takes no more jobs, lets calls end
// within Drain, cuts off the rest and records them as what they are, and leaves. It
// does not begin on a Redis of another fleet: that is a *jobs.ForeignRedisError.
func (w *Worker) Run(ctx context.Context) error {
	// The worker's own contexts outlive ctx: see handler.
	alive, died := context.WithCancel(context.WithoutCancel(ctx))
	defer died()
	writing, stopWriting := context.WithCancel(alive)
	defer stopWriting()

	reconciler, err := newReconciler(w.cfg)
	if err != nil {
		return err
	}
	defer reconciler.close()
	w.cfg.owner = reconciler.owner
	h := newHandler(ctx, writing, w.cfg)
	h.dispatcher = jobs.NewDispatcher(reconciler.redis, w.cfg.Store.Deliveries)
	// Before anything is taken over or called again: it may be paid for already.
	h.spool.recover(ctx, w.cfg.Store.Work)
	h.marks.recover(ctx, w.cfg.Store.Work)
	h.spool.remind()
	defer func() { _ = h.spool.close() }() // each line is on the disk
	s := newServers(w.cfg, h.process)
	waker := newWaker(s, reconciler.redis)
	waker.compareClocks(ctx)
	if err := w.cfg.Store.Presence.Warm(ctx); err != nil && ctx.Err() == nil {
		w.cfg.Log.Warn().Err(err).Msg("the database is not ready: the first jobs wait for it")
	}
	regulator := newRegulator(w.cfg, s)
	if err := regulator.start(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil // it was asked to stop before it had started
		}
		return errors.Join(err, s.shutdown(alive), w.cfg.Store.Presence.Retire(alive, w.cfg.ID))
	}
	var background sync.WaitGroup
	background.Go(func() { w.beat(alive, h.held) })
	background.Go(func() { h.spool.watch(alive, w.cfg.Store.Work) })
	background.Go(func() { h.marks.watch(alive, w.cfg.Store.Work) })
	background.Go(func() { reconciler.run(ctx) })
	background.Go(func() { regulator.run(ctx) })
	background.Go(func() { waker.run(ctx) })
	w.cfg.Log.Info().Stringer("worker", w.cfg.ID).Msg("worker started")

	<-ctx.Done()
	w.cfg.Log.Info().Dur("drain", w.cfg.Drain).Msg("stopping: no new jobs, waiting for calls in flight")
	cutOff := time.AfterFunc(w.cfg.Drain, func() {
		w.cfg.Log.Warn().Msg("drain deadline: cutting off the calls in flight")
		w.cfg.CutOff()
		time.AfterFunc(writeGrace, stopWriting)
	})
	defer cutOff.Stop()
	draining, cancel := context.WithTimeout(alive, w.cfg.Drain+writeGrace+joinGrace)
	defer cancel()
	if err = s.shutdown(draining); err == nil {
		h.marks.close()
	}

	// No heartbeat after the retirement: it would take it back.
	died()
	background.Wait()
	retireCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeGrace)
	defer cancel()
	if retireErr := w.cfg.Store.Presence.Retire(retireCtx, w.cfg.ID); retireErr != nil {
		w.cfg.Log.Warn().Err(retireErr).Msg("worker not deregistered: its jobs are taken over after its heartbeats stop")
	}
	w.cfg.Log.Info().Stringer("worker", w.cfg.ID).Msg("worker stopped")
	return err
}

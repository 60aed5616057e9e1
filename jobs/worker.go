package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// WorkerConfig is what a worker is made of. All fields are needed, but for those
// with a default.
type WorkerConfig struct {
	// ID names this worker; NewID makes one.
	ID uuid.UUID
	// Providers are the providers to serve, each with an asynq.Server of its own.
	Providers []Served
	// Redis is where deliveries come from.
	Redis asynq.RedisConnOpt
	Store interface {
		WorkStore
		FleetStore
		DispatchStore
	}
	Generator Generator
	Artifacts ArtifactStore
	Prices    Prices
	Log       zerolog.Logger
	// CallTimeout is how long one provider call may take. It is written into the
	// ledger; the Generator keeps it.
	CallTimeout time.Duration
	// Drain is how long calls in flight may go on after the worker was asked to
	// stop. Default: 30 s.
	Drain time.Duration
	// State is the folder in which outcomes of calls are kept that could not be
	// recorded before the worker had to stop; the next worker that has it records
	// them. Empty: there is none, and they are lost.
	State string
	// CutOff is called when Drain is over: it must end all calls.
	CutOff func()

	// pace is nil but in tests that cannot wait.
	pace *pace
}

// pace is how fast a worker's clockwork goes.
type pace struct {
	heartbeat time.Duration
	reconcile time.Duration
	// silence is how long a worker may miss its heartbeats before its jobs are
	// taken over.
	silence time.Duration
	// backoff is the wait before the queue tries again after so many attempts.
	backoff func(attempt int) time.Duration
	// pushing is how long a marked delivery is left alone by the audit.
	pushing time.Duration
	// pause is the wait while an account or a key is not usable.
	pause time.Duration
}

// Served is a provider that a worker serves.
type Served struct {
	Name string
	// Kind is which client speaks to it.
	Kind string
	// RPM is its limit in requests a minute; nil or 0: none.
	RPM *int
	// Concurrency is how many of its jobs run at once here.
	Concurrency int
	// Window is how many tasks each of its queues may hold in Redis; what is
	// beyond waits in Postgres. 0: Window(RPM).
	Window int
}

// DispatchWindow is how many tasks each of its queues may hold in Redis.
func (s Served) DispatchWindow() int {
	switch {
	case s.Window > 0:
		return s.Window
	case s.RPM == nil:
		return Window(0)
	}
	return Window(*s.RPM)
}

// Times of a worker's life.
const (
	heartbeatEvery = 5 * time.Second
	reconcileEvery = 2 * time.Second
	silence        = 15 * time.Second
	pushing        = 10 * time.Second
	// pauseWait is how long a job waits while an account or a key is not usable.
	pauseWait = time.Minute
	// writeGrace is how long outcomes may still be recorded after calls were
	// cut off.
	writeGrace = 5 * time.Second
	// requeueGrace is what asynq gets on top, so that it never gives a job
	// to somebody else while its handler still runs.
	requeueGrace = 5 * time.Second
)

// Worker runs jobs.
type Worker struct {
	cfg WorkerConfig
}

// NewWorker checks the configuration and makes a Worker.
func NewWorker(cfg WorkerConfig) (*Worker, error) {
	switch {
	case cfg.ID == uuid.Nil:
		return nil, errors.New("worker: ID is missing")
	case len(cfg.Providers) == 0:
		return nil, errors.New("worker: Providers names no provider to serve")
	case cfg.Redis == nil, cfg.Store == nil, cfg.Generator == nil, cfg.Artifacts == nil, cfg.Prices == nil, cfg.CutOff == nil:
		return nil, errors.New("worker: Redis, Store, Generator, Artifacts, Prices and CutOff are all needed")
	case cfg.CallTimeout <= 0:
		return nil, fmt.Errorf("worker: CallTimeout must be positive, got %s", cfg.CallTimeout)
	case cfg.Drain < 0:
		return nil, fmt.Errorf("worker: Drain must not be negative, got %s", cfg.Drain)
	}
	for _, p := range cfg.Providers {
		if p.Concurrency < 1 {
			return nil, fmt.Errorf("worker: provider %s: Concurrency must be positive, got %d", p.Name, p.Concurrency)
		}
	}
	if cfg.Drain == 0 {
		cfg.Drain = 30 * time.Second
	}
	if cfg.pace == nil {
		cfg.pace = &pace{heartbeat: heartbeatEvery, reconcile: reconcileEvery, silence: silence, backoff: backoff, pause: pauseWait, pushing: pushing}
	}
	return &Worker{cfg: cfg}, nil
}

// Run serves until ctx ends, then drains: it takes no more jobs, lets calls end
// within Drain, cuts off the rest and records them as what they are, and leaves.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.register(ctx); err != nil {
		return err
	}
	// The worker's own contexts outlive ctx: see handler.
	alive, died := context.WithCancel(context.WithoutCancel(ctx))
	defer died()
	writing, stopWriting := context.WithCancel(alive)
	defer stopWriting()

	h := newHandler(w.cfg, ctx, writing)
	// Before anything is taken over or called again: it may be paid for already.
	h.spool.recover(ctx, w.cfg.Store)
	h.spool.remind()
	defer func() { _ = h.spool.close() }() // each line is on the disk
	servers, err := w.start(h)
	if err != nil {
		return errors.Join(err, w.cfg.Store.Retire(alive, w.cfg.ID))
	}
	var background sync.WaitGroup
	background.Go(func() { w.beat(alive, h.held) })
	background.Go(func() { h.spool.watch(alive, w.cfg.Store) })
	background.Go(func() { newReconciler(w.cfg).run(ctx) })
	w.cfg.Log.Info().Stringer("worker", w.cfg.ID).Msg("worker started")

	<-ctx.Done()
	w.cfg.Log.Info().Dur("drain", w.cfg.Drain).Msg("stopping: no new jobs, waiting for calls in flight")
	cutOff := time.AfterFunc(w.cfg.Drain, func() {
		w.cfg.Log.Warn().Msg("drain deadline: cutting off the calls in flight")
		w.cfg.CutOff()
		time.AfterFunc(writeGrace, stopWriting)
	})
	defer cutOff.Stop()
	patience, given := context.WithTimeout(alive, w.cfg.Drain+writeGrace+requeueGrace)
	defer given()
	var g errgroup.Group
	for _, s := range servers {
		g.Go(func() error { s.Shutdown(); return nil })
	}
	err = g.Wait()
	// A Server leaves handlers behind whose task it has lost, such as while Redis
	// is away; what they have in hand is paid for.
	h.leave(patience)

	// No heartbeat after the retirement: it would take it back.
	died()
	background.Wait()
	retireCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeGrace)
	defer cancel()
	if retireErr := w.cfg.Store.Retire(retireCtx, w.cfg.ID); retireErr != nil {
		w.cfg.Log.Warn().Err(retireErr).Msg("left without saying so: others notice its silence")
	}
	w.cfg.Log.Info().Stringer("worker", w.cfg.ID).Msg("worker stopped")
	return err
}

func (w *Worker) register(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return w.cfg.Store.Register(ctx, Presence{ID: w.cfg.ID, Host: host, PID: os.Getpid(), Providers: w.cfg.Providers})
}

// start starts a Server for each provider.
func (w *Worker) start(h *handler) ([]*asynq.Server, error) {
	servers := make([]*asynq.Server, 0, len(w.cfg.Providers))
	for _, p := range w.cfg.Providers {
		s := asynq.NewServer(w.cfg.Redis, asynq.Config{
			Concurrency: p.Concurrency,
			Queues: map[string]int{
				QueueName(p.Name, High):    6,
				QueueName(p.Name, Default): 3,
				QueueName(p.Name, Bulk):    1,
			},
			// Not to end before the handler: asynq would not wait for it.
			BaseContext:              func() context.Context { return context.WithoutCancel(h.writing) },
			RetryDelayFunc:           retryDelay,
			IsFailure:                isFailure,
			Logger:                   asynqLog{w.cfg.Log.With().Str("provider", p.Name).Logger()},
			LogLevel:                 asynq.WarnLevel,
			ShutdownTimeout:          w.cfg.Drain + writeGrace + requeueGrace,
			TaskCheckInterval:        100 * time.Millisecond,
			DelayedTaskCheckInterval: 500 * time.Millisecond,
		})
		if err := s.Start(h); err != nil {
			for _, started := range servers {
				started.Shutdown()
			}
			return nil, fmt.Errorf("worker: start the server of provider %s: %w", p.Name, err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// beat renews the heartbeat until ctx ends, and gives jobs back that Postgres
// says this worker runs, but that no handler has in hand.
func (w *Worker) beat(ctx context.Context, held *sync.Map) {
	var missed map[uuid.UUID]bool
	for wait(ctx, w.cfg.pace.heartbeat) == nil {
		err := w.cfg.Store.Heartbeat(ctx, w.cfg.ID)
		if err == nil {
			missed, err = w.takeBack(ctx, held, missed)
		}
		if err != nil && ctx.Err() == nil {
			w.cfg.Log.Warn().Err(err).Msg("heartbeat failed")
		}
	}
}

// takeBack gives back what nobody has had in hand for two heartbeats: a handler
// that could not record its end has left it behind. It returns what to look at
// the next time.
func (w *Worker) takeBack(ctx context.Context, held *sync.Map, missed map[uuid.UUID]bool) (map[uuid.UUID]bool, error) {
	leases, err := w.cfg.Store.Leases(ctx, w.cfg.ID)
	if err != nil {
		return nil, err
	}
	unheld := map[uuid.UUID]bool{}
	var lost []uuid.UUID
	for _, l := range leases {
		if _, ok := held.Load(l); ok {
			continue
		}
		unheld[l] = true
		if missed[l] {
			lost = append(lost, l)
		}
	}
	if len(lost) == 0 {
		return unheld, nil
	}
	n, err := w.cfg.Store.TakeBack(ctx, w.cfg.ID, lost)
	w.cfg.Log.Warn().Int("jobs", n).Msg("took back jobs whose end could not be recorded")
	return unheld, err
}

func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if r, ok := errors.AsType[*requeue](err); ok {
		return r.after
	}
	return shortWait
}

func isFailure(err error) bool {
	r, ok := errors.AsType[*requeue](err)
	return !ok || r.failure
}

// asynqLog hands asynq's own messages, which hold no payloads, to our log.
type asynqLog struct{ log zerolog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug().Msg("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info().Msg("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn().Msg("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error().Msg("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error().Msg("asynq: " + fmt.Sprint(args...)) }

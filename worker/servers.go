package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/jobs"
)

// servers are a worker's asynq.Servers. Each provider has two: one that serves
// all its lanes, weighted, and a small one for the high lane alone, since
// handlers of bulk jobs that wait for a limit may fill every slot of the first.
//
// asynq has no blocking read: a Server that has nothing to do asks Redis again and
// again, and each provider's does. So a provider's Servers leave when it has had no
// work for a while, and start again when there is some: see wake.
//
// asynq cannot change a Server's concurrency, so the Server is replaced: the new
// one starts, and the old one takes no more jobs and leaves when its last handler
// has ended. Meanwhile both together may run more than either: the limiter holds
// the limits.
type servers struct {
	cfg     Config
	process func(t *asynq.Task, in *concurrency) error

	mu        sync.Mutex
	stopped   bool
	providers map[string]*providerServers // by provider
	// leaving counts the Servers that are being shut down, and handlers the
	// handlers, which asynq does not always wait for.
	leaving  sync.WaitGroup
	handlers sync.WaitGroup
	// met is sent to when a worker meets a class of models.
	met chan struct{}
	// ahead is the time by which this machine's clock is ahead of Redis', where that matters.
	ahead atomic.Int64
}

// providerServers are the two Servers of one provider.
type providerServers struct {
	// plan holds the sizes that they start with; nil: the provider is not served.
	plan *Plan
	// running counts the jobs in hand, and worked is the time at which there was one last.
	running int
	worked  time.Time

	// classes are those of the provider's models; nil: its calls are counted together.
	classes *classes

	all, high serverSlot
	// leaving is the number of replaced Servers that still have handlers.
	leaving int
}

// serverSlot holds one Server at a time.
type serverSlot struct {
	server *asynq.Server
	size   int
	places *places
}

func newServers(cfg Config, process func(*asynq.Task, *concurrency) error) *servers {
	return &servers{cfg: cfg, process: process, providers: map[string]*providerServers{}, met: make(chan struct{}, 1)}
}

// classesOf returns the classes of a provider's models; nil where its calls are counted
// together, or it is not served.
func (s *servers) classesOf(provider string) *classes {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.providers[provider]; ok {
		return d.classes
	}
	return nil
}

// resize gives a provider as many handlers as planned, from when it has work. It
// changes nothing while Servers that were replaced before still have handlers, so
// that there are at most two for a slot, nor once the worker stops.
func (s *servers) resize(p Plan) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.providers[p.Provider]
	if !ok {
		d = &providerServers{}
		if s.cfg.byModel(p.Provider) {
			d.classes = newClasses(s.met)
		}
		s.providers[p.Provider] = d
	}
	if s.stopped || d.leaving > 0 && d.all.server != nil {
		return false, nil
	}
	if d.all.server == nil {
		changed = d.plan == nil || *d.plan != p
		d.plan = &p
		return changed, nil
	}
	d.plan = &p
	return s.start(d)
}

// start starts the Servers of a provider as planned, in place of those of another
// size.
func (s *servers) start(d *providerServers) (changed bool, err error) {
	p := *d.plan
	lanes := map[string]int{
		jobs.QueueName(p.Provider, jobs.High):    6,
		jobs.QueueName(p.Provider, jobs.Default): 3,
		jobs.QueueName(p.Provider, jobs.Bulk):    1,
	}
	all, err := s.replace(d, &d.all, p, p.Share, lanes)
	if err != nil {
		return false, err
	}
	high, err := s.replace(d, &d.high, p, p.High, map[string]int{jobs.QueueName(p.Provider, jobs.High): 1})
	return all || high, err
}

// replace puts a Server of that size in place of the one before.
func (s *servers) replace(d *providerServers, at *serverSlot, p Plan, size int, queues map[string]int) (changed bool, err error) {
	if at.size == size {
		return false, nil
	}
	places := s.placesOf(d, p, size)
	server := asynq.NewServer(skipEmpty{s.cfg.Redis, slices.Collect(maps.Keys(queues)), places.whole}, asynq.Config{
		Concurrency:    max(size, p.Tasks),
		Queues:         queues,
		RetryDelayFunc: s.retryDelay,
		IsFailure:      isFailure,
		Logger:         asynqLog{s.cfg.Log.With().Str("provider", p.Provider).Logger()},
		LogLevel:       asynq.WarnLevel,
		// Out of reach: when it is over, asynq gives jobs to others while their
		// handlers still run. How long to wait is decided in shutdown.
		ShutdownTimeout:          jobs.TaskTimeout,
		TaskCheckInterval:        50 * time.Millisecond,
		DelayedTaskCheckInterval: 500 * time.Millisecond,
	})
	if err := server.Start(s.counted(d, places)); err != nil {
		return false, fmt.Errorf("worker: start a server of provider %s: %w", p.Provider, err)
	}
	s.leave(d, at)
	at.server, at.size, at.places = server, size, places
	return true, nil
}

// leave lets a slot's Server take no more jobs. It is gone when its last handler has
// ended.
func (s *servers) leave(d *providerServers, at *serverSlot) {
	old := at.server
	if old == nil {
		return
	}
	*at = serverSlot{}
	d.leaving++
	s.leaving.Go(func() {
		old.Shutdown()
		s.mu.Lock()
		defer s.mu.Unlock()
		d.leaving--
	})
}

// stop takes no more jobs of a provider. Those in hand go on to their end.
func (s *servers) stop(provider string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.providers[provider]
	if !ok || s.stopped {
		return
	}
	d.plan = nil
	s.leave(d, &d.all)
	s.leave(d, &d.high)
}

// shutdown takes no more jobs, and waits until every handler has ended, or ctx.
// Then it fails: the handlers still run, and nobody may pull the ground from
// under them but the end of the process.
func (s *servers) shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	for _, d := range s.providers {
		for _, at := range []serverSlot{d.all, d.high} {
			if at.server != nil {
				s.leaving.Go(at.server.Shutdown)
			}
		}
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.leaving.Wait()
		s.handlers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("worker: jobs were still running %s after their calls were cut off: others take them over", writeGrace+joinGrace)
	}
}

// retryDelay is the time after which a task comes again. asynq counts from this machine's
// clock: were that wrong, the other workers would see the task when they have come that far.
func (s *servers) retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	after := shortWait
	if r, ok := errors.AsType[*requeue](err); ok {
		after = r.after
	}
	return after - time.Duration(s.ahead.Load())
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

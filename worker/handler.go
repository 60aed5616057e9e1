package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"oneflow/billing"
	"oneflow/internal/sleep"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/schema"
)

// Generator pushes one request through the guarded providers of a route. ctx bounds the
// waiting (for slots, for back-off), not the call that is being paid for. Each
// call goes through the journal. A failure is an *providers.Error, an error of
// the journal, or ctx's.
type Generator interface {
	Generate(ctx context.Context, route providers.Route, req providers.Request, j providers.Journal) (providers.Response, error)
	// Resume goes on with what an earlier call, which is entry, has ordered from a
	// provider under a handle. It fails as Generate does.
	Resume(ctx context.Context, provider string, req providers.Request, handle string, entry providers.Call) error
}

// ArtifactStore keeps pictures, sound and film. Equal bytes are stored once.
type ArtifactStore interface {
	// Put stores a blob and returns where, and its hash.
	Put(ctx context.Context, data []byte, mime string) (url string, sum [sha256.Size]byte, err error)
}

// Prices knows what calls cost.
type Prices interface {
	// Reserve returns the most that a call can cost, and the most units that a rate card can
	// count of its answer; priced is false where the cost is not known.
	Reserve(provider string, req providers.Request, at time.Time) (amount billing.NanoUSD, units int64, priced bool)
	// Cost returns the cost of a call, with the ids of the price rows used.
	Cost(provider, model string, u providers.Usage, at time.Time) (amount billing.NanoUSD, rows []string, priced bool)
	// LongestAnswer is the largest cap that a model's answer may have, in tokens.
	LongestAnswer(provider, model string) int64
}

// Tracer is told of what has ended. Its methods must not wait. The request and the
// settlement hold what was asked and what the provider said: neither may leave with a trace.
type Tracer interface {
	// CallEnded tells of a call to a provider: which model answered ("" where none did),
	// when it began, and what came of it.
	CallEnded(job jobs.Job, provider string, req providers.Request, answered string, started time.Time, s jobs.Settlement)
	// JobEnded tells of a job that this worker has ended, in which state and class.
	JobEnded(job jobs.Job, state jobs.State, class string)
}

// requeue is returned by a handler to asynq to see its task again.
type requeue struct {
	after   time.Duration
	failure bool
	class   string
	// foreign reports whether it may be the task of another fleet.
	foreign bool
	// next is the delivery of a job that has left its chunk and goes on later; nil: it
	// was not claimed, or has a task of its own.
	next *jobs.Delivery
}

// nextOf is a delivery of a job by a task of its own.
func nextOf(j *jobs.Job) *jobs.Delivery {
	return &jobs.Delivery{
		ID: j.ID, Gen: j.Gen, Provider: j.Provider, Lane: j.Lane, Account: j.Account,
		Task: j.Request.Task, Model: j.Request.Model, BatchID: j.BatchID,
	}
}

func (r *requeue) Error() string {
	if r.failure {
		return fmt.Sprintf("%s; again in %s", r.class, r.after.Round(time.Second))
	}
	return fmt.Sprintf("waits %s", r.after.Round(time.Second))
}

// handler runs deliveries of one worker. See deliver, generate, finish: each step
// is committed before the next begins, and only then is the task acknowledged.
type handler struct {
	cfg Config
	id  uuid.UUID
	// waiting ends when the worker is asked to stop: no new work, no back-off.
	waiting context.Context //nolint:containedctx // the worker's life, not a call's
	// held are the leases that handlers of this worker have in hand.
	held *sync.Map
	// writing ends shortly after the last call was cut off.
	writing context.Context //nolint:containedctx // the worker's life, not a call's
	// dispatcher pushes what leaves a chunk.
	dispatcher *jobs.Dispatcher
	// spool takes what is paid for and could not be written by then.
	spool *spool
	// marks say which calls were sent, should the worker be killed.
	marks *sendMarks
	// slots is shared by the jobs of this worker; the suspects in isolation have all of it.
	slots *semaphore.Weighted
	// packing bounds the chunks of jobs that share calls which are in work at once.
	packing   *semaphore.Weighted
	isolation isolation
	schemas   schema.Checker
	// refusals are the budgets that have just refused a call.
	refusals refusals
}

// exclusive is the weight of all that run in isolation; other jobs weigh 1.
const exclusive = 1 << 30

// newHandler makes the handler of a worker that stops when waiting ends.
func newHandler(waiting, writing context.Context, cfg Config) *handler {
	return &handler{
		cfg: cfg, id: cfg.ID, waiting: waiting, writing: writing, held: &sync.Map{},
		spool: newSpool(cfg.State, cfg.ID, cfg.Log), marks: newSendMarks(cfg.State, cfg.ID, cfg.Log), slots: semaphore.NewWeighted(exclusive),
		packing: semaphore.NewWeighted(maxPacking),
	}
}

// places are those of a Server, for the jobs of all its tasks, or by class of models.
type places struct {
	whole   *concurrency
	byClass *concurrencyByClass // nil: the provider's calls are counted together
}

// of returns where the jobs of a task run, or how long the task has to stay away.
func (p *places) of(t *asynq.Task, lane jobs.Lane) (*concurrency, time.Duration) {
	if p.byClass == nil {
		return p.whole, 0
	}
	return p.byClass.ofTask(t, lane)
}

// free returns where a job of a task could run at once; nil: nowhere. Of a Server that is not there
// p is nil.
func (p *places) free(t *asynq.Task) *concurrency {
	if p == nil {
		return nil
	}
	in := p.whole
	if p.byClass != nil {
		model, _ := jobs.TaskModel(t)
		c := p.byClass.ofModel(model)
		if c.ofClass.taken() >= c.ofClass.size() {
			return nil
		}
		in = &c.concurrency
	}
	if !in.all.TryAcquire(1) {
		return nil
	}
	in.all.Release(1)
	return in
}

// placesOf makes those of a Server that runs so many jobs at once.
func (s *servers) placesOf(d *providerServers, p Plan, size int) *places {
	at := &places{whole: newConcurrency(size, p.perSecond())}
	if d.classes != nil {
		class := func(model string) string {
			class, _ := s.cfg.Class(p.Provider, model)
			return class
		}
		at.byClass = &concurrencyByClass{whole: at.whole, classes: d.classes, class: class, size: size, of: map[string]*classConcurrency{}}
		at.whole.full = at.byClass.full
	}
	return at
}

// counted hands a provider's tasks to the handler, and counts them. A job of the high lane takes a
// free place of either Server, whichever has it in hand: else one that the larger Server takes would
// wait there behind jobs that wait for a limit.
func (s *servers) counted(d *providerServers, at *places) asynq.Handler {
	count := func(n int) (all, high *places) {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.running += n
		d.worked = time.Now()
		return d.all.places, d.high.places
	}
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		s.handlers.Add(1)
		defer s.handlers.Done()
		all, high := count(1)
		defer count(-1)
		queue, _ := asynq.GetQueueName(ctx)
		lane := jobs.QueueLane(queue)
		if lane == jobs.High {
			for _, p := range []*places{at, high, all} {
				if in := p.free(t); in != nil {
					return s.process(t, in)
				}
			}
		}
		in, after := at.of(t, lane)
		if in == nil {
			return &requeue{after: after}
		}
		return s.process(t, in)
	})
}

// shortWait is the time that a handler waits for a job that is nearly due rather than
// give its slot back: asynq delivers up to a second early.
const shortWait = 2 * time.Second

// process handles a task: one job, or a chunk of them. No more of the provider's jobs
// run at once than there are places for. asynq's context is not used: it ends when Redis is
// away for 30 s, and a call that is being paid for must not.
func (h *handler) process(t *asynq.Task, in *concurrency) error {
	claims, chunk, err := jobs.DecodeTask(t)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	case chunk > 1:
		return h.runPacked(claims, chunk, in)
	case chunk == 1:
		return h.runChunk(claims, in)
	}
	if err := in.acquireTask(h.waiting); err != nil {
		return err
	}
	defer in.release()
	claim := claims[0]
	log := h.logOf(claim)
	err = h.deliver(delivery{Claim: claim}, h.isolation.of(claim.ID), log)
	for suspect, ok := errors.AsType[*suspectError](err); ok; suspect, ok = errors.AsType[*suspectError](err) {
		log.Warn().Bool("alone", suspect.alone).Msg("suspect job waits until none but suspects run in this worker")
		err = h.deliver(delivery{Claim: claim}, suspect, log)
	}
	return err
}

// delivery is a job to claim, and whether it came with others.
type delivery struct {
	jobs.Claim
	inChunk bool
}

func (h *handler) logOf(c jobs.Claim) zerolog.Logger {
	return h.cfg.Log.With().Stringer("job", c.ID).Int("gen", c.Gen).Logger()
}

// deliver claims the job of a delivery and runs it. A suspect gives its claim
// back, and comes again by what its claim has shown: into isolation, when all others have
// ended and before the next may begin. The wait
// is bounded, since nothing begins here meanwhile: by the time of one call, after
// which the queue tries again, here or at another worker. Others wait a moment and
// go back to the queue, and so do suspects that cannot join those that are there, at once: should the
// worker die, a delivery that it has in hand and that is not claimed comes again only when
// asynq notices, after some two minutes.
func (h *handler) deliver(d delivery, suspect *suspectError, log zerolog.Logger) error {
	if suspect == nil {
		waiting, done := context.WithTimeout(h.waiting, shortWait)
		defer done()
		if h.slots.Acquire(waiting, 1) != nil {
			return h.noRoom()
		}
		defer h.slots.Release(1)
	} else {
		waiting, done := context.WithTimeout(h.waiting, h.cfg.CallTimeout)
		defer done()
		if !h.isolation.enter(waiting, h.slots, suspect) {
			return h.noRoom()
		}
		defer h.isolation.leave(h.slots)
	}
	job, err := h.take(d, suspect, log)
	if by, ok := errors.AsType[*suspectError](err); ok || err == nil {
		h.isolation.note(d.ID, by)
	}
	if job == nil {
		return err
	}
	defer h.held.Delete(job.LeaseToken)
	until := job.Deadline
	if suspicion(job) != nil {
		until = earlier(until, time.Now().Add(h.cfg.CallTimeout))
	}
	return h.run(d, *job, nil, until, log)
}

// noRoom has a delivery come again that found no place in this worker.
func (h *handler) noRoom() error {
	if h.waiting.Err() != nil {
		return &requeue{}
	}
	return &requeue{after: min(shortWait, h.cfg.pace.pause)}
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// take claims the job of a delivery, whose lease is in h.held from then on. A nil job is
// not to be run, and the error tells asynq what to do with its task; nil: it is over.
func (h *handler) take(d delivery, suspect *suspectError, log zerolog.Logger) (*jobs.Job, error) {
	claim := d.Claim
	claim.LeaseToken = jobs.NewID()
	for {
		if h.waiting.Err() != nil {
			return nil, &requeue{}
		}
		h.held.Store(claim.LeaseToken, true)
		got, err := h.cfg.Store.Work.Claim(h.waiting, h.id, claim)
		if err == nil && got.Job != nil {
			if by := suspicion(got.Job); !suspect.admits(by) {
				return nil, h.putOff(d, got.Job, by, log)
			}
			return got.Job, nil
		}
		h.held.Delete(claim.LeaseToken)
		switch {
		case err != nil:
			log.Warn().Err(err).Msg("claim failed")
			return nil, &requeue{after: shortWait}
		case got.Wait == 0:
			// Of another fleet that has this Redis by now, it would be lost.
			if err := h.cfg.owner.Check(h.waiting); err != nil {
				log.Warn().Err(err).Msg("delivery not known here: put back")
				return nil, &requeue{after: shortWait, foreign: true}
			}
			log.Debug().Msg("stale delivery")
			return nil, nil //nolint:nilnil // nothing to run, and nothing to do with the task
		case got.Wait > shortWait:
			return nil, &requeue{after: got.Wait}
		}
		if sleep.For(h.waiting, got.Wait) != nil {
			return nil, &requeue{}
		}
	}
}

// putOff gives the claim of a suspect back that came as if it were none, or less of one.
func (h *handler) putOff(d delivery, job *jobs.Job, by *suspectError, log zerolog.Logger) error {
	defer h.held.Delete(job.LeaseToken)
	_, err := h.cfg.Store.Work.Complete(h.writing, jobs.Completion{JobID: job.ID, LeaseToken: job.LeaseToken, State: jobs.Queued, RefundAttempt: true})
	if err != nil {
		log.Warn().Err(err).Msg("claim not given back")
		return &requeue{after: shortWait}
	}
	if d.inChunk {
		log.Warn().Msg("suspect job leaves its chunk")
		return &requeue{next: nextOf(job)}
	}
	return by
}

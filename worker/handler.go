package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"oneflow/billing"
	"oneflow/internal/failpoint"
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
	// Reserve is the most a call can cost; priced is false where unknown.
	Reserve(provider string, req providers.Request, at time.Time) (amount billing.NanoUSD, priced bool)
	// Cost returns the cost of a call, with the ids of the price rows used.
	Cost(provider, model string, u providers.Usage, at time.Time) (amount billing.NanoUSD, rows []string, priced bool)
	// LongestAnswer is the largest cap that a model's answer may have, in tokens.
	LongestAnswer(provider, model string) int64
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
	// slots is shared by the jobs of this worker; a suspect takes all of it.
	slots *semaphore.Weighted
	// suspect is held by the one suspect that waits or runs.
	suspect sync.Mutex
	schemas schema.Checker
	// refusals are the budgets that have just refused a call.
	refusals refusals
}

// exclusive is the weight of a job that runs alone; others weigh 1.
const exclusive = 1 << 30

// newHandler makes the handler of a worker that stops when waiting ends.
func newHandler(waiting, writing context.Context, cfg Config) *handler {
	return &handler{
		cfg: cfg, id: cfg.ID, waiting: waiting, writing: writing, held: &sync.Map{},
		spool: newSpool(cfg.State, cfg.ID, cfg.Log), slots: semaphore.NewWeighted(exclusive),
	}
}

// lookAgain is the time that a job stays away at most while it waits for a provider or
// a limit, plus up to a quarter: what it waits for may be lifted at any time, and
// the wait must not outlive the job.
const lookAgain = 45 * time.Second

// shortWait is the time that a handler waits for a job that is nearly due rather than
// give its slot back: asynq delivers up to a second early.
const shortWait = 2 * time.Second

// process handles a task: one job, or a chunk of them. No more of the provider's jobs
// run at once than there is room for. asynq's context is not used: it ends when Redis is
// away for 30 s, and a call that is being paid for must not.
func (h *handler) process(t *asynq.Task, in *room) error {
	claims, chunk, err := jobs.DecodeTask(t)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	case chunk:
		return h.runChunk(claims, in)
	}
	if err := in.enter(h.waiting); err != nil {
		return &requeue{}
	}
	defer in.leave()
	claim := claims[0]
	log := h.logOf(claim)
	err = h.deliver(delivery{Claim: claim}, false, log)
	if errors.Is(err, errSuspect) {
		log.Warn().Msg("suspect job deferred until it is alone in this worker")
		err = h.deliver(delivery{Claim: claim}, true, log)
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

// errSuspect tells that a job must run alone.
var errSuspect = errors.New("must run alone")

// deliver claims the job of a delivery and runs it. A suspect gives its claim
// back, and comes again when all others have ended and before the next may begin:
// a worker's death is counted against each job that it has claimed, so that no
// other may be claimed meanwhile, and the suspect not while others are. The wait
// is bounded, since nothing begins here meanwhile: by the time of one call, after
// which the queue tries again, here or at another worker. Others wait a moment and
// go back to the queue, and so do further suspects, at once: should the worker die,
// a delivery that it has in hand and that is not claimed comes again only when
// asynq notices, after some two minutes.
func (h *handler) deliver(d delivery, alone bool, log zerolog.Logger) error {
	claim := d.Claim
	limit, weight := shortWait, int64(1)
	if alone {
		if !h.suspect.TryLock() {
			return &requeue{after: shortWait}
		}
		defer h.suspect.Unlock()
		limit, weight = h.cfg.CallTimeout, exclusive
	}
	patience, done := context.WithTimeout(h.waiting, limit)
	defer done()
	if h.slots.Acquire(patience, weight) != nil {
		if h.waiting.Err() != nil {
			return &requeue{}
		}
		return &requeue{after: min(limit, h.cfg.pace.pause)}
	}
	defer h.slots.Release(weight)
	claim.LeaseToken = jobs.NewID()
	for {
		if h.waiting.Err() != nil {
			return &requeue{}
		}
		h.held.Store(claim.LeaseToken, true)
		got, err := h.cfg.Store.Work.Claim(h.waiting, h.id, claim)
		if err != nil || got.Job == nil {
			h.held.Delete(claim.LeaseToken)
		}
		switch {
		case err != nil:
			log.Warn().Err(err).Msg("claim failed")
			return &requeue{after: shortWait}
		case got.Job != nil:
			defer h.held.Delete(claim.LeaseToken)
			if got.Job.Crashes < jobs.SuspectCrashes {
				return h.run(d, *got.Job, got.Job.Deadline, log)
			}
			if alone {
				return h.run(d, *got.Job, earlier(got.Job.Deadline, time.Now().Add(h.cfg.CallTimeout)), log)
			}
			_, err := h.cfg.Store.Work.Complete(h.writing, jobs.Completion{JobID: claim.ID, LeaseToken: claim.LeaseToken, State: jobs.Queued, RefundAttempt: true})
			if err != nil {
				log.Warn().Err(err).Msg("claim not given back")
				return &requeue{after: shortWait}
			}
			if d.inChunk {
				log.Warn().Msg("suspect job leaves its chunk, to be alone")
				return &requeue{next: nextOf(got.Job)}
			}
			return errSuspect
		case got.Wait == 0:
			// Of another fleet that has this Redis by now, it would be lost.
			if err := h.cfg.owner.Check(h.waiting); err != nil {
				log.Warn().Err(err).Msg("delivery not known here: put back")
				return &requeue{after: shortWait, foreign: true}
			}
			log.Debug().Msg("stale delivery")
			return nil
		case got.Wait > shortWait:
			return &requeue{after: got.Wait}
		}
		if sleep.For(h.waiting, got.Wait) != nil {
			return &requeue{}
		}
	}
}

// run takes a claimed job to the end of its claim. It waits for slots and back-off
// until then.
func (h *handler) run(d delivery, job jobs.Job, until time.Time, log zerolog.Logger) (result error) {
	log = log.With().Int("attempt", job.Attempt).Str("provider", job.Provider).Logger()
	j := &journal{handler: h, job: job, log: log, inChunk: d.inChunk}
	defer func() {
		// A panic must not keep the lease; what it says may hold a prompt.
		if r := recover(); r != nil {
			log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("handler panicked")
			result = h.end(j, jobs.Completion{State: jobs.Failed, Class: "panic", Message: "the worker panicked while it ran this job"})
		}
	}()
	failpoint.Hit("claimed", job.Request.Model)
	req, end, err := h.goOn(j)
	if money := h.withoutMoney(job); money != nil && j.order == nil {
		return h.end(j, waitForMoney(money, time.Now()))
	}
	// A call that is sent goes on.
	waiting, done := context.WithDeadline(h.waiting, until)
	defer done()
	for err == nil && end == nil {
		if order := j.order; order != nil {
			err = h.cfg.Generator.Resume(waiting, order.provider, order.req, order.handle, order)
		} else {
			_, err = h.cfg.Generator.Generate(waiting, job.Route(), req, j)
		}
		missed, ok := errors.AsType[*missError](err)
		if !ok {
			break
		}
		j.misses = append(j.misses, missed.miss)
		req, end = h.next(job, j.misses)
		err = nil
	}
	if end != nil {
		return h.end(j, *end)
	}
	switch {
	case err == nil && j.recorded:
		return nil
	case err == nil:
		return h.end(j, h.again(j, jobs.Completion{Class: "internal", Message: "an answer came without a call in the ledger"}))
	case errors.Is(err, jobs.ErrLeaseLost):
		log.Warn().Int("calls", j.calls).Msg("lease lost: somebody else has the job; the calls made are on the bill")
		return nil
	case errors.Is(err, errSpooled):
		log.Warn().Msg("Postgres is away: the answer is spooled, and the next worker to use the same state folder records it")
		return &requeue{after: shortWait}
	}
	if lost, ok := errors.AsType[*unstoredError](err); ok {
		return h.end(j, h.failUnstored(j, lost))
	}
	if _, ok := finalError(err); !ok && h.waiting.Err() == nil && waiting.Err() != nil {
		if until.Before(job.Deadline) {
			return h.end(j, jobs.Completion{State: jobs.Queued, RefundAttempt: true, After: h.cfg.pace.pause, WaitReason: string(providers.WaitForLimit)})
		}
		return h.end(j, jobs.Completion{State: jobs.Expired})
	}
	return h.end(j, h.endOf(j, err))
}

// goOn is the request that a claim sends first: what earlier claims have paid for is not
// bought again, and j.order is what they have ordered. end is set where nothing is to be
// sent any more.
func (h *handler) goOn(j *journal) (req providers.Request, end *jobs.Completion, err error) {
	if j.job.Request.Task == providers.Video {
		end, err = h.findOrder(j)
		return j.job.Request, end, err
	}
	if j.job.Unknowns == 0 {
		return j.job.Request, nil, nil
	}
	if j.misses, err = h.cfg.Store.Work.Misses(h.waiting, j.job.ID); err != nil {
		return j.job.Request, nil, err
	}
	j.job.Unknowns -= len(j.misses)
	req, end = h.next(j.job, j.misses)
	return req, end, nil
}

// findOrder looks for what earlier claims have ordered. Where that is known to be lost,
// as when its server has given it up just before a worker died, on_unknown decides.
func (h *handler) findOrder(j *journal) (*jobs.Completion, error) {
	order, err := h.cfg.Store.Orders.Order(h.waiting, j.job.ID)
	if err != nil {
		return nil, err
	}
	if order == nil {
		if j.job.Unknowns > 0 && !j.mayPayAgain() {
			return &jobs.Completion{
				State: jobs.Unknown, Class: "unknown", Message: "a call before may have been paid for, and what it ordered is lost; it is not sent again",
			}, nil
		}
		return nil, nil //nolint:nilnil // there is none, and it may be ordered
	}
	if order.Counted {
		j.job.Unknowns--
	}
	req := j.job.Request
	if order.Provider != j.job.Provider {
		req.Model = order.Model
	}
	j.order = &openCall{
		journal: j, id: order.CallID, provider: order.Provider, model: order.Model, req: req,
		reserved: order.Reserved, started: order.Started, handle: order.Handle,
	}
	j.log.Info().Stringer("call", order.CallID).Str("call_provider", order.Provider).Msg("goes on with what was ordered before")
	return nil, nil //nolint:nilnil // the order is gone on with
}

// failUnstored says what an answer that could not be kept means for the job: it is
// bought again where the job lets that be.
func (h *handler) failUnstored(j *journal, lost *unstoredError) jobs.Completion {
	j.log.Error().Err(lost.err).Str("class", lost.class).Msg("answer not kept")
	end := jobs.Completion{Class: lost.class, Message: lost.message}
	if !j.mayPayAgain() {
		end.State = jobs.Failed
		return end
	}
	return h.again(j, end)
}

// endOf says what a failure means for the job.
func (h *handler) endOf(j *journal, err error) jobs.Completion {
	switch {
	case errors.Is(err, jobs.ErrCancelled):
		return jobs.Completion{State: jobs.Cancelled}
	case errors.Is(err, jobs.ErrPaused):
		return jobs.Completion{State: jobs.Queued, RefundAttempt: true}
	case errors.Is(err, jobs.ErrExpired):
		return jobs.Completion{State: jobs.Expired}
	case errors.Is(err, jobs.ErrTooManyCalls):
		return jobs.Completion{State: jobs.Failed, Class: "too_many_calls", Message: fmt.Sprintf("it has made the %d provider calls that it may, refusals for the rate, the account or the key counted at a tenth (`enqueue status` with the job's id shows each)", j.job.MaxProviderCalls)}
	}
	if money, ok := errors.AsType[*jobs.BudgetError](err); ok {
		h.refusals.note(money, time.Now())
		return waitForMoney(money, time.Now())
	}
	failure, ok := finalError(err)
	if !ok {
		if h.waiting.Err() != nil {
			return jobs.Completion{State: jobs.Queued, RefundAttempt: true}
		}
		return h.again(j, jobs.Completion{Class: "internal", Message: err.Error()})
	}
	end := jobs.Completion{Class: string(failure.Kind), Message: failure.Explain()}
	if chain, ok := errors.AsType[*providers.ChainError](err); ok {
		end.Message = chain.Explain()
	}
	pending := j.pending(failure)
	switch failure.Kind.Reaction() {
	case providers.Final:
		if pending {
			break
		}
		end.State = jobs.Failed
		return end
	case providers.Wait:
		return waiting(failure, min(max(failure.RetryAfter, time.Second), lookAgain+rand.N(lookAgain/4)))
	case providers.Pause:
		// Nothing was wrong with the job, and nobody knows when a person will have
		// mended the account or the key. The job's calls and its deadline are its end.
		after := max(failure.RetryAfter, h.cfg.pace.pause)
		if !failure.Sent {
			return waiting(failure, after)
		}
		end.State, end.RefundAttempt, end.After = jobs.Retrying, true, after
		return end
	case providers.Retry:
	}
	if !pending && !j.MayRepeat(failure) {
		end.State = jobs.Failed
		if failure.Billing != providers.Billed {
			end.State = jobs.Unknown
		}
		return end
	}
	if failure.Kind == providers.Cancelled && h.waiting.Err() != nil {
		end.State, end.RefundAttempt = jobs.Queued, true
		return end
	}
	if end = h.again(j, end); pending && end.State == jobs.Failed {
		end.State = jobs.Unknown
	}
	return end
}

// waiting hands a job back that nothing is wrong with, to be claimed again after so
// long. It is no failure: the job has no error of it, and loses no attempt.
func waiting(failure *providers.Error, after time.Duration) jobs.Completion {
	why := string(failure.Kind)
	if failure.Waiting != nil {
		why = string(failure.Waiting.For)
	}
	return jobs.Completion{State: jobs.Queued, RefundAttempt: true, After: after, WaitReason: why}
}

// finalError is the failure that says what becomes of the job, where a provider
// failed at all.
func finalError(err error) (*providers.Error, bool) {
	if chain, ok := errors.AsType[*providers.ChainError](err); ok {
		return chain.Decisive(), true
	}
	return errors.AsType[*providers.Error](err)
}

// again sends the job back to the queue, or fails it when that was its last
// attempt.
func (h *handler) again(j *journal, end jobs.Completion) jobs.Completion {
	if j.job.Attempt >= j.job.MaxAttempts {
		end.State = jobs.Failed
		return end
	}
	end.State, end.After = jobs.Retrying, h.cfg.pace.backoff(j.job.Attempt)
	return end
}

// backoff is the wait before the queue tries again, after the given number of
// attempts: 15 s doubling to 10 min, plus up to a quarter.
func backoff(attempt int) time.Duration {
	d := min(15*time.Second<<min(attempt-1, 10), 10*time.Minute)
	return d + rand.N(d/4)
}

// end commits the end of a claim and tells asynq what to do with the task.
func (h *handler) end(j *journal, e jobs.Completion) error {
	e.JobID, e.LeaseToken = j.job.ID, j.job.LeaseToken
	var state jobs.State
	err := h.waitForWrite(func() error {
		became, err := h.cfg.Store.Work.Complete(h.writing, e)
		if err == nil {
			state = became
		}
		return err
	})
	if errors.Is(err, jobs.ErrLeaseLost) {
		j.log.Warn().Msg("lease lost: somebody else has the job")
		return nil
	}
	if err != nil {
		j.log.Error().Err(err).Str("state", string(e.State)).Msg("end of job not recorded")
		return &requeue{after: shortWait}
	}
	j.log.Info().Str("state", string(state)).Str("class", e.Class).Str("waits_for", e.WaitReason).Int("calls", j.calls).Msg("ended")
	var next *jobs.Delivery
	if j.inChunk {
		next = nextOf(&j.job)
	}
	switch state {
	case jobs.Queued:
		return &requeue{after: e.After, next: next}
	case jobs.Retrying:
		return &requeue{after: e.After, failure: !e.RefundAttempt, class: e.Class, next: next}
	case jobs.Failed, jobs.Unknown:
		// The dead letter: archived in asynq, after the commit.
		return fmt.Errorf("%s: %s: %w", state, e.Class, asynq.SkipRetry)
	case jobs.Scheduled, jobs.Running, jobs.Succeeded, jobs.Cancelled, jobs.Expired:
	}
	return nil
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// store puts blobs where they are kept, and lets go of their bytes.
func (h *handler) store(blobs []providers.Blob) ([]jobs.Artifact, error) {
	stored := make([]jobs.Artifact, len(blobs))
	for i, b := range blobs {
		url, sum, err := h.cfg.Artifacts.Put(h.writing, b.Data, b.MIME)
		if err != nil {
			return nil, err
		}
		stored[i] = jobs.Artifact{MIME: b.MIME, Size: int64(len(b.Data)), SHA256: sum, URL: url}
		blobs[i].Data = nil
	}
	return stored, nil
}

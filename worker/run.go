package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/internal/failpoint"
	"oneflow/jobs"
	"oneflow/providers"
)

// runChunk runs the jobs of a chunk as places are free, each on its own: it is claimed
// when its turn comes, and where nobody has claimed it before, with its first call, so
// that a worker that dies has claimed no more than it ran. One
// that goes on later, or has to be alone, gets a task of its own. What has no place
// within maxWait goes back to Postgres: should the worker die, the audit has to find
// what it had in hand, and could not tell that from what waits here for long. The chunk
// ends with its last job.
func (h *handler) runChunk(claims []jobs.Claim, in *concurrency) error {
	in.took(len(claims))
	waiting, done := context.WithTimeout(h.waiting, in.maxWait())
	defer done()
	untouched := h.untouched(waiting, claims)
	c := chunk{handler: h, size: len(claims)}
	for i, claim := range claims {
		if in.acquire(waiting) != nil {
			in.began(len(claims) - i)
			c.giveBack(claims[i:]...)
			break
		}
		in.began(1)
		c.jobs.Go(func() {
			defer in.release()
			d, log := delivery{claim, true}, h.logOf(claim)
			err := errTouched
			if job, ok := untouched[claim.ID]; ok {
				err = h.start(waiting, d, job, log)
			}
			if errors.Is(err, errTouched) {
				err = h.deliver(d, nil, log)
			}
			c.note(claim, err)
		})
	}
	c.jobs.Wait()
	return c.end()
}

// untouched returns those of the jobs that may be claimed with their first call. One that may
// be answered from the cache is claimed before it is looked up there.
func (h *handler) untouched(ctx context.Context, claims []jobs.Claim) map[uuid.UUID]jobs.Job {
	list, err := h.cfg.Store.Work.Untouched(ctx, claims)
	if err != nil {
		h.cfg.Log.Warn().Err(err).Msg("jobs of a chunk not looked at: each is claimed before its call")
	}
	byID := make(map[uuid.UUID]jobs.Job, len(list))
	for _, job := range list {
		if job.Request.CacheSeconds == 0 || !billing.Cacheable(job.Request) {
			byID[job.ID] = job
		}
	}
	return byID
}

// errTouched reports that a job has to be claimed before its call.
var errTouched = errors.New("cannot be claimed with its call")

// start runs a job that nobody has claimed before, and claims it together with its first
// call, once that has its slot. It fails with errTouched where there was nothing to claim, or no
// slot came in time: what waits for long has to be claimed.
func (h *handler) start(startBy context.Context, d delivery, job jobs.Job, log zerolog.Logger) error {
	if h.slots.Acquire(startBy, 1) != nil {
		return errTouched
	}
	defer h.slots.Release(1)
	job.LeaseToken = jobs.NewID()
	h.held.Store(job.LeaseToken, true)
	defer h.held.Delete(job.LeaseToken)
	return h.run(d, job, startBy, job.Deadline, log)
}

// run takes a job to the end of its claim. It waits for slots and back-off until then.
// Where startBy is set, the job is claimed with its first call, which has to begin
// before that ends: else run fails with errTouched.
func (h *handler) run(d delivery, job jobs.Job, startBy context.Context, until time.Time, log zerolog.Logger) (result error) { //nolint:revive // it may be nil
	log = log.With().Int("attempt", job.Attempt).Str("provider", job.Provider).Logger()
	j := &journal{handler: h, job: job, log: log, inChunk: d.inChunk}
	defer func() {
		// A panic must not keep the lease; what it says may hold a prompt.
		if r := recover(); r != nil {
			log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("handler panicked")
			result = h.end(j, jobs.Completion{State: jobs.Failed, Class: "panic", Message: "the worker panicked while it ran this job"})
		}
	}()
	// A call that is sent goes on.
	waiting, done := context.WithDeadline(h.waiting, until)
	defer done()
	if startBy == nil {
		failpoint.Hit("claimed", job.Request.Model)
	} else {
		j.unclaimed = context.AfterFunc(startBy, done)
	}
	if err := h.lookAhead(j); err != nil {
		log.Warn().Err(err).Msg("the next step could not be read: handed back")
		return h.end(j, jobs.Completion{State: jobs.Queued, RefundAttempt: true, After: shortWait})
	}
	req, end, err := h.goOn(j)
	if err == nil && end == nil && j.order == nil && len(j.misses) == 0 {
		if job.Request.CacheSeconds > 0 {
			defer h.releaseCache(j)
			if done, result := h.fromCache(j); done {
				return result
			}
		}
	}
	if money := h.withoutMoney(job); money != nil && j.order == nil {
		return h.end(j, waitForMoney(money, time.Now()))
	}
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
	case j.unclaimed != nil && (errors.Is(err, jobs.ErrLeaseLost) || waiting.Err() != nil && h.waiting.Err() == nil):
		return errTouched
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

// lookAhead finds out what the job's success will lead to, before anything is paid for.
func (h *handler) lookAhead(j *journal) (err error) {
	if h.cfg.Follow != nil {
		j.follow, err = h.cfg.Follow(h.waiting, j.job)
	}
	return err
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

// none reports whether nothing has been refused.
func (r *refusals) none() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.last) == 0
}

// withoutMoney returns why a job need not take a slot; nil: nothing is known of it.
func (h *handler) withoutMoney(job jobs.Job) *jobs.BudgetError {
	if h.refusals.none() {
		return nil
	}
	now := time.Now()
	amount, _, priced := h.cfg.Prices.Reserve(job.Provider, job.Request, now)
	if !priced {
		return nil
	}
	return h.refusals.of(job, amount, h.cfg.simulated(job.Provider), now)
}

// chunk holds what became of the jobs of a chunk.
type chunk struct {
	handler *handler
	size    int
	jobs    sync.WaitGroup

	mu sync.Mutex
	// failed are the jobs that have ended in failure.
	failed []uuid.UUID
	// again reports whether the task has to come again: what did not go back to Postgres
	// would be forgotten.
	again bool
}

// note notes the end of a delivery.
func (c *chunk) note(claim jobs.Claim, err error) {
	later, requeued := errors.AsType[*requeue](err)
	switch {
	case err == nil:
	case requeued && later.foreign:
		c.comesAgain()
	case requeued && later.next != nil:
		c.push(*later.next, later.after)
	case requeued:
		c.giveBack(claim)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed = append(c.failed, claim.ID)
	}
}

func (c *chunk) comesAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again = true
}

// push gives a job a task of its own. Where that fails, it goes back to Postgres, and
// where that fails too, the audit misses the task.
func (c *chunk) push(d jobs.Delivery, after time.Duration) {
	if after > 0 {
		d.At = time.Now().Add(after)
	}
	ctx, done := context.WithTimeout(c.handler.writing, shortWait)
	defer done()
	if _, err := c.handler.dispatcher.Push(ctx, []jobs.Delivery{d}); err != nil {
		c.handler.cfg.Log.Warn().Err(err).Stringer("job", d.ID).Msg("job of a chunk not pushed: it is dispatched anew")
	}
}

// giveBack has jobs dispatched anew that were not claimed. What is claimed, or of
// another generation by now, is left alone.
func (c *chunk) giveBack(claims ...jobs.Claim) {
	list := make([]jobs.Delivery, len(claims))
	for i, claim := range claims {
		list[i] = jobs.Delivery{ID: claim.ID, Gen: claim.Gen}
	}
	ctx, done := context.WithTimeout(c.handler.writing, shortWait)
	defer done()
	if err := c.handler.cfg.Store.Deliveries.Undispatch(ctx, list); err != nil {
		c.handler.cfg.Log.Warn().Err(err).Int("jobs", len(list)).Msg("jobs of a chunk not given back: it comes again")
		c.comesAgain()
	}
}

// shownFailures is the number of jobs that the error of a chunk names.
const shownFailures = 5

// end tells asynq what to do with the task: a chunk with failed jobs is archived, with
// their ids, as a job's own task would be.
func (c *chunk) end() error {
	switch {
	case c.again:
		return &requeue{after: shortWait}
	case len(c.failed) == 0:
		return nil
	}
	var ids []string
	for _, id := range c.failed[:min(shownFailures, len(c.failed))] {
		ids = append(ids, id.String())
	}
	if len(c.failed) > shownFailures {
		ids = append(ids, "…")
	}
	return fmt.Errorf("%d of %d jobs failed: %s: %w", len(c.failed), c.size, strings.Join(ids, ", "), asynq.SkipRetry)
}

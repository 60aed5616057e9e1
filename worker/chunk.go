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
	"golang.org/x/sync/semaphore"

	"oneflow/billing"
	"oneflow/jobs"
)

// room bounds the jobs of one Server that run at once, however many its tasks carry.
type room struct {
	slots *semaphore.Weighted
	// gate bounds those of one class of models beside; nil: they are all alike.
	gate *gate

	mu sync.Mutex
	// waiting are the jobs of chunks in hand that do not run yet, and enough is how
	// many of them keep the Server from asking for more: half of the last chunk, which
	// is an eighth of a second of work.
	waiting, enough int
}

func newRoom(size int) *room { return &room{slots: semaphore.NewWeighted(int64(size))} }

func (r *room) enter(ctx context.Context) error {
	err := r.gate.enter(ctx)
	if err != nil {
		return err
	}
	if err = r.slots.Acquire(ctx, 1); err != nil {
		r.gate.leave()
	}
	return err
}

func (r *room) leave() {
	r.slots.Release(1)
	r.gate.leave()
}

// hasWork reports whether enough jobs wait here.
func (r *room) hasWork() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting > 0 && r.waiting >= r.enough
}

// took notes the jobs of a chunk.
func (r *room) took(jobs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.enough = r.waiting+jobs, jobs/2
}

// began notes that some of them wait here no more.
func (r *room) began(jobs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting -= jobs
}

// runChunk runs the jobs of a chunk as there is room, each on its own: it is claimed
// when its turn comes, and where nobody has claimed it before, with its first call, so
// that a worker that dies has claimed no more than it ran. One
// that goes on later, or has to be alone, gets a task of its own. What has no room
// within the room's patience goes back to Postgres: should the worker die, the audit has to find
// what it had in hand, and could not tell that from what waits here for long. The chunk
// ends with its last job.
func (h *handler) runChunk(claims []jobs.Claim, in *room) error {
	in.took(len(claims))
	patience, done := context.WithTimeout(h.waiting, in.patience())
	defer done()
	untouched := h.untouched(patience, claims)
	c := chunk{handler: h, size: len(claims)}
	for i, claim := range claims {
		if in.enter(patience) != nil {
			in.began(len(claims) - i)
			c.giveBack(claims[i:]...)
			break
		}
		in.began(1)
		c.jobs.Go(func() {
			defer in.leave()
			d, log := delivery{claim, true}, h.logOf(claim)
			err := errTouched
			if job, ok := untouched[claim.ID]; ok {
				err = h.start(patience, d, job, log)
			}
			if errors.Is(err, errTouched) {
				err = h.deliver(d, false, log)
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
		if !billing.Cacheable(job.Request) {
			byID[job.ID] = job
		}
	}
	return byID
}

// errTouched tells that a job has to be claimed before its call.
var errTouched = errors.New("cannot be claimed with its call")

// start runs a job that nobody has claimed before, and claims it together with its first
// call, once that has its slot. It fails with errTouched where there was nothing to claim, or no
// slot came in time: what waits for long has to be claimed.
func (h *handler) start(patience context.Context, d delivery, job jobs.Job, log zerolog.Logger) error {
	if h.slots.Acquire(patience, 1) != nil {
		return errTouched
	}
	defer h.slots.Release(1)
	job.LeaseToken = jobs.NewID()
	h.held.Store(job.LeaseToken, true)
	defer h.held.Delete(job.LeaseToken)
	return h.run(d, job, patience, job.Deadline, log)
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

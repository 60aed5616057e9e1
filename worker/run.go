package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"oneflow/internal/failpoint"
	"oneflow/jobs"
	"oneflow/providers"
)

// run takes a job to the end of its claim. It waits for slots and back-off until then.
// Where there is a patience, the job is claimed with its first call, which has to begin
// before that ends: else run fails with errTouched.
func (h *handler) run(d delivery, job jobs.Job, patience context.Context, until time.Time, log zerolog.Logger) (result error) { //nolint:revive // it may be nil
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
	if patience == nil {
		failpoint.Hit("claimed", job.Request.Model)
	} else {
		j.unclaimed = context.AfterFunc(patience, done)
	}
	if err := h.lookAhead(j); err != nil {
		log.Warn().Err(err).Msg("the next step could not be read: handed back")
		return h.end(j, jobs.Completion{State: jobs.Queued, RefundAttempt: true, After: shortWait})
	}
	req, end, err := h.goOn(j)
	if err == nil && end == nil && j.order == nil && len(j.misses) == 0 {
		defer h.releaseCache(j)
		if done, result := h.fromCache(j); done {
			return result
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
		journal: j, id: order.CallID, place: noPlace, provider: order.Provider, model: order.Model, req: req,
		reserved: order.Reserved, started: order.Started, handle: order.Handle,
	}
	j.log.Info().Stringer("call", order.CallID).Str("call_provider", order.Provider).Msg("goes on with what was ordered before")
	return nil, nil //nolint:nilnil // the order is gone on with
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

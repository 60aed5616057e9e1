package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"oneflow/jobs"
	"oneflow/providers"
)

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

// lookAgain is the time that a job stays away at most while it waits for a provider or
// a limit, plus up to a quarter: what it waits for may be lifted at any time, and
// the wait must not outlive the job.
const lookAgain = 45 * time.Second

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

// end commits the end of a claim and tells asynq what to do with the task. A job that
// was to be claimed with its first call, and has made none, is claimed for that.
func (h *handler) end(j *journal, e jobs.Completion) error {
	if j.unclaimed != nil {
		job, err := h.take(delivery{jobs.Claim{ID: j.job.ID, Gen: j.job.Gen}, j.inChunk}, nil, j.log)
		if job == nil {
			return err
		}
		defer h.held.Delete(job.LeaseToken)
		j.job, j.unclaimed = *job, nil
	}
	e.JobID, e.LeaseToken = j.job.ID, j.job.LeaseToken
	state, err := h.cfg.Store.Work.Complete(h.writing, e)
	if errors.Is(err, jobs.ErrLeaseLost) {
		j.log.Warn().Msg("lease lost: somebody else has the job")
		return nil
	}
	if err != nil {
		j.log.Error().Err(err).Str("state", string(e.State)).Msg("end of job not recorded")
		return &requeue{after: shortWait}
	}
	j.log.Info().Str("state", string(state)).Str("class", e.Class).Str("waits_for", e.WaitReason).Int("calls", j.calls).Msg("ended")
	j.trace(state, e.Class)
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

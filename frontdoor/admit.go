package frontdoor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/jobs"
)

// admit makes a job of a call, or finds the one that the client made before.
func (f *FrontDoor) admit(ctx context.Context, p access.Principal, ask asking) (uuid.UUID, error) {
	caller := p.Name + "\n" + ask.account
	c := Call{Caller: hexOf(sha256.Sum256([]byte(caller))), SHA256: ask.sum, Idempotency: ask.key}
	// What is there already is neither refused for the queue's length nor for the wallet.
	if ask.again || ask.key != "" {
		if id, ok, err := f.cfg.Stores.Calls.JoinCall(ctx, c); err != nil || ok {
			return id, f.accepted(ctx, id, ask, otherBody(err))
		}
	}
	job, err := f.job(ask)
	if err != nil {
		return uuid.Nil, err
	}
	if err := f.affords(ctx, &job); err != nil {
		return uuid.Nil, err
	}
	before, leave := f.arriving.enter(job.Provider)
	defer leave()
	if err := f.inTime(ctx, job, before, ask.timeout); err != nil {
		return uuid.Nil, err
	}
	c.JobID = job.ID
	id, err := f.cfg.Stores.Calls.RememberCall(ctx, c)
	if err != nil {
		return id, otherBody(err)
	}
	if id != job.ID {
		return id, f.accepted(ctx, id, ask, nil)
	}
	return id, f.enqueue(ctx, ask, job)
}

// otherBody is err, as a refusal where an idempotency key was used for something else.
func otherBody(err error) error {
	if errors.Is(err, ErrOtherBody) {
		return &refusal{status: http.StatusUnprocessableEntity, reason: ErrOtherBody.Error()}
	}
	return err
}

// accepted makes the job of a call that was remembered, unless it is there: who remembered
// it may have died before.
func (f *FrontDoor) accepted(ctx context.Context, id uuid.UUID, ask asking, err error) error {
	if err != nil {
		return err
	}
	if _, err := f.cfg.Stores.Jobs.Progress(ctx, id.String()); !errors.Is(err, jobs.ErrNotFound) {
		return err
	}
	job, err := f.job(ask)
	if err != nil {
		return err
	}
	job.ID = id
	return f.enqueue(ctx, ask, job)
}

// enqueue hands a job to the producer. That Redis did not take it is no failure: a worker
// dispatches it. The client may be gone by now, and its job is there or not at all.
func (f *FrontDoor) enqueue(ctx context.Context, ask asking, job jobs.New) error {
	ctx = context.WithoutCancel(ctx)
	if ask.batch != "" {
		job.Key = "j:" + job.ID.String() // two equal calls are two
		err := f.cfg.Stores.Jobs.OpenBatch(ctx, jobs.Batch{ID: ask.batch, Account: job.Account, Source: "calls", Tags: ask.tags, Append: true, Own: true})
		if err != nil {
			return notInBatch(err)
		}
	}
	_, undelivered, err := f.cfg.Producer.Enqueue(ctx, ask.batch, []jobs.New{job})
	if undelivered != nil {
		f.cfg.Log.Warn().Err(undelivered).Stringer("job", job.ID).Msg("Redis did not take a delivery: a worker sees to it")
	}
	if err == nil && ask.batch != "" {
		// It is over when its calls are; the next one opens it again.
		err = f.cfg.Stores.Jobs.SealBatch(ctx, ask.batch)
	}
	return notInBatch(err)
}

// notInBatch is err, as a refusal where the batch that a call names does not take it.
func notInBatch(err error) error {
	if other, ok := errors.AsType[*jobs.OtherBatchError](err); ok {
		return &refusal{status: http.StatusConflict, reason: fmt.Sprintf("X-OneFlow-Tags: the batch has %s already, and this says %s; choose another batch", other.Is, other.Given)}
	}
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return &refusal{status: http.StatusConflict, reason: "X-OneFlow-Batch: there is a batch of this name already, and it is not of this account; choose another"}
	case errors.Is(err, jobs.ErrBatchCancelled), errors.Is(err, jobs.ErrBatchRemoved):
		return &refusal{status: http.StatusConflict, reason: "X-OneFlow-Batch: the batch was cancelled or removed"}
	}
	return err
}

// affords refuses a call that the account's wallet does not reach for.
func (f *FrontDoor) affords(ctx context.Context, job *jobs.New) error {
	has, least, err := f.funds(ctx, job.Account)
	if err != nil || least == nil {
		return err
	}
	job.Least = least(*job)
	if err := has.Check(job.Least); err != nil {
		return &refusal{status: http.StatusPaymentRequired, reason: err.Error()}
	}
	return nil
}

// inTime refuses a call that cannot be answered before its client stops waiting. So many others
// came before it, and are let in now.
func (f *FrontDoor) inTime(ctx context.Context, job jobs.New, before int, timeout time.Duration) error {
	if f.cfg.Rate == nil {
		return nil
	}
	perMinute, blockedUntil, err := f.cfg.Rate(ctx, job.Provider)
	if err != nil {
		return err
	}
	wait := max(time.Until(blockedUntil), 0)
	if perMinute > 0 {
		waiting, err := f.cfg.Stores.Calls.WaitingIn(ctx, jobs.Queue{Provider: job.Provider, Lane: job.Lane}, maxWaiting)
		if err != nil {
			return err
		}
		wait += time.Duration(float64(waiting+before) / float64(perMinute) * float64(time.Minute))
	}
	if wait < timeout {
		return nil
	}
	return &refusal{
		status: http.StatusTooManyRequests, after: max(wait-timeout, time.Second),
		reason: fmt.Sprintf("%s cannot answer within %s: %s of work wait before this call", job.Provider, timeout.Round(time.Second), wait.Round(time.Second)),
	}
}

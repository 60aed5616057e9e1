package worker

import (
	"context"
	"time"

	"oneflow/internal/failpoint"
	"oneflow/jobs"
	"oneflow/providers"
)

// Ordered writes down the handle of what the call has ordered, so that another claim can
// go on with it. One that could not be written is as good as none.
func (c *openCall) Ordered(_ context.Context, handle string) error {
	h := c.journal.handler
	err := h.waitForWrite(func() error { return h.cfg.Store.Orders.SetHandle(h.writing, c.id, handle) })
	if err != nil {
		c.journal.log.Error().Err(err).Stringer("call", c.id).Msg("handle of an order not written down")
	}
	if c.journal.order = nil; err == nil && handle != "" {
		c.handle, c.journal.order = handle, c
	}
	failpoint.Hit("ordered", c.model)
	return err
}

// pending reports whether what was ordered may still be made after a failure: nothing
// else is ordered then, and another claim goes on with it.
func (j *journal) pending(failure *providers.Error) bool {
	return j.order != nil && failure.Billing != providers.Billed && failure.Billing != providers.Unbilled
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
	return nil, nil //nolint:nilnil // the order is continued
}

// waitForWrite waits for a write, until shortly after the time for writing is over: a
// Postgres that is silent must not keep a worker that has to leave.
func (h *handler) waitForWrite(write func() error) error {
	written := make(chan error, 1)
	go func() { written <- write() }()
	select {
	case err := <-written:
		return err
	case <-h.writing.Done():
	}
	grace := time.NewTimer(commitGrace)
	defer grace.Stop()
	select {
	case err := <-written:
		return err
	case <-grace.C:
		return h.writing.Err()
	}
}

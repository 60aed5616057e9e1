package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/internal/failpoint"
	"oneflow/jobs"
	"oneflow/providers"
)

// journal writes the ledger of one claim: a row before each provider call, and
// its settlement after. It implements providers.Journal for one goroutine.
type journal struct {
	handler  *handler
	job      jobs.Job
	log      zerolog.Logger
	calls    int
	unknowns int
	// won is the settlement of the call that succeeded. It is committed
	// together with the result.
	won jobs.Settlement
}

// openCall is a call that was sent.
type openCall struct {
	journal  *journal
	id       uuid.UUID
	provider string
	model    string
	started  time.Time
}

// Begin commits the call's row. Its errors are the store's.
func (j *journal) Begin(_ context.Context, provider string, req providers.Request) (providers.Call, error) {
	now := time.Now()
	c := jobs.Call{
		CallID: jobs.NewID(), JobID: j.job.ID, LeaseToken: j.job.LeaseToken,
		Provider: provider, Model: req.Model, Timeout: j.handler.cfg.CallTimeout,
	}
	if amount, priced := j.handler.cfg.Prices.Reserve(provider, req, now); priced {
		c.Reserved = &amount
	}
	h := j.handler
	if err := h.waitForWrite(func() error { return h.cfg.Store.BeginCall(h.writing, h.id, c) }); err != nil {
		return nil, err
	}
	j.calls++
	failpoint.Hit("begun", req.Model)
	return &openCall{journal: j, id: c.CallID, provider: provider, model: req.Model, started: now}, nil
}

// End settles the call. A success is kept for the commit that ends the job.
func (c *openCall) End(_ context.Context, res providers.Response, err error) error {
	j := c.journal
	failpoint.Hit("answered", c.model)
	s := jobs.Settlement{CallID: c.id, Latency: time.Since(c.started)}
	if err == nil {
		s.Outcome, s.Status, s.RequestID, s.Usage, s.Latency, s.Limits = jobs.CallSucceeded, res.Status, res.RequestID, res.Usage, res.Latency, res.Limits
		j.charge(&s, c, res.Model)
		j.won = s
		return nil
	}
	failure := providers.AsError(c.provider, err)
	s.Status, s.RequestID, s.Kind, s.Message, s.Body = failure.Status, failure.RequestID, failure.Kind, failure.Error(), failure.Body
	s.Limits = failure.Limits
	switch failure.Billing {
	case providers.Unbilled:
		s.Outcome, s.Cost = jobs.CallFailedUnbilled, new(billing.NanoUSD)
	case providers.Billed:
		s.Outcome, s.Usage = jobs.CallFailedBilled, failure.Usage
		j.charge(&s, c, c.model)
	case providers.BillingUnknown:
		s.Outcome = jobs.CallUnknown
	default: // a client that did not say
		s.Outcome = jobs.CallUnknown
	}
	if s.Outcome != jobs.CallFailedUnbilled {
		j.unknowns++
	}
	j.log.Warn().Str("call_provider", c.provider).Stringer("call", c.id).Str("kind", string(s.Kind)).
		Str("outcome", string(s.Outcome)).Int("status", s.Status).Dur("latency", s.Latency).Msg("call failed")
	return j.settle(s)
}

// settle commits a settlement. One that is spooled is as good for the caller: the
// call is over.
func (j *journal) settle(s jobs.Settlement) error {
	err := j.handler.record(spooled{Settlement: &s})
	if errors.Is(err, errSpooled) {
		j.log.Warn().Stringer("call", s.CallID).Msg("Postgres is away: what came of this call is spooled")
		return nil
	}
	return err
}

// charge prices a call: by the model that answered, else by the one that was
// asked for (the answer may name a dated version that no price is known for).
func (j *journal) charge(s *jobs.Settlement, c *openCall, answered string) {
	for _, model := range []string{answered, c.model} {
		if amount, rows, priced := j.handler.cfg.Prices.Cost(c.provider, model, s.Usage, c.started); priced {
			s.Cost, s.PriceIDs = &amount, rows
			return
		}
	}
}

// MayRepeat tells whether the job lets a failed call be sent again: what was
// certainly not billed always, anything else once, and never where the job says
// on_unknown: fail.
func (j *journal) MayRepeat(err *providers.Error) bool {
	if err.Billing == providers.Unbilled {
		return true
	}
	return j.job.OnUnknown == jobs.RetryUnknown && j.job.Unknowns+j.unknowns <= 1
}

// settleWon settles a call that succeeded but whose answer could not be kept.
func (j *journal) settleWon() error {
	if j.won.CallID == uuid.Nil {
		return errors.New("no call has succeeded")
	}
	s := j.won
	s.Outcome, s.Kind = jobs.CallFailedBilled, providers.Unknown
	j.unknowns++
	return j.settle(s)
}

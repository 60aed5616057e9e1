package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/internal/failpoint"
	"oneflow/internal/sleep"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// journal writes the ledger of one claim: a row before each provider call, and what
// came of it after, which for a success is the job's result. It implements
// providers.Journal for one goroutine.
type journal struct {
	handler  *handler
	job      jobs.Job
	log      zerolog.Logger
	calls    int
	unknowns int
	// misses are the answers of this job that were no success, oldest first.
	misses []jobs.Miss
	// order is the call, of this claim or an earlier one, whose order may still be made.
	order *openCall
	// inChunk reports whether the job came with others.
	inChunk bool
	// unclaimed ends the wait for the slot of a job that is claimed with its first call, and
	// reports whether there was some left; nil: it is claimed.
	unclaimed func() bool
	// follow makes the next step's job of the answer; nil: there is none.
	follow func(ctx context.Context, res providers.Response, stored []jobs.Artifact) *jobs.Child
	// cache names the request that this job leads in the cache; nil: it leads none. kept
	// reports whether its answer is there.
	cache *jobs.Keep
	kept  bool
	// recorded reports whether the job has its result.
	recorded bool
	// with are the further jobs that its call serves, while it is a packed one. answered
	// reports whether such a call has brought this job its result.
	with     []*journal
	answered bool
}

// unstoredError is returned by End for an answer that is paid for and could not be
// kept. Its call is settled.
type unstoredError struct {
	class, message string
	err            error
}

func (e *unstoredError) Error() string { return e.message }
func (e *unstoredError) Unwrap() error { return e.err }

// openCall is a call that was sent.
type openCall struct {
	journal  *journal
	id       uuid.UUID
	provider string
	model    string
	req      providers.Request
	reserved *billing.NanoUSD
	started  time.Time
	// place is that of its mark: see sendMarks.
	place int64
	// handle names what it has ordered at the provider.
	handle string
}

// Begin commits the call's row. Its errors are the store's.
func (j *journal) Begin(ctx context.Context, provider string, req providers.Request) (providers.Call, error) {
	now := time.Now()
	h := j.handler
	amount, units, priced := h.cfg.Prices.Reserve(provider, req, now)
	c := jobs.Call{
		CallID: jobs.NewID(), JobID: j.job.ID, LeaseToken: j.job.LeaseToken, Provider: provider, Model: req.Model, Scope: providers.ScopeOf(ctx),
		Task: req.Task, Units: units, Timeout: h.cfg.CallTimeout, Simulated: h.cfg.simulated(provider),
	}
	if priced {
		c.Reserved = &amount
	}
	if len(j.with) > 0 {
		c.Weight, c.With = j.job.Request.Weight(), j.served()
	}
	if j.unclaimed != nil {
		if !j.unclaimed() {
			return nil, jobs.ErrLeaseLost
		}
		c.Gen = j.job.Gen
	}
	place, err := h.marks.begin(h.writing, h.cfg.Store.Work, c)
	if err != nil {
		return nil, err
	}
	j.unclaimed = nil
	j.calls++
	return &openCall{journal: j, id: c.CallID, place: place, provider: provider, model: req.Model, req: req, reserved: c.Reserved, started: now}, nil
}

// simulated reports whether calls of a provider cost no real money.
func (c *Config) simulated(provider string) bool {
	i := slices.IndexFunc(c.Providers, func(s Served) bool { return s.Name == provider })
	return i >= 0 && c.Providers[i].Simulated
}

// End records what came of the call: a failure settles it, a success ends the job in
// the same commit. The bytes of res.Blobs are let go once they are stored.
func (c *openCall) End(_ context.Context, res providers.Response, err error) error {
	defer c.journal.handler.marks.over(c.place)
	failpoint.Hit("answered", c.model)
	if err == nil {
		return c.succeed(res)
	}
	j := c.journal
	failure := providers.AsError(c.provider, err)
	s := jobs.Settlement{
		CallID: c.id, Latency: time.Since(c.started), Status: failure.Status, RequestID: failure.RequestID,
		Kind: failure.Kind, Message: failure.Explain(), Body: failure.Body, Limits: failure.Limits,
		Packed: len(j.with) > 0,
	}
	switch failure.Billing {
	case providers.Unbilled:
		s.Outcome, s.Cost = jobs.CallFailedUnbilled, new(billing.NanoUSD)
	case providers.Billed:
		s.Outcome, s.Usage = jobs.CallFailedBilled, failure.Usage
		j.charge(&s, c, c.model)
		if len(failure.Usage.Quantities()) <= 1 { // the call itself, and nothing that was counted
			s.Cost, s.PriceIDs = c.reserved, nil
		}
	case providers.BillingUnknown:
		s.Outcome = jobs.CallUnknown
	default: // a client that did not say
		s.Outcome = jobs.CallUnknown
	}
	j.log.Warn().Str("call_provider", c.provider).Stringer("call", c.id).Str("kind", string(s.Kind)).
		Str("outcome", string(s.Outcome)).Int("status", s.Status).Dur("latency", s.Latency).Msg("call failed")
	c.trace(s, "")
	return j.settle(s)
}

// succeed stores what the answer holds and commits it as the job's result. It fails
// with an unstoredError, with errSpooled, or with ErrLeaseLost where the answer came
// too late.
func (c *openCall) succeed(res providers.Response) error {
	j := c.journal
	s := jobs.Settlement{
		CallID: c.id, Outcome: jobs.CallSucceeded, Status: res.Status, RequestID: res.RequestID,
		Usage: res.Usage, Latency: res.Latency, Limits: res.Limits,
		Units: billing.Units(c.req.Task, res), Packed: len(j.with) > 0,
	}
	named := kinds.Named("", c.req)
	if named.N > 1 && c.req.Task == providers.Text {
		s.Usage.Answers = int64(named.N)
	}
	j.charge(&s, c, res.Model)
	if s.Packed {
		return c.succeedPack(s, res)
	}
	if miss := j.handler.judge(c.req, named.ResponseFormat, res, j.misses); miss != nil {
		return c.missed(s, *miss, res.Model)
	}
	stored, err := j.handler.store(res.Blobs)
	if err != nil {
		// Nowhere to put it: to go on trying would hold the slot.
		return c.unstored(s, &unstoredError{"artifact_store", "the answer came but could not be stored: " + err.Error(), err})
	}
	res.Blobs = nil // where they are is enough, should Postgres be away for long
	done := jobs.Success{JobID: j.job.ID, LeaseToken: j.job.LeaseToken, Settlement: s, Response: res, Artifacts: stored}
	if j.follow != nil {
		done.Child = j.follow(j.handler.writing, res, stored)
	}
	if j.cache != nil {
		done.Cache = j.keeps(c, res)
	}
	switch err := j.handler.record(spooled{Answer: &done}); {
	case errors.Is(err, jobs.ErrLeaseLost), errors.Is(err, errSpooled):
		c.trace(s, res.Model)
		return err
	case err != nil:
		return c.unstored(s, &unstoredError{"result_store", "the answer came but could not be recorded", err})
	}
	c.trace(s, res.Model)
	j.trace(jobs.Succeeded, "")
	j.recorded, j.kept = true, done.Cache != nil
	failpoint.Hit("recorded", j.job.Request.Model)
	j.log.Info().Str("model", res.Model).Dur("latency", res.Latency).Int("calls", j.calls).Msg("succeeded")
	return nil
}

// maxPauses bounds how often a vendor's wish to go on with an answer is followed: the
// next answer is the result, paused or not.
const maxPauses = 5

// missError is returned by End for an answer that is paid for and no success. Its call
// is settled.
type missError struct{ miss jobs.Miss }

func (e *missError) Error() string { return "the answer was rejected: " + string(e.miss.Kind) }

// judge returns why an answer is no success; nil: it is one. f is the format that the request
// asks for, in its own words or the vendor's; before are those answers of the same job that were none.
func (h *handler) judge(req providers.Request, f *providers.ResponseFormat, res providers.Response, before []jobs.Miss) *jobs.Miss {
	if req.Task != providers.Text {
		return nil
	}
	miss := &jobs.Miss{Answer: res.Text, OutputTokens: res.Usage.TotalOutput(), Model: res.Model, Provider: res.Provider}
	finish := providers.FinishOf(res.FinishReason)
	if finish == providers.FinishPause {
		pauses := 0
		for _, m := range before {
			if m.Kind == providers.Paused {
				pauses++
			}
		}
		if _, err := revised(req, providers.Revision{Paused: res.Raw}); err != nil || pauses >= maxPauses {
			return nil
		}
		miss.Kind, miss.Message, miss.Answer = providers.Paused, "the vendor asks to go on with the answer", string(res.Raw)
		return miss
	}
	cut := finish == providers.FinishLength
	if cut && (req.OnCut == providers.FailCut || req.OnCut == providers.RetryCut) {
		miss.Kind, miss.Message = providers.Cut, fmt.Sprintf("the answer was cut off after %d tokens", miss.OutputTokens)
		return miss
	}
	if f == nil || f.JSONSchema == nil || finish == providers.FinishToolCalls {
		return nil
	}
	problem := h.schemas.Violation(f.JSONSchema.Schema, res.Text)
	switch {
	case problem == "":
		return nil
	case cut: // to ask again would be to buy the same cut
		miss.Kind, miss.Message = providers.Cut, fmt.Sprintf("the answer was cut off after %d tokens and breaks its schema: %s", miss.OutputTokens, problem)
	default:
		miss.Kind, miss.Message = providers.OffSchema, problem
	}
	return miss
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

// missed settles a call whose answer is no success. It is kept, and so is what it cost,
// before anything more is asked.
func (c *openCall) missed(s jobs.Settlement, miss jobs.Miss, answered string) error {
	j := c.journal
	s.Outcome, s.Kind, s.Message, s.Body = jobs.CallFailedBilled, miss.Kind, miss.Message, []byte(miss.Answer)
	c.trace(s, answered)
	if err := j.handler.record(spooled{Settlement: &s}); err != nil && !errors.Is(err, errSpooled) {
		return err
	}
	failpoint.Hit("missed", j.job.Request.Model)
	j.log.Info().Stringer("call", s.CallID).Str("kind", string(miss.Kind)).Dur("latency", s.Latency).Msg("answer rejected")
	return &missError{miss}
}

// unstored settles a call whose answer could not be kept.
func (c *openCall) unstored(s jobs.Settlement, why *unstoredError) error {
	s.Outcome, s.Kind, s.Message = jobs.CallFailedBilled, providers.Kind(why.class), why.message
	c.trace(s, "")
	if err := c.journal.settle(s); err != nil {
		why.err = errors.Join(why.err, fmt.Errorf("settle the call: %w", err))
	}
	return why
}

// settle commits the settlement of a call without a result. One that is spooled is as
// good for the caller: the call is over.
func (j *journal) settle(s jobs.Settlement) error {
	if s.Outcome != jobs.CallFailedUnbilled {
		j.unknowns++
	}
	err := j.handler.record(spooled{Settlement: &s})
	if errors.Is(err, errSpooled) {
		j.log.Warn().Stringer("call", s.CallID).Msg("Postgres is away: what came of this call is spooled")
		return nil
	}
	return err
}

// charge prices a call: by the model that answered, else by the one that was
// asked for (the answer may name a dated version that no price is known for). Where it
// used what has no price, it is charged the most that was reserved for it: what it
// reserved must not become nothing.
func (j *journal) charge(s *jobs.Settlement, c *openCall, answered string) {
	for _, model := range []string{answered, c.model} {
		if amount, rows, priced := j.handler.cfg.Prices.Cost(c.provider, model, s.Usage, c.started); priced {
			s.Cost, s.PriceIDs = &amount, rows
			return
		}
	}
	s.Cost = c.reserved
}

func (c *openCall) trace(s jobs.Settlement, answered string) {
	if t := c.journal.handler.cfg.Tracer; t != nil {
		t.CallEnded(c.journal.job, c.provider, c.req, answered, c.started, s)
	}
}

func (j *journal) trace(state jobs.State, class string) {
	if t := j.handler.cfg.Tracer; t != nil && state.Finished() {
		t.JobEnded(j.job, state, class)
	}
}

// MayRepeat reports whether the job lets a failed call be sent again: what was
// certainly not billed always, what was billed never, and where nobody knows, once,
// unless the job says on_unknown: fail.
func (j *journal) MayRepeat(err *providers.Error) bool {
	if j.pending(err) {
		return false
	}
	switch err.Billing {
	case providers.Unbilled:
		return true
	case providers.Billed:
		return false
	case providers.BillingUnknown:
	}
	return j.mayPayAgain()
}

// mayPayAgain reports whether a call may be sent though one before it was, or may have
// been, paid for in vain.
func (j *journal) mayPayAgain() bool {
	return j.job.OnUnknown == jobs.RetryUnknown && j.job.Unknowns+j.unknowns <= 1
}

// errSpooled reports that an outcome is safe, but not in Postgres.
var errSpooled = errors.New("spooled")

// spoolTimeout is the time that a full disk may take to have room again. It, and the
// grace for a commit under way, fit into joinGrace.
const (
	spoolTimeout = 2 * time.Second
	commitGrace  = time.Second
)

// record commits the outcome of a call, however long Postgres is away; each
// handler has one outcome in hand, and as many handlers as a worker has are what
// it keeps in memory. When the time for writing is over, the outcome is spooled.
// A commit that is under way then may still come: both together do no harm.
func (h *handler) record(e spooled) error {
	var err error
	if e.Answer != nil {
		err = h.cfg.Store.Work.Succeed(h.writing, *e.Answer)
	} else {
		err = h.cfg.Store.Work.SettleCall(h.writing, *e.Settlement)
	}
	if err == nil || errors.Is(err, jobs.ErrLeaseLost) || h.writing.Err() == nil {
		return err
	}
	for tried := time.Now(); ; {
		spoolErr := h.spool.keep(e)
		if spoolErr == nil {
			return errSpooled
		}
		if errors.Is(spoolErr, errNoSpool) || time.Since(tried) > spoolTimeout {
			return errors.Join(err, spoolErr)
		}
		_ = sleep.For(context.WithoutCancel(h.writing), 100*time.Millisecond)
	}
}

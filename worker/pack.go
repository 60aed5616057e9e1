package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"oneflow/billing"
	"oneflow/internal/failpoint"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// maxPacking is the number of chunks of jobs that share calls which a worker has claimed at
// once: some thousand jobs and their answers, a few seconds of work.
const maxPacking = 8

// runPacked runs a chunk of jobs that may share calls, up to so many each. It takes the place
// of one job: its calls wait for the same limit one after the other, and what it keeps in
// memory is bounded by the chunk. All are claimed at once, and are then the jobs of packs,
// each of which makes the calls that a single job would. What goes back to the queue does so
// in Postgres, to be in a chunk again.
func (h *handler) runPacked(claims []jobs.Claim, most int, in *concurrency) error {
	in.took(1)
	waiting, done := context.WithTimeout(h.waiting, in.maxWait())
	defer done()
	c := chunk{handler: h, size: len(claims)}
	err := in.acquire(waiting)
	if err == nil {
		defer in.release()
		err = h.packing.Acquire(waiting, 1)
	}
	in.began(1) // until then the Server takes nothing more
	if err == nil {
		defer h.packing.Release(1)
		if err = h.slots.Acquire(waiting, 1); err == nil {
			defer h.slots.Release(1)
		}
	}
	if err != nil {
		c.giveBack(claims...)
		return c.end()
	}
	taken := h.takeAll(claims, &c)
	for _, j := range taken {
		defer h.held.Delete(j.job.LeaseToken)
	}
	for _, pack := range h.packs(taken, most) {
		c.jobs.Go(func() { h.runPack(&c, pack) })
	}
	c.jobs.Wait()
	return c.end()
}

// takeAll claims the jobs of a chunk, in few transactions. What is not to be run is noted.
func (h *handler) takeAll(claims []jobs.Claim, c *chunk) []*journal {
	journals := make([]*journal, len(claims))
	var claiming sync.WaitGroup
	for i, claim := range claims {
		claiming.Go(func() {
			log := h.logOf(claim)
			job, err := h.take(delivery{claim, true}, nil, log)
			if job == nil {
				c.note(claim, err)
				return
			}
			log = log.With().Int("attempt", job.Attempt).Str("provider", job.Provider).Logger()
			journals[i] = &journal{handler: h, job: *job, log: log}
		})
	}
	claiming.Wait()
	var taken []*journal
	for _, j := range journals {
		if j != nil {
			taken = append(taken, j)
		}
	}
	return taken
}

// packKey holds what jobs have in common that share a call: all but their prompts, so that
// what holds for one, before the call and after it, holds for all.
type packKey struct {
	account, batch, provider, chain, request string

	lane                                    jobs.Lane
	onUnknown                               jobs.OnUnknown
	fallback                                providers.Fallback
	attempt, maxAttempts, unknowns, crashes int
}

func packKeyOf(j jobs.Job) (packKey, bool) {
	req := j.Request
	req.Prompt = ""
	text, err := json.Marshal(req)
	return packKey{
		account: j.Account, batch: j.BatchID, provider: j.Provider, chain: strings.Join(j.Chain, "\n"), request: string(text),
		lane: j.Lane, onUnknown: j.OnUnknown, fallback: j.Fallback,
		attempt: j.Attempt, maxAttempts: j.MaxAttempts, unknowns: j.Unknowns, crashes: j.Crashes,
	}, err == nil && j.Request.PackSize() > 1
}

// packs divides jobs into those that share a call, in their order: as many as the provider
// takes, and no more of its tokens than it may be asked for in a second, or in the time
// between two of its requests, so that its limit is paced and not used in blows.
func (h *handler) packs(list []*journal, most int) (packs [][]*journal) {
	type open struct {
		place  int // in packs
		tokens int64
	}
	last := map[packKey]open{}
	for _, j := range list {
		key, shares := packKeyOf(j.job)
		jobsMost, tokensMost := h.packLimits(j.job, most)
		kind := h.cfg.kindOf(j.job.Provider)
		in, out := billing.EstimateTokens(kind, j.job.Request)
		o, begun := last[key]
		if o.tokens += in + out; shares && begun && len(packs[o.place]) < jobsMost && o.tokens <= tokensMost {
			packs[o.place] = append(packs[o.place], j)
			last[key] = o
			continue
		}
		packs = append(packs, []*journal{j})
		last[key] = open{len(packs) - 1, in + out}
	}
	return packs
}

// packLimits returns how many jobs, and how many of their tokens, a call may have.
func (h *handler) packLimits(j jobs.Job, most int) (jobsMost int, tokensMost int64) {
	jobsMost, tokensMost = min(most, j.Request.PackSize()), 1<<40
	if j.Request.Task == providers.Embedding {
		for _, provider := range append([]string{j.Provider}, j.Chain...) {
			can, _ := kinds.CapabilitiesOf(h.cfg.kindOf(provider))
			task := can.Tasks[j.Request.Task]
			jobsMost, tokensMost = min(jobsMost, max(task.Pack, 1)), min(tokensMost, int64(max(task.PackTokens, 1)))
		}
	}
	limits := h.cfg.Limits(j.Provider)
	each := min(cmp.Or(limits.RPM, 60), 60)
	for _, d := range []int64{limits.TPM, limits.ITPM} {
		if d > 0 {
			tokensMost = min(tokensMost, d/each)
		}
	}
	return jobsMost, tokensMost
}

// kindOf is the kind of a provider that is served.
func (c *Config) kindOf(provider string) string {
	for _, s := range c.Providers {
		if s.Name == provider {
			return s.Kind
		}
	}
	return ""
}

// runPack takes claimed jobs that share a call to the end of their claims. A refusal for what
// one of them asks, or for money, is met by halves, so that it is one job's in the end. A job
// that the answer has nothing for goes on alone.
func (h *handler) runPack(c *chunk, pack []*journal) {
	lead := pack[0]
	if len(pack) == 1 {
		h.runAlone(c, lead)
		return
	}
	defer func() {
		// A panic must not keep the leases; what it says may hold a prompt.
		if r := recover(); r != nil {
			lead.log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("handler panicked")
			h.endPack(c, pack, func(*journal) jobs.Completion {
				return jobs.Completion{State: jobs.Failed, Class: "panic", Message: "the worker panicked while it ran this job"}
			})
		}
	}()
	failpoint.Hit("claimed", lead.job.Request.Model)
	until, requests := lead.job.Deadline, make([]providers.Request, len(pack))
	for i, j := range pack {
		if err := h.lookAhead(j); err != nil {
			j.log.Warn().Err(err).Msg("the next step could not be read: handed back")
			h.endPack(c, pack, func(*journal) jobs.Completion {
				return jobs.Completion{State: jobs.Queued, RefundAttempt: true, After: shortWait}
			})
			return
		}
		requests[i], until = j.job.Request, earlier(until, j.job.Deadline)
	}
	shared := lead.job
	shared.Request = providers.Pack(requests)
	if h.withoutMoney(shared) != nil {
		h.runHalves(c, pack)
		return
	}
	lead.with = pack[1:]
	waiting, done := context.WithDeadline(h.waiting, until)
	defer done()
	_, err := h.cfg.Generator.Generate(waiting, shared.Route(), shared.Request, lead)
	lead.with = nil
	unknowns := lead.unknowns
	for _, j := range pack {
		j.calls, j.unknowns = lead.calls, 0
		j.job.Unknowns += unknowns
	}
	h.closePack(c, pack, err, waiting.Err() != nil)
}

// closePack ends jobs as what came of their call says; late reports whether the first of them
// had its deadline meanwhile.
func (h *handler) closePack(c *chunk, pack []*journal, err error, late bool) {
	lead := pack[0]
	if refused, ok := errors.AsType[*jobs.PackError](err); ok {
		var rest []*journal
		for _, j := range pack {
			why := refused.Refused[j.job.ID]
			switch {
			case why == nil:
				rest = append(rest, j)
			case errors.Is(why, jobs.ErrLeaseLost):
				j.log.Warn().Msg("lease lost: somebody else has the job")
			default:
				c.note(j.claim(), h.end(j, h.endOf(j, why)))
			}
		}
		if len(rest) > 0 {
			h.runPack(c, rest)
		}
		return
	}
	money, poor := errors.AsType[*jobs.BudgetError](err)
	if poor {
		h.refusals.note(money, time.Now())
	}
	if poor || divides(lead, err) {
		h.runHalves(c, pack)
		return
	}
	switch {
	case err == nil && lead.recorded:
		for _, j := range pack {
			if !j.answered {
				j.log.Info().Msg("no answer of its own in what was asked together: goes on alone")
				c.jobs.Go(func() { h.runAlone(c, j) })
			}
		}
		return
	case err == nil:
		err = errors.New("an answer came without a call in the ledger")
	case errors.Is(err, jobs.ErrLeaseLost):
		lead.log.Warn().Int("calls", lead.calls).Msg("lease lost: somebody else has the jobs; the calls made are on the bill")
		return
	case errors.Is(err, errSpooled):
		lead.log.Warn().Msg("Postgres is away: the answer is spooled, and the next worker to use the same state folder records it")
		c.comesAgain()
		return
	}
	if lost, ok := errors.AsType[*unstoredError](err); ok {
		h.endPack(c, pack, func(j *journal) jobs.Completion { return h.failUnstored(j, lost) })
		return
	}
	_, failed := finalError(err)
	h.endPack(c, pack, func(j *journal) jobs.Completion {
		switch {
		case failed || h.waiting.Err() != nil || !late:
			return h.endOf(j, err)
		case time.Now().Before(j.job.Deadline):
			return jobs.Completion{State: jobs.Queued, RefundAttempt: true}
		}
		return jobs.Completion{State: jobs.Expired}
	})
}

// divides reports whether a failure of a call for several jobs may be the fault of one of
// them, and the call may be sent again without it.
func divides(lead *journal, err error) bool {
	failure, ok := finalError(err)
	if !ok || failure.Billing != providers.Unbilled || !failure.Sent {
		return false
	}
	switch failure.Kind { //nolint:exhaustive // the others are nobody's fault in particular
	case providers.InvalidRequest, providers.TooLarge, providers.Moderated:
		return lead.MayRepeat(failure)
	}
	return false
}

func (h *handler) runHalves(c *chunk, pack []*journal) {
	half := len(pack) / 2
	h.runPack(c, pack[:half])
	h.runPack(c, pack[half:])
}

// runAlone runs one of the chunk's jobs with calls of its own.
func (h *handler) runAlone(c *chunk, j *journal) {
	c.note(j.claim(), h.run(delivery{Claim: j.claim()}, j.job, nil, j.job.Deadline, h.logOf(j.claim())))
}

// endPack ends the claims of jobs, which come back at the same time where they do.
func (h *handler) endPack(c *chunk, pack []*journal, end func(*journal) jobs.Completion) {
	first := end(pack[0])
	var ending sync.WaitGroup
	for _, j := range pack {
		ending.Go(func() {
			e := first
			if j != pack[0] {
				if e = end(j); e.State == first.State {
					e.After = first.After
				}
			}
			c.note(j.claim(), h.end(j, e))
		})
	}
	ending.Wait()
}

// claim is the delivery that the job was claimed by.
func (j *journal) claim() jobs.Claim {
	return jobs.Claim{ID: j.job.ID, Gen: j.job.Gen, LeaseToken: j.job.LeaseToken}
}

// served are the jobs of a packed call beside the first.
func (j *journal) served() (with []jobs.Served) {
	for _, other := range j.with {
		with = append(with, jobs.Served{JobID: other.job.ID, LeaseToken: other.job.LeaseToken, Weight: other.job.Request.Weight()})
	}
	return with
}

// succeedPack commits each job's part of the answer to a packed call as its result, and the
// settlement with them. It fails as succeed does.
func (c *openCall) succeedPack(s jobs.Settlement, res providers.Response) error {
	j := c.journal
	all := append([]*journal{j}, j.with...)
	requests := make([]providers.Request, len(all))
	for i, one := range all {
		requests[i] = one.job.Request
	}
	parts, err := providers.Split(requests, res)
	if err != nil {
		return c.unstored(s, &unstoredError{string(providers.Unreadable), "the answer does not fit what was asked for: " + err.Error(), err})
	}
	done := jobs.Success{JobID: j.job.ID, LeaseToken: j.job.LeaseToken, Settlement: s, Response: res}
	done.Response.Text, done.Response.Raw, done.Response.Vector, done.Response.With = "", nil, nil, nil
	var answered []*journal
	for i, one := range all {
		if parts[i] == nil {
			continue
		}
		part := jobs.Part{JobID: one.job.ID, LeaseToken: one.job.LeaseToken, Response: *parts[i]}
		if one.follow != nil {
			part.Child = one.follow(j.handler.writing, *parts[i], nil)
		}
		done.Parts, answered = append(done.Parts, part), append(answered, one)
	}
	switch err := j.handler.record(spooled{Answer: &done}); {
	case errors.Is(err, jobs.ErrLeaseLost), errors.Is(err, errSpooled):
		c.trace(s, res.Model)
		return err
	case err != nil:
		return c.unstored(s, &unstoredError{"result_store", "the answer came but could not be recorded", err})
	}
	c.trace(s, res.Model)
	j.recorded = true
	for _, one := range answered {
		one.answered = true
		one.trace(jobs.Succeeded, "")
	}
	failpoint.Hit("recorded", j.job.Request.Model)
	j.log.Info().Str("model", res.Model).Dur("latency", res.Latency).Int("jobs", len(all)).Int("calls", j.calls).Msg("succeeded")
	return nil
}

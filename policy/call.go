package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"oneflow/policy/breaker"
	"oneflow/providers"
)

// lateWait bounds the time that a call that stands in the ledger may wait for another slot.
// It is far less than a worker may be silent, and than a row may be overdue, before
// the job is somebody else's: the row is what keeps a zombie from sending.
const lateWait = 5 * time.Second

// sent holds what came of a call, and the deployment that it was made at.
type sent struct {
	res   providers.Response
	place string
}

// once makes one call under a permit and in a slot, at another deployment than the one that
// has failed, where there is one. The time says until when the provider asked everybody to
// wait; it is zero if it did not.
func (g *guard) once(ctx context.Context, urgency int, req providers.Request, j providers.Journal, failed string) (sent, time.Time, error) {
	slot, permit, err := g.admit(ctx, urgency, req, failed)
	if err != nil {
		return sent{}, time.Time{}, err
	}
	recorded := false
	defer func() {
		if !recorded { // a panic, or nothing was sent
			permit.Record(breaker.Nothing, "")
		}
	}()
	slot, entry, err := g.place(ctx, urgency, req, j, slot, permit)
	if err != nil {
		return sent{}, time.Time{}, err
	}
	out := sent{place: g.placeOf(slot)}
	out.res, err = g.call(ctx, entry, slot, req)
	var until time.Time
	failure, _ := errors.AsType[*providers.Error](err)
	if failure != nil && (failure.Kind == providers.RateLimited || failure.Kind == providers.ConcurrencyLimit) {
		// The fleet must know before the ledger does.
		until = slot.refused(failure)
		g.block(slot.scope(), until)
		g.log.Warn().Str("kind", string(failure.Kind)).Time("until", until).Msg("provider asks to wait")
	}
	recorded = true
	permit.Record(g.outcome(failure))
	if until.IsZero() {
		slot.done(out.res, failure) // before the ledger, which may take its time
	}
	if endErr := entry.End(ctx, out.res, err); endErr != nil {
		// Not recorded: nothing more may be sent for this job from here.
		err = fmt.Errorf("%s: record the call: %w", g.name, endErr)
	}
	return out, until, err
}

// place writes a call into the ledger. Where that took so
// long that its slot has passed, as with a Postgres that stood still, all that wait
// for it would go out at once: the call waits for another slot, and goes out from
// there without another row, so that a ledger that is always slow holds nobody up.
func (g *guard) place(ctx context.Context, urgency int, req providers.Request, j providers.Journal, got granted, permit breaker.Permit) (granted, providers.Call, error) {
	entry, err := g.begin(ctx, got, req, j)
	if err != nil {
		got.unused()
		return granted{}, nil, err
	}
	if !got.late() {
		return got, entry, nil
	}
	got.unused()
	scope, unsent := got.scope(), g.waits(firstDelay, providers.WaitError{For: providers.WaitForLedger})
	soon, cancel := context.WithTimeout(ctx, lateWait)
	defer cancel()
	elsewhere := func(other string) bool { return other != scope }
	if got, err = g.slot(soon, urgency, req, elsewhere); err == nil {
		if err = permit.Check(); err == nil && got.scope() == scope {
			return got, entry, nil
		}
		if err == nil {
			err = unsent // with another key than the row says
		} else {
			err = g.notAsked(err)
		}
		got.unused()
	}
	// Nothing was sent, whatever the reason.
	if soon.Err() != nil && ctx.Err() == nil {
		err = unsent
	}
	if endErr := entry.End(ctx, providers.Response{}, unsent); endErr != nil {
		err = fmt.Errorf("%s: settle a call that was not sent: %w", g.name, endErr)
	}
	return granted{}, nil, err
}

func (g *guard) begin(ctx context.Context, slot granted, req providers.Request, j providers.Journal) (providers.Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return j.Begin(providers.WithScope(ctx, slot.scope()), g.name, req)
}

// call sends req. It does not end with ctx.
func (g *guard) call(ctx context.Context, entry providers.Call, slot granted, req providers.Request) (res providers.Response, err error) {
	callCtx, cancel := context.WithTimeout(g.calls, g.timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			// Settle what was sent, then let the worker see the panic.
			failure := &providers.Error{Provider: g.name, Kind: providers.Unknown, Billing: providers.BillingUnknown, Sent: true}
			_ = entry.End(ctx, res, failure)
			slot.done(res, failure)
			panic(r)
		}
	}()
	res, err = g.provider.Generate(providers.WithOrders(providers.WithScope(callCtx, slot.scope()), entry.Ordered), req)
	if err != nil {
		return res, providers.AsError(g.name, err)
	}
	return res, nil
}

// outcome returns what the breaker is told of a call, and the failure's name.
func (g *guard) outcome(failure *providers.Error) (what breaker.Outcome, cause string) {
	if failure == nil {
		return breaker.Succeeded, ""
	}
	cause = strings.ReplaceAll(string(failure.Kind), "_", " ")
	if failure.Status != 0 {
		cause += fmt.Sprintf(" (HTTP %d)", failure.Status)
	}
	switch {
	case g.calls.Err() != nil: // cut off by us
		return breaker.Nothing, ""
	case failure.Kind.Reaction() == providers.Wait:
		return breaker.Throttled, cause
	case failure.Kind.Health() == providers.Failing:
		return breaker.Failed, cause
	case failure.Kind.Health() == providers.Alive:
		return breaker.Succeeded, ""
	}
	return breaker.Nothing, ""
}

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
)

// WaitReason names the cause of a job's wait.
type WaitReason string

// The reasons for which a job waits.
const (
	WaitForResume   WaitReason = "paused"      // an operator holds the job or its batch
	WaitForTime     WaitReason = "scheduled"   // the time that it was asked for
	WaitForRetry    WaitReason = "retry"       // a failed attempt is repeated later
	WaitForWorker   WaitReason = "no_worker"   // no live worker serves its provider
	WaitForKey      WaitReason = "no_key"      // its provider has no API key
	WaitForOperator WaitReason = "unavailable" // its provider is out of use
	WaitForBreaker  WaitReason = "breaker"     // its provider's circuit breaker is open
	WaitForBlock    WaitReason = "block"       // its provider asked to be left alone
	WaitForLimit    WaitReason = "limit"       // its provider's limit
	WaitForService  WaitReason = "service"     // Redis or Postgres does not answer the workers
	WaitForBudget   WaitReason = "budget"      // the calls that it needs do not fit in a budget or wallet
	WaitForCache    WaitReason = "cache"       // another job makes the same call, whose answer it gets
	WaitForTurn     WaitReason = "turn"        // other jobs are before it
)

// WaitingJobs are jobs that wait and of which the store says the same.
type WaitingJobs struct {
	// Provider is the first that they ask.
	Provider string
	// Model is the one that they ask for, where each of the provider's is limited by itself.
	Model  string
	State  jobs.State
	Paused bool
	// Reason is the worker's word when it gave them back without a failure; empty
	// where none did.
	Reason string
	// Raise is the command that raises the budget or wallet which they wait for; empty
	// where they wait for none, or it is gone. Anew is the time at which the budget's next
	// period begins; zero: never. Total tells that it never does, and that no call is under
	// way that might give something back.
	Raise string
	Anew  time.Time
	Total bool
	// Short says what is left of it, and what the next call needs; empty: nothing is left.
	Short string
	// ErrorClass is the class of the failure that is retried.
	ErrorClass string
	// Jobs is their number. RunAt is the earliest time that one was asked for,
	// and NotBefore the earliest until which one was given back; zero: none.
	Jobs      int64
	RunAt     time.Time
	NotBefore time.Time
}

// Wait says why jobs wait.
type Wait struct {
	Reason   WaitReason `json:"reason"`
	Provider string     `json:"provider,omitempty"`
	// Model is the one for whose limit they wait, where that has one of its own.
	Model string `json:"model,omitempty"`
	Jobs  int64  `json:"jobs"`
	// Since is the time at which the cause began, and Until that at which the next of them goes on; both
	// zero where nobody knows.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Text says it for people, with the way out where there is one.
	Text string `json:"text"`
	// Stopped reports whether they wait for money that only an order can add.
	Stopped bool `json:"-"`

	// budget names the one that they wait for: those of several are told apart.
	budget string
}

// MaxWaiting bounds the number of jobs that are looked at to say why they wait: a sixteenth of it of those of
// a batch of which more than ten thousand wait, whose status is asked for again and again.
const MaxWaiting = 2000

// WaitStore reads why jobs wait.
type WaitStore interface {
	// Waiting groups the jobs that wait: those of a batch, or the one job; both
	// empty: all. It looks at a bounded number of them.
	Waiting(ctx context.Context, batch, job string) ([]WaitingJobs, error)
	// Standings returns the state of each provider.
	Standings(ctx context.Context) ([]Health, error)
}

// Waits says why the jobs of a batch wait, or why the one job does, the reason of
// most jobs first. It is empty where none waits.
func Waits(ctx context.Context, store WaitStore, batch, job string) ([]Wait, error) {
	waiting, err := store.Waiting(ctx, batch, job)
	if err != nil || len(waiting) == 0 {
		return nil, err
	}
	standings, err := store.Standings(ctx)
	if err != nil {
		return nil, err
	}
	return WaitsOf(waiting, standings, time.Now()), nil
}

// WaitsOf composes what is stored of waiting jobs with the state of their
// providers. Groups with one reason are one.
func WaitsOf(waiting []WaitingJobs, standings []Health, now time.Time) []Wait {
	known := map[string]Health{}
	alive := false
	for _, h := range standings {
		known[h.Name] = h
		alive = alive || h.Workers > 0
	}
	var list []Wait
	for _, w := range waiting {
		next := w.wait(known[w.Provider], alive, now)
		next.Provider, next.Jobs = w.Provider, w.Jobs
		i := slices.IndexFunc(list, func(l Wait) bool {
			if l.Reason == WaitForRetry && (l.Provider != next.Provider || l.Model != next.Model || l.Text != next.Text) {
				return false
			}
			// One text for several providers is about none of them.
			return l.Reason == next.Reason && l.budget == next.budget && (l.Text == next.Text || l.Provider == next.Provider && l.Model == next.Model)
		})
		if i < 0 {
			list = append(list, next)
			continue
		}
		l := &list[i]
		if l.Provider != next.Provider {
			l.Provider = ""
		}
		l.Jobs += next.Jobs
		if !next.Until.IsZero() && (l.Until.IsZero() || next.Until.Before(l.Until)) {
			l.Until, l.Text = next.Until, next.Text
		}
	}
	slices.SortStableFunc(list, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// wait finds the reason that holds, the most lasting first. h is the provider's
// state, and alive whether any worker is.
func (w WaitingJobs) wait(h Health, alive bool, now time.Time) Wait {
	p := w.Provider
	until := func(t time.Time, what string) string {
		if t.After(now) {
			return what + " " + clock(t, now)
		}
		return ""
	}
	switch {
	case w.Paused:
		return Wait{Reason: WaitForResume, Text: "paused by an operator: `enqueue resume` lets it go on"}
	case w.RunAt.After(now):
		return Wait{Reason: WaitForTime, Until: w.RunAt, Text: "scheduled for " + clock(w.RunAt, now)}
	case strings.HasPrefix(w.Reason, "budget: "):
		name := strings.TrimPrefix(w.Reason, "budget: ")
		what := fmt.Sprintf("the %s is used up", name)
		switch wallet := strings.HasPrefix(name, "wallet "); {
		case wallet && w.Short != "":
			what = fmt.Sprintf("out of funds: in the %s %s", name, w.Short)
		case wallet:
			what = fmt.Sprintf("out of funds: what is free in the %s does not reach", name)
		case w.Short != "":
			what = fmt.Sprintf("the %s does not reach: %s", name, w.Short)
		}
		if w.Raise != "" {
			what += fmt.Sprintf(": `%s` raises it", w.Raise)
		}
		if w.Anew.After(now) {
			return Wait{Reason: WaitForBudget, Until: w.Anew, Text: what + until(w.Anew, "; else they go on when it begins anew, at"), budget: name}
		}
		return Wait{Reason: WaitForBudget, Until: w.NotBefore, Text: what + until(w.NotBefore, "; looked at again at"), Stopped: w.Total, budget: name}
	case strings.HasPrefix(w.Reason, "bound: "):
		return Wait{Reason: WaitForBudget, budget: w.Reason, Text: fmt.Sprintf(
			"a bill of %s was above the most that was reserved for it, and a budget lets no other through: `monitor alerts` names the command that raises the bound",
			strings.TrimPrefix(w.Reason, "bound: "))}
	case w.Reason == string(WaitForCache):
		return Wait{Reason: WaitForCache, Text: "another job makes the same call: its answer will be this one's, too"}
	case !alive:
		return Wait{Reason: WaitForWorker, Text: "no worker is running: start one with `worker run`"}
	case w.Reason == string(WaitForKey):
		return Wait{Reason: WaitForKey, Text: fmt.Sprintf("%s has no API key: `worker keys set %s`", p, p)}
	case h.Workers == 0:
		return Wait{Reason: WaitForWorker, Text: fmt.Sprintf("no live worker serves %s: it needs a key (`worker keys set %s`) or a worker that names it", p, p)}
	case w.State == jobs.Retrying:
		return Wait{Reason: WaitForRetry, Until: w.NotBefore, Text: "retrying after " + cmp.Or(w.ErrorClass, "a failure") + until(w.NotBefore, ", at")}
	case h.Status == Unavailable:
		text := p + " is unavailable" + because(h.Reason)
		if h.By != "" {
			text += ", says " + h.By
		}
		return Wait{Reason: WaitForOperator, Since: h.Since, Text: text}
	case h.Breaker.Held == "" && h.Breaker.State == BreakerOpen:
		return Wait{
			Reason: WaitForBreaker, Since: h.Breaker.Since, Until: w.NotBefore,
			Text: fmt.Sprintf("the breaker of %s is open%s%s%s", p, since(h.Breaker.Since, now), because(h.Breaker.Reason), until(w.NotBefore, "; next probe at")),
		}
	case h.BlockedUntil.After(now):
		return Wait{
			Reason: WaitForBlock, Until: h.BlockedUntil,
			Text: fmt.Sprintf("%s asked to be left alone until %s%s", p, clock(h.BlockedUntil, now), because(h.BlockedReason)),
		}
	}
	limits, of, model := limitText(h.Limits), "", ""
	if own, ok := h.ModelLimits[w.Model]; ok && own != (providers.Limits{}) {
		limits, of, model = limitText(own), " for "+w.Model, w.Model
	}
	switch reason := WaitReason(w.Reason); reason { //nolint:exhaustive // the others are not stored
	case "":
		text := "waiting for a turn at " + p
		if limits != "" {
			text += ", which takes " + limits + of
		}
		return Wait{Reason: WaitForTurn, Model: model, Text: text}
	case WaitForLimit, WaitForBlock, WaitForBreaker, WaitForOperator:
		// A cause that has ended meanwhile: the jobs go on at their time.
		text := map[WaitReason]string{
			WaitForLimit: "waiting for the limit of " + p, WaitForBlock: p + " asked to be left alone",
			WaitForBreaker: "the breaker of " + p + " was open", WaitForOperator: p + " was unavailable",
		}[reason]
		if reason != WaitForLimit {
			model = ""
		} else if limits != "" {
			text += of + " (" + limits + ")"
		}
		return Wait{Reason: reason, Model: model, Until: w.NotBefore, Text: text + until(w.NotBefore, ", until")}
	case "redis", "postgres":
		return Wait{Reason: WaitForService, Until: w.NotBefore, Text: w.Reason + " did not answer a worker" + until(w.NotBefore, "; again at")}
	default:
		return Wait{
			Reason: WaitForOperator, Until: w.NotBefore,
			Text: p + " refused the account or the key: " + w.Reason + until(w.NotBefore, "; again at"),
		}
	}
}

// clock is a time of today, or of another day.
func clock(t, now time.Time) string {
	if t, now := t.UTC(), now.UTC(); t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.UTC().Format("15:04:05 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + clock(t, now)
}

// limitText lists limits, such as "60 requests/min, 3 at once".
func limitText(l providers.Limits) string {
	var parts []string
	for _, d := range providers.Dimensions() {
		unit := d.Unit()
		if d == providers.DimensionConcurrent {
			unit = "at once"
		}
		if n := l.Of(d); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	return strings.Join(parts, ", ")
}

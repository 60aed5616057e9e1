package fleet

import (
	"fmt"
	"time"

	"oneflow/providers"
)

const (
	// healthWindow is the time that the figures of a provider's health are about where
	// nobody asks for another time.
	healthWindow = time.Hour
	// OutOfMoney is the time for which a provider that has said that its account is out of
	// money is taken at its word.
	OutOfMoney = 10 * time.Minute
	// degradedUnder is the success rate in the Recent time under which a provider
	// counts as degraded, once it had enough calls.
	degradedUnder = 0.8
	// enough is the number of calls that it takes to judge a provider.
	enough = 10
)

// Standing is the state of a provider, and the reason.
type Standing struct {
	// Status is the first that holds of: unavailable (a person says so, or holds
	// its breaker open, or its account is out of money), degraded (its breaker is
	// open or half open, or it asked to be left alone, or fewer than 80 % of its
	// calls succeeded in the Recent time, of at least 10), available.
	Status Status `json:"status"`
	// Reason, By and Since say why, who did it, and when; By is empty where nobody
	// did.
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"changed_by,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Breaker is the state of its circuit breaker, as workers tell.
	Breaker Breaker `json:"breaker"`
	// BlockedUntil is until when it asked to be left alone, and BlockedReason why;
	// zero if it did not.
	BlockedUntil  time.Time `json:"blocked_until,omitzero"`
	BlockedReason string    `json:"blocked_reason,omitempty"`
	// Limits are those in force.
	Limits providers.Limits `json:"limits"`
	// ModelLimits are those of its models, by name, where each is limited by itself: all that
	// workers have met. Limits hold for all of them together then.
	ModelLimits map[string]providers.Limits `json:"model_limits,omitempty"`
	// MetricsSince is the time at which a person let its figures begin anew; zero: never.
	MetricsSince time.Time `json:"metrics_since,omitzero"`
	// OutOfMoneyAt is the time at which it last said that its account is out of money.
	OutOfMoneyAt time.Time `json:"-"`
}

// PerMinute returns the requests a minute that all its calls may come to, as far as is known
// which models it is asked for; 0: as many as one wants.
func (s *Standing) PerMinute() int64 {
	sum := int64(0)
	for _, l := range s.ModelLimits {
		if l.RPM == 0 {
			return s.Limits.RPM
		}
		sum += l.RPM
	}
	if s.Limits.RPM > 0 && (sum == 0 || s.Limits.RPM < sum) {
		return s.Limits.RPM
	}
	return sum
}

// Breaker is a circuit breaker.
type Breaker struct {
	State  BreakerState `json:"state"`
	Reason string       `json:"reason,omitempty"`
	Since  time.Time    `json:"since,omitzero"`
	// Held is the state in which a person holds it, and By names the person; empty: it works by itself.
	Held BreakerState `json:"held,omitempty"`
	By   string       `json:"held_by,omitempty"`
}

// BreakerMove says when a provider's circuit breaker moved, by itself or by a person's order.
type BreakerMove struct {
	Provider string    `json:"provider"`
	At       time.Time `json:"at"`
	// State is the one that it moved to.
	State BreakerState `json:"state"`
	// Held is the state in which a person holds it from then on; empty: it works by itself.
	Held   BreakerState `json:"held,omitempty"`
	Reason string       `json:"reason,omitempty"`
	// By names the person; empty: it moved by itself.
	By string `json:"by,omitempty"`
}

// Judge sets Status, and what belongs to it, from what a person has said of the
// provider, which stands there, and from everything else. recent is its traffic
// in the Recent time.
func (s *Standing) Judge(recent Traffic, now time.Time) {
	if s.Status == Unavailable {
		return
	}
	judged := Standing{Status: Available, Since: s.Since, By: s.By, Reason: s.Reason}
	rate, ok := recent.SuccessRate()
	asked := recent.Requests - recent.RateLimited - recent.Refused
	switch b := s.Breaker; {
	case now.Before(s.OutOfMoneyAt.Add(OutOfMoney)):
		judged = Standing{Status: Unavailable, Reason: "its account is out of money", Since: s.OutOfMoneyAt}
	case b.Held == BreakerOpen:
		judged = Standing{Status: Unavailable, Reason: "its breaker is held open", By: b.By}
	case b.Held == "" && b.State != BreakerClosed && b.State != "":
		judged = Standing{Status: Degraded, Reason: "its breaker is " + words(b.State) + because(b.Reason), Since: b.Since}
	case now.Before(s.BlockedUntil):
		judged = Standing{Status: Degraded, Reason: "it asked to be left alone until " +
			s.BlockedUntil.UTC().Format("15:04:05 UTC") + because(s.BlockedReason)}
	case ok && asked >= enough && rate < degradedUnder:
		judged = Standing{Status: Degraded, Reason: fmt.Sprintf("%d of %d calls failed in the last %d minutes",
			asked-recent.Succeeded, asked, int(Recent.Minutes()))}
	}
	s.Status, s.Reason, s.By, s.Since = judged.Status, judged.Reason, judged.By, judged.Since
}

func words(s BreakerState) string {
	if s == BreakerHalfOpen {
		return "half open"
	}
	return string(s)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// Health is a provider and what came of its calls since a time.
type Health struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Standing
	// Workers is the number of live workers that serve it.
	Workers int `json:"workers"`
	// Keys are the last characters of its keys, four of each at most, as the worker that
	// registered last has them; nil: it needs none, or has none.
	Keys []string `json:"keys,omitempty"`
	// From is the beginning of the figures: the later of the window's start and
	// MetricsSince. It is zero without figures.
	From time.Time `json:"figures_from,omitzero"`
	// Models are its models that had traffic since then, the busiest first.
	Models []Figures `json:"models"`
}

// Figures are of the calls that have ended. Of those of one model, counts and money are exact, and
// latencies within the 9 % that a bucket of their histogram is wide; a window of more than an
// hour begins with a whole one.
type Figures struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Traffic
	// Latencies are of the calls that succeeded, in milliseconds.
	Mean int64 `json:"latency_ms_mean"`
	P50  int64 `json:"latency_ms_p50"`
	P95  int64 `json:"latency_ms_p95"`
	P99  int64 `json:"latency_ms_p99"`
	// LastError is the kind of the last failure, and LastErrorAt its time.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

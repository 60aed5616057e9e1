package providers

import "time"

// Limits are how much of a provider one account may use. 0 means: no limit.
type Limits struct {
	// RPS, RPM and RPD are requests a second, a minute and a day.
	RPS int64 `json:"rps,omitempty"`
	RPM int64 `json:"rpm,omitempty"`
	RPD int64 `json:"rpd,omitempty"`
	// TPM is tokens a minute, input and output together (OpenAI).
	TPM int64 `json:"tpm,omitempty"`
	// ITPM and OTPM are input and output tokens a minute (Anthropic).
	ITPM int64 `json:"itpm,omitempty"`
	OTPM int64 `json:"otpm,omitempty"`
	// Concurrent is how many calls may be under way at once (ElevenLabs).
	Concurrent int64 `json:"concurrent,omitempty"`
}

// Status is what is thought of a provider.
type Status string

// The states of a provider. Unavailable is said by a person; a degraded one is
// used as before.
const (
	Available   Status = "available"
	Degraded    Status = "degraded"
	Unavailable Status = "unavailable"
)

// BreakerState is where a circuit breaker stands, or where a person holds it.
type BreakerState string

// The states of a circuit breaker. As an order, the empty state means: by itself.
const (
	BreakerClosed   BreakerState = "closed"
	BreakerOpen     BreakerState = "open"
	BreakerHalfOpen BreakerState = "half_open"
)

// Settings is what people have set for one provider, and what workers have
// learned about it. The zero value is a provider without limits, in good health.
type Settings struct {
	Status Status
	// Reason is why it is unavailable or degraded.
	Reason string
	// Limits are those in force: pinned by a person, else learned, else configured.
	Limits Limits
	// BlockedUntil is until when the provider asked to be left alone, as far as
	// is recorded; zero if it did not.
	BlockedUntil time.Time
	// Breaker is where a person holds the breaker, BreakerOpen or BreakerClosed;
	// empty: it works by itself.
	Breaker BreakerState
}

// Learned is what a worker learned about a provider. Zero fields say nothing.
type Learned struct {
	// Limits are what answers said the limits are, or what refusals showed.
	Limits Limits
	// BlockedUntil is until when the provider asked to be left alone.
	BlockedUntil time.Time
	// OutOfMoney tells that the account has no credit left.
	OutOfMoney bool
	// Breaker is where the fleet's breaker has gone.
	Breaker BreakerState
	// Reason says what it was, without any text of a prompt or an answer.
	Reason string
}

// Fallback says when a job may go to another provider than its own.
type Fallback string

// The kinds of fallback.
const (
	// FallbackAuto, the default: for every failure but a final one.
	FallbackAuto Fallback = "auto"
	// FallbackNever: not at all.
	FallbackNever Fallback = "never"
	// FallbackAlways: also where the provider refused the request itself.
	FallbackAlways Fallback = "always"
)

// Route says where a request may be sent.
type Route struct {
	// Provider is the first to be asked.
	Provider string
	// Chain are the providers to ask in order, for a job that has a chain of its
	// own; nil: Provider, then those of the task's chain.
	Chain []string
	// Fallback says when to go on to the next; empty: FallbackAuto.
	Fallback Fallback
	// Urgency orders those that wait here for the same provider: 0 is the most
	// urgent lane.
	Urgency int
}

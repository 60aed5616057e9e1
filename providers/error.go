package providers

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says why a call failed, in terms that decide what happens next.
type Kind string

// The kinds of failure. What follows from each stands in the table of Kind.rule.
const (
	RateLimited       Kind = "rate_limited"       // too many requests or tokens: wait
	ConcurrencyLimit  Kind = "concurrency_limit"  // too many calls at once: wait, with fewer
	Overloaded        Kind = "overloaded"         // the provider is out of capacity
	OutOfMoney        Kind = "out_of_money"       // the account has no credit left
	Unauthorised      Kind = "unauthorised"       // the key is wrong or may do nothing
	AccessDenied      Kind = "access_denied"      // the account or the place is shut out: suspended, a region, a firewall
	InvalidRequest    Kind = "invalid_request"    // the provider refuses what was asked
	Moderated         Kind = "moderated"          // refused for its content
	NotFound          Kind = "not_found"          // no such model, voice or address
	TooLarge          Kind = "too_large"          // the request is larger than allowed
	Timeout           Kind = "timeout"            // no whole answer in time
	Connection        Kind = "connection"         // the connection failed: see Error.Sent
	MalformedResponse Kind = "malformed_response" // an answer that is none: broken off, not JSON
	Unreadable        Kind = "unreadable_answer"  // an answer that is charged and holds nothing that we can use
	Cancelled         Kind = "cancelled"          // we gave up: shutdown
	NotAsked          Kind = "not_asked"          // passed over: breaker open, out of use, or the limits cannot be read
	OffSchema         Kind = "schema"             // an answer that is charged and breaks the schema that was asked for
	Cut               Kind = "cut"                // an answer that is charged and was cut off, where that is no success
	Paused            Kind = "pause"              // an answer that is charged and that the vendor asks to go on with
	Unknown           Kind = "unknown"            // anything else
)

// Billing says whether a failed call is charged for.
type Billing string

// A failed call is certainly not charged, certainly charged, or nobody knows.
const (
	Unbilled       Billing = "unbilled"
	Billed         Billing = "billed"
	BillingUnknown Billing = "unknown"
)

// Error is the failure of a provider call. Its text never holds the prompt, the
// answer or a key: what the provider wrote is in Body only.
type Error struct {
	// Provider is the configured name of the provider.
	Provider string
	// Kind classifies the failure.
	Kind Kind
	// Billing says whether this failure is charged for.
	Billing Billing
	// Status is the HTTP status; 0 when there was no answer.
	Status int
	// Code is the provider's own short word for it, such as
	// "insufficient_quota". It is at most 64 letters, digits and "_-.", else empty.
	Code string
	// RetryAfter is the time that the provider asked to wait; 0 when it did not.
	// It is never negative and not clamped.
	RetryAfter time.Duration
	// RequestID is the provider's id of this call.
	RequestID string
	// Sent reports whether some of the request may have reached the provider.
	Sent bool
	// Body is the provider's own text: at most 64 KiB of a refusal, and the whole of
	// an answer that is charged and cannot be used. It may repeat the prompt: it
	// belongs in Postgres, never in a log.
	Body []byte
	// Param is the field of the request that the provider refuses, such as
	// "max_tokens", where it names one.
	Param string
	// URL is the address that was called: scheme, host and path, without a query.
	URL string
	// Reason is the provider's own sentence: one line of at most 300 characters,
	// without what it repeats of the prompt and the key. It is for whoever made the
	// request, and for no log: what a vendor writes is never certain.
	Reason string
	// Limits are those that the headers of the refusal named.
	Limits RateLimits
	// Usage is the use of a billed failure.
	Usage Usage
	// RefusedKey shows the end of the key that was refused, where the provider has others: the
	// same call may be made with one of them at once. Else it is empty.
	RefusedKey string
	// Waiting is the cause of the wait, where the request was handed back without having
	// been refused for itself; else nil.
	Waiting *WaitError
	// Err is the cause. Its text is shown only if it is certain to hold nothing
	// of the request, that is when it is one of the standard library's network
	// or context errors; clients wrap anything else away.
	Err error
}

// Error names the provider, the kind, and what identifies the failure.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Provider, strings.ReplaceAll(string(e.Kind), "_", " "))
	var about []string
	if e.Status != 0 {
		about = append(about, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Code != "" {
		about = append(about, e.Code)
	}
	if e.RetryAfter > 0 {
		about = append(about, "retry after "+e.RetryAfter.String())
	}
	if e.RequestID != "" {
		about = append(about, "request "+e.RequestID)
	}
	if len(about) > 0 {
		b.WriteString(" (" + strings.Join(about, ", ") + ")")
	}
	switch {
	case e.Err != nil:
		b.WriteString(": " + e.Err.Error())
	case e.Waiting != nil && !e.Sent:
		b.WriteString(": " + e.Waiting.Error())
	}
	return b.String()
}

// Explain is the error's text for whoever made the request: what Error says, the
// address that was called, the field that was refused and the provider's sentence.
// It is not for logs: see Reason.
func (e *Error) Explain() string {
	var b strings.Builder
	b.WriteString(e.Error())
	if e.URL != "" && !strings.Contains(e.Reason, e.URL) {
		b.WriteString(", calling " + e.URL)
	}
	if e.Param != "" && !strings.Contains(e.Reason, e.Param) {
		fmt.Fprintf(&b, ": parameter %q", e.Param)
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	return b.String()
}

// Explain is the text of err for whoever made the request: see Error.Explain. Of any
// other error it is the text as it is.
func Explain(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Explain()
	}
	return err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an *Error, so that a caller can rely on a kind. An error
// of another type becomes an Unknown one with unknown billing and no text of its
// own: nobody has checked what that text holds.
func AsError(provider string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Provider: provider, Kind: Unknown, Billing: BillingUnknown, Sent: true}
}

// Reaction is the consequence of a kind of failure for the job.
type Reaction int

// The four reactions.
const (
	// Retry: the same call may well succeed in a moment. It uses up a retry, and an
	// attempt of the job's when retries are used up.
	Retry Reaction = iota
	// Wait: the provider asked to wait; no attempt is used up.
	Wait
	// Pause: nothing will succeed until a person did something; no attempt is used
	// up.
	Pause
	// Final: the same call will fail again. The job has failed.
	Final
)

// Health is the meaning of a failure for the provider as a whole, for its breaker.
type Health int

// What a failure says.
const (
	// Failing: the provider does not do its work.
	Failing Health = iota
	// Alive: it works, and refused this one request.
	Alive
	// Silent: nothing is known from it.
	Silent
)

// rule is the consequence of a kind of failure.
type rule struct {
	reaction  Reaction
	fallsBack bool
	health    Health
}

// rule is the one table that retry, fallback, breaker and queue go by. It does not
// say whether repeating is free: Error.Billing does.
func (k Kind) rule() rule {
	switch k {
	case Overloaded, Timeout, Connection, MalformedResponse, Unknown:
		return rule{Retry, true, Failing}
	case Cancelled:
		return rule{Retry, false, Silent}
	case RateLimited, ConcurrencyLimit, NotAsked:
		return rule{Wait, true, Silent}
	case OutOfMoney, Unauthorised, AccessDenied:
		return rule{Pause, true, Silent}
	case InvalidRequest, Moderated, NotFound, TooLarge, Unreadable, OffSchema, Cut, Paused:
		return rule{Final, false, Alive}
	}
	return rule{Final, false, Silent}
}

// Reaction returns what follows from this kind of failure for the job.
func (k Kind) Reaction() Reaction { return k.rule().reaction }

// FallsBack reports whether another provider is asked after this kind of failure,
// unless the job says otherwise.
func (k Kind) FallsBack() bool { return k.rule().fallsBack }

// Health returns what this kind of failure says about the provider.
func (k Kind) Health() Health { return k.rule().health }

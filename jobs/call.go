package jobs

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/providers"
)

// Call is a provider call about to be sent.
type Call struct {
	CallID     uuid.UUID
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	// Gen is the generation of the delivery by which the job is claimed together with this
	// call, its first; 0: it is claimed already.
	Gen      int
	Provider string
	Model    string
	// Scope names the scope of limits in which the call was let through; empty: the provider.
	Scope string
	// Reserved is the most the call can cost; nil where no price is known.
	Reserved *billing.NanoUSD
	// Task is the job's, and Units the most that a rate card can count of its answer.
	Task  providers.Task
	Units int64
	// Timeout is the time that the call may take.
	Timeout time.Duration
	// Simulated reports whether the call spends simulated money, not real.
	Simulated bool
	// Weight is the job's part in the cost, beside those of With; 0: 1.
	Weight int
	// With are further jobs that a packed call serves. They are of the same account and batch,
	// so that the budgets of the first hold for all.
	With []Served
}

// Served is a job that a packed call serves beside others, with its claim.
type Served struct {
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	Weight     int
}

// PackError reports that a call for several jobs may not be sent because of some of them.
type PackError struct {
	// Refused are those jobs, each with the error that it alone would have got.
	Refused map[uuid.UUID]error
}

// Error says how many there are.
func (e *PackError) Error() string {
	return fmt.Sprintf("%d jobs of a packed call may not be sent", len(e.Refused))
}

// Outcome is the end of a provider call.
type Outcome string

// The outcomes of a provider call.
const (
	CallSucceeded      Outcome = "succeeded"
	CallFailedUnbilled Outcome = "failed_unbilled"
	CallFailedBilled   Outcome = "failed_billed"
	CallUnknown        Outcome = "unknown"
)

// Settlement is the end of a provider call. The cost of an unknown one is what
// was reserved for it.
type Settlement struct {
	CallID  uuid.UUID
	Outcome Outcome
	// Cost is nil where no price is known, and for CallUnknown.
	Cost      *billing.NanoUSD
	PriceIDs  []string
	Latency   time.Duration
	Status    int
	RequestID string
	Kind      providers.Kind
	Message   string
	Body      []byte
	Usage     providers.Usage
	// Limits are those that the answer's headers named.
	Limits providers.RateLimits
	// Units is the amount that a rate card counts of the answer: see billing.Units.
	Units int64
	// Packed reports whether the call serves several jobs.
	Packed bool `json:",omitempty"`
}

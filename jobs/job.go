// Package jobs is the domain: jobs and their states, how they are accepted, what
// stands in the ledger of their calls, and how they are delivered through asynq.
// Package worker runs them.
//
// Postgres is the truth and Redis is delivery. The package declares, in small
// interfaces, what it needs of a store; commands hand it in. It may import billing
// and providers, and speaks asynq for the codec of its tasks. It never imports
// store, policy or worker.
package jobs

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/providers"
)

// State is a job's place in its life. The transitions are
//
//	scheduled → queued → running → succeeded | failed | cancelled | expired | unknown
//	running → retrying → running,  running → queued (handed back, or taken over)
//
// and beside them: an answer that comes late makes any job that has not ended,
// and an unknown one, succeeded; a person who settles an unknown job's calls makes
// it failed, and brings failed, unknown and expired ones back to queued. All other
// ends are final. Each transition is one conditional UPDATE that names the state
// it comes from. The schema holds the same machine in CHECK constraints.
type State string

// The states of a job.
const (
	Scheduled State = "scheduled" // waits for RunAt
	Queued    State = "queued"    // waits for a worker
	Running   State = "running"   // a worker holds its lease
	Retrying  State = "retrying"  // waits for NotBefore after a failure
	Succeeded State = "succeeded" // has a result
	Failed    State = "failed"    // gave up: see ErrorClass
	Cancelled State = "cancelled" // a person did not want it any more
	Expired   State = "expired"   // its deadline passed first
	Unknown   State = "unknown"   // a call was sent, its outcome is not known, and it may not be repeated
)

// States lists all states, in the order in which they are shown.
func States() []State {
	return []State{Scheduled, Queued, Running, Retrying, Succeeded, Failed, Cancelled, Expired, Unknown}
}

// Finished reports whether a job in this state has ended: of itself it never runs
// again.
func (s State) Finished() bool {
	switch s {
	case Succeeded, Failed, Cancelled, Expired, Unknown:
		return true
	case Scheduled, Queued, Running, Retrying:
		return false
	}
	return false
}

// Lane is a priority within a provider.
type Lane string

// The three lanes, weighted 6:3:1.
const (
	High    Lane = "high"
	Default Lane = "default"
	Bulk    Lane = "bulk"
)

// Lanes lists the lanes, the most urgent first.
func Lanes() []Lane { return []Lane{High, Default, Bulk} }

// OnUnknown says what to do after a call whose outcome is not known.
type OnUnknown string

// RetryUnknown, the default, sends once more and keeps the unknown call on the
// bill; FailUnknown never sends again.
const (
	RetryUnknown OnUnknown = "retry"
	FailUnknown  OnUnknown = "fail"
)

// A job that took part in SuspectCrashes deaths of workers runs beside none but other suspects, of which there are
// many after two kills of a busy worker; after LoneCrashes it runs alone in its worker, and after
// MaxCrashes it is quarantined.
const (
	SuspectCrashes = 2
	LoneCrashes    = 3
	MaxCrashes     = 4
)

// Silence is the time that a worker may go without a heartbeat before its jobs are taken
// over.
const Silence = 15 * time.Second

// What a job gets where its producer says nothing.
const (
	DefaultMaxAttempts = 5
	DefaultDeadline    = 24 * time.Hour
	DefaultAccount     = "default"
)

// New is a job as a producer brings it.
type New struct {
	// ID is made by NewID.
	ID uuid.UUID
	// Seq is the row's place in its input, from 1.
	Seq int64
	// Turn is its place in the order in which the batch is dispatched, from 1; 0: Seq.
	Turn int64
	// Key makes the row unique in its batch: see Keys.
	Key string
	// ContentSHA256 is the hash of everything that decides what the job does.
	ContentSHA256 [32]byte
	// CustomID is the producer's own id, or empty.
	CustomID string
	Account  string
	Provider string
	Lane     Lane
	Request  providers.Request
	// Encoded is the Request as JSON: see Keys.
	Encoded   []byte
	OnUnknown OnUnknown
	// Own are the columns of the row that decide nothing, as a JSON object in their
	// order: its export has them. Nil: there are none.
	Own []byte
	// Chain are the providers to ask in order; nil: the chain of the task.
	Chain []string
	// Fallback says when to go on to the next; empty: FallbackAuto.
	Fallback providers.Fallback
	// Least is the least that it is expected to cost, of real money. It is counted against
	// the wallet of its account until it runs; 0: it is not counted.
	Least billing.NanoUSD
	// Estimate holds its expected cost, which is added to its batch's.
	Estimate Estimate
	// RunAt is the time to run it; the zero time means now.
	RunAt time.Time
	// Deadline is the time at which it expires if it has not ended; the zero time means
	// DefaultDeadline after it is due.
	Deadline time.Time
	// MaxAttempts is the number of times that the queue tries; 0 means DefaultMaxAttempts.
	MaxAttempts int
}

// NewID makes a job's or an attempt's id, ordered by time (UUID version 7).
func NewID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// Queue is the place in which jobs wait for their turn: a provider's lane, which is one queue of asynq's,
// or the part of it for one model, where the provider limits each model by itself.
type Queue struct {
	Provider string
	Lane     Lane
	// Model is the one that its jobs ask for; empty: it has those of all models.
	Model string
}

// String names it for people.
func (q Queue) String() string {
	if q.Model == "" {
		return QueueName(q.Provider, q.Lane)
	}
	return QueueName(q.Provider, q.Lane) + " of " + q.Model
}

// Delivery names one delivery of one job to Redis.
type Delivery struct {
	ID       uuid.UUID
	Gen      int
	Provider string
	Lane     Lane
	Account  string
	Task     providers.Task
	Model    string
	BatchID  string
	// QueueModel is the Model of its Queue.
	QueueModel string
	// StartTag is its place in the fair order of its queue.
	StartTag int64
	// At is the time from which it may run; the zero time, or one that has passed, means now.
	At time.Time
	// Pack is the number of jobs like this one that a call may serve; 0: 1.
	Pack int
	// DeliveryID is the task of a chunk that carries it with others; empty: it has one
	// of its own.
	DeliveryID string
}

// TaskID is the id of the task that carries the delivery.
func (d Delivery) TaskID() string {
	if d.DeliveryID != "" {
		return d.DeliveryID
	}
	return TaskID(d.ID, d.Gen)
}

// Job is a job as its holder sees it.
type Job struct {
	ID               uuid.UUID
	BatchID          string
	Account          string
	Gen              int
	Attempt          int
	MaxAttempts      int
	MaxProviderCalls int
	Provider         string
	Lane             Lane
	Request          providers.Request
	OnUnknown        OnUnknown
	Chain            []string
	Fallback         providers.Fallback
	Deadline         time.Time // by this machine's clock, whatever that shows
	// Unknowns counts its calls that have ended with unknown outcome, or were
	// billed and brought no result, misses among them.
	Unknowns int
	// Crashes is the number of workers that died while they held it.
	Crashes int
	// LeaseToken fences every write of this holder.
	LeaseToken uuid.UUID
}

// Route says where the job may be sent.
func (j *Job) Route() providers.Route {
	return providers.Route{Provider: j.Provider, Chain: j.Chain, Fallback: j.Fallback, Urgency: slices.Index(Lanes(), j.Lane)}
}

// Claim asks for a job on behalf of one delivery.
type Claim struct {
	ID         uuid.UUID
	Gen        int
	LeaseToken uuid.UUID
}

// Claimed answers a Claim: either the job, or why there is nothing to do.
type Claimed struct {
	Job *Job
	// Wait is the time until the job is due; 0 means that this delivery is
	// stale and has nothing to do, ever.
	Wait time.Duration
}

// Miss is an answer that was paid for and is no success: it breaks its schema, was cut
// off, or is to be continued.
type Miss struct {
	// Kind is providers.OffSchema, providers.Cut or providers.Paused, and Message what
	// was wrong.
	Kind    providers.Kind
	Message string
	// Answer is its text, or the body of one that is to be continued.
	Answer       string
	OutputTokens int64
	// Provider and Model are those that were asked.
	Provider, Model string
}

// Order is a call whose outcome is not known and that has ordered something which the
// provider may still work on.
type Order struct {
	CallID          uuid.UUID
	Provider, Model string
	// Handle names the order at the provider.
	Handle   string
	Reserved *billing.NanoUSD
	Started  time.Time
	// Counted reports whether the call is one of the job's Unknowns: not if it was made
	// before a person's last retry.
	Counted bool
}

// Artifact is a picture, sound or film that has been stored.
type Artifact struct {
	MIME   string
	Size   int64
	SHA256 [32]byte
	URL    string
}

// Success ends a job with a result, in one commit with its call's settlement, and with
// the job of the next step.
type Success struct {
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	Settlement Settlement
	Response   providers.Response
	Artifacts  []Artifact
	// Child is the next step's job; nil: there is no next step.
	Child *Child `json:",omitempty"`
	// Cache has the answer kept for the same request of others; nil: it is not.
	Cache *Keep `json:",omitempty"`
	// Parts holds the results of the jobs of a packed call, in place of the above but the
	// Settlement. A job without one goes on.
	Parts []Part `json:",omitempty"`
}

// Part is the result that a job has from a packed call.
type Part struct {
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	Response   providers.Response
	Child      *Child `json:",omitempty"`
}

// Completion ends a claim without a result.
type Completion struct {
	JobID      uuid.UUID
	LeaseToken uuid.UUID
	// State is Queued (handed back unharmed), Retrying, Failed, Expired,
	// Cancelled or Unknown. A job whose cancellation was asked for becomes
	// Cancelled in place of Queued, Retrying and Failed.
	State State
	// RefundAttempt gives the claim's attempt back: waiting is not a failure.
	RefundAttempt bool
	// After is the wait before the next claim, for Retrying, and for Queued with a
	// WaitReason.
	After time.Duration
	// WaitReason says what a job that is handed back waits for, though nothing failed;
	// empty: nothing in particular.
	WaitReason string
	// Budget is the id of the one that a job which is handed back waits for, as it was
	// at BudgetAt; 0: none. Where it was changed since, the job does not wait.
	Budget   int64
	BudgetAt time.Time
	Class    string
	Message  string
}

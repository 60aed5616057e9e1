package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
)

// Stores holds what a worker needs of a store, by purpose; one value may be all of
// them. Each is needed.
type Stores struct {
	Work       WorkStore
	Orders     OrderStore
	Presence   PresenceStore
	Leader     LeaderStore
	Recovery   RecoveryStore
	Deliveries DeliveryStore
	Capacity   CapacityStore
	Money      MoneyStore
	Watch      WatchStore
	Cache      CacheStore
}

// complete reports whether none of them is missing.
func (s Stores) complete() bool {
	return s.Work != nil && s.Orders != nil && s.Presence != nil && s.Leader != nil && s.Recovery != nil && s.Deliveries != nil && s.Capacity != nil && s.Money != nil && s.Watch != nil && s.Cache != nil
}

// WorkStore does a worker's part for a job. All of it is fenced with the lease
// and may be called again with the same arguments after an error: what was
// committed the first time is found and reported as done. What writes returns within about
// a second of the end of its ctx, also where Postgres is silent.
type WorkStore interface {
	// Claim takes a job for this worker, or says why there is nothing to do.
	Claim(ctx context.Context, worker uuid.UUID, c jobs.Claim) (jobs.Claimed, error)
	// Untouched returns those of the jobs that nobody has claimed before, and that could
	// be claimed now, as a claim would return them, without a lease.
	Untouched(ctx context.Context, claims []jobs.Claim) ([]jobs.Job, error)
	// BeginCall commits the ledger's row of a call, and the claim of its job where the call
	// has a generation. It fails with ErrLeaseLost, also where there is nothing to claim,
	// ErrCancelled, ErrPaused, ErrExpired or ErrTooManyCalls, or of a packed call with a PackError, and then
	// the call must not be sent.
	BeginCall(ctx context.Context, worker uuid.UUID, c jobs.Call) error
	// Known returns those of the calls that stand in the ledger.
	Known(ctx context.Context, calls []uuid.UUID) ([]uuid.UUID, error)
	// Misses returns the answers of a job that were paid for and no success, since a
	// person's last retry, oldest first.
	Misses(ctx context.Context, job uuid.UUID) ([]jobs.Miss, error)
	// SettleCall ends a call that brought no result.
	SettleCall(ctx context.Context, s jobs.Settlement) error
	// Succeed commits the settlement, the result and the job's end together. A
	// job that was lost meanwhile gets the result too, if it has none and has not
	// ended in another way. ErrLeaseLost means that the call was settled but its
	// answer is not the job's result.
	Succeed(ctx context.Context, s jobs.Success) error
	// Complete gives the job back or ends it; it fails with ErrLeaseLost. It returns
	// the state that the job got.
	Complete(ctx context.Context, c jobs.Completion) (jobs.State, error)
}

// OrderStore keeps what calls have ordered, so that another worker can go on with it.
type OrderStore interface {
	// SetHandle writes down the handle of what a call has ordered; empty: it is over.
	SetHandle(ctx context.Context, call uuid.UUID, handle string) error
	// Order returns the last order of a job that may still be made, of a call whose
	// outcome is not known, or nil.
	Order(ctx context.Context, job uuid.UUID) (*jobs.Order, error)
}

// MoneyStore watches what is spent.
type MoneyStore interface {
	// Budgets returns all budgets and wallets, as they are now.
	Budgets(ctx context.Context) ([]billing.Budget, error)
	// Bounds returns those of models that are not the price list's, or had a bill above.
	Bounds(ctx context.Context) ([]billing.Bound, error)
	// WrongLedgers returns the wallets whose balance is not the sum of their ledger.
	WrongLedgers(ctx context.Context) ([]billing.LedgerError, error)
	// HourlyCost compares the last hour with others.
	HourlyCost(ctx context.Context) (billing.HourlyCost, error)
	// RaiseAlerts makes the open alerts of some kinds those that hold now. It returns
	// those that it opened, and those that are over. webhook is a URL that is told of them, in
	// the same commit; empty: none is.
	RaiseAlerts(ctx context.Context, kinds []string, now []jobs.Alert, webhook string) (opened, over []jobs.Alert, err error)
}

// WatchStore tells what people have to know of besides money.
type WatchStore interface {
	// ProvidersDown returns the providers that have not been used for at least so long, though nobody
	// wants it so.
	ProvidersDown(ctx context.Context, atLeast time.Duration) ([]Down, error)
	// DeadLetters counts, by provider, the jobs that have ended without an answer and not been stopped, in the
	// last hour.
	DeadLetters(ctx context.Context) (map[string]int64, error)
	// StuckQueues returns the queues in which jobs have been due for at least so long, and none has
	// ended or runs; those of providers that a person has disabled are left out.
	StuckQueues(ctx context.Context, atLeast time.Duration) ([]Stuck, error)
}

// Down is a provider that is not used.
type Down struct {
	Provider string
	// Why says why, for people.
	Why string
}

// Stuck is a queue in which nothing moves.
type Stuck struct {
	jobs.Queue
	// Jobs counts those that are due, Since is the time at which the first of them was.
	Jobs  int64
	Since time.Time
}

// Heartbeat is the time that one of the fleet's workers has been silent.
type Heartbeat struct {
	Worker uuid.UUID
	// Silent is the time since its last heartbeat was seen, without the time in which
	// Postgres was away.
	Silent time.Duration
}

// Presence is a worker in the workers table.
type Presence struct {
	ID        uuid.UUID
	Host      string
	PID       int
	Providers []Served
	// Version says which build it is.
	Version string
}

// PresenceStore holds what a worker says of itself.
type PresenceStore interface {
	// Warm has the database get ready for the statements of a job's way from its claim to its
	// result, which else the first jobs would wait for.
	Warm(ctx context.Context) error
	// Register adds the worker's row, and its providers' with what it serves them
	// with.
	Register(ctx context.Context, p Presence) error
	// Heartbeat renews it.
	Heartbeat(ctx context.Context, worker uuid.UUID) error
	// Retire marks it stopped.
	Retire(ctx context.Context, worker uuid.UUID) error
	// Leases returns the leases of the jobs that Postgres says a worker runs.
	Leases(ctx context.Context, worker uuid.UUID) ([]uuid.UUID, error)
	// TakeBack is TakeOver for the leases that a living worker has lost sight
	// of; it does not stop the worker.
	TakeBack(ctx context.Context, worker uuid.UUID, leases []uuid.UUID) (int, error)
}

// LeaderStore chooses one worker for what one alone must do.
type LeaderStore interface {
	// Lead takes or renews the lease of a role for ttl, and reports whether
	// holder has it.
	Lead(ctx context.Context, role string, holder uuid.UUID, ttl time.Duration) (bool, error)
	// Resign gives the lease of a role up.
	Resign(ctx context.Context, role string, holder uuid.UUID) error
	// Heartbeats returns the workers that have not stopped and, for the leader, those that
	// left while jobs were in their name. Each worker calls it again and again: what
	// lies between two calls, whoever makes them, counts as silence, but maxStep at most,
	// since Postgres may have been away. It is kept in Postgres, so that silence goes
	// on counting when the leader dies.
	Heartbeats(ctx context.Context, maxStep time.Duration, isLeader bool) ([]Heartbeat, error)
	// RecordActions adds to how often something was put right, by what it was.
	RecordActions(ctx context.Context, done map[string]int64) error
}

// RecoveryStore puts right what crashes, outages and the passing of time leave.
type RecoveryStore interface {
	// TakeOver takes a dead worker's jobs from it, with a new generation each,
	// settles its open calls as unknown, and marks it stopped. It returns how
	// many jobs it took.
	TakeOver(ctx context.Context, worker uuid.UUID) (int, error)
	// TakeOverdue gives up calls that nobody has settled by the grace after their
	// deadlines, as unknown, and takes their jobs from their living holders. It
	// returns how many.
	TakeOverdue(ctx context.Context, grace time.Duration) (int, error)
	// ExpireOverdue ends jobs whose deadline has passed and that nobody runs.
	ExpireOverdue(ctx context.Context) (int, error)
	// SweepCancelled ends the waiting jobs of cancelled batches.
	SweepCancelled(ctx context.Context) (int, error)
	// AuditCounts compares the counts of a batch, the next one by id, with its jobs,
	// and mends them where they are wrong, which is an error of this program. It
	// returns "" after the last batch.
	AuditCounts(ctx context.Context, after string) (batch string, wrong bool, err error)
	// CompactEnds keeps the counts of ended jobs few.
	CompactEnds(ctx context.Context) error
	// FoldMetrics sums up the figures of calls of past minutes and hours, so that those of a
	// day are read in a moment, and reports whether there may be more.
	FoldMetrics(ctx context.Context) (more bool, err error)
}

// DeliveryStore says which jobs are to be pushed to Redis, and which were.
type DeliveryStore interface {
	jobs.DispatchStore
	// Backlogs returns the queues that have jobs which nobody has dispatched, the
	// most urgent lanes first.
	Backlogs(ctx context.Context) ([]jobs.Queue, error)
	// Due returns the time until the next of the jobs that were to run later after since
	// has to be dispatched, 0: at once, and what time it is there. A job that is due so soon
	// that the next look may come too late is dispatched with its acceptance.
	Due(ctx context.Context, since time.Time) (wait time.Duration, now time.Time, err error)
	// TopUp marks up to limit jobs of a queue as dispatched, as far as its window
	// has room for: in turn by account, and within an account by batch. full reports
	// that the window had no room.
	TopUp(ctx context.Context, q jobs.Queue, limit int) (marked []jobs.Delivery, full bool, err error)
	// Dispatched returns up to limit of the waiting jobs that were dispatched at
	// least age ago, in an order of its own, from the one after after.
	Dispatched(ctx context.Context, after jobs.Delivery, age time.Duration, limit int) ([]jobs.Delivery, error)
	// Redispatch takes back deliveries that Redis has lost: each job gets a new
	// generation, which TopUp finds. What has been claimed, has ended or is of
	// another generation by now is left alone. It returns how many.
	Redispatch(ctx context.Context, lost []jobs.Delivery) (int, error)
}

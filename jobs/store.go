package jobs

import (
	"context"
	"errors"
	"fmt"

	"oneflow/billing"
)

// Errors that a store returns, for the packages that stand on this one to act on.
var (
	// ErrLeaseLost: the job is not held under this lease any more. The holder
	// stops and writes nothing; somebody else has the job, or it has ended.
	ErrLeaseLost = errors.New("the job's lease is lost")
	// ErrCancelled: somebody asked for the job's cancellation.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrPaused: somebody holds the job back for now.
	ErrPaused = errors.New("the job is paused")
	// ErrExpired: the job's deadline has passed.
	ErrExpired = errors.New("the job's deadline has passed")
	// ErrTooManyCalls: the job has made as many provider calls as it may.
	ErrTooManyCalls = errors.New("the job has used up its provider calls")
	// ErrBatchCancelled: the batch takes no more rows.
	ErrBatchCancelled = errors.New("the batch was cancelled")
	// ErrBatchRemoved: the batch's jobs and results were removed, and its id is not used
	// again.
	ErrBatchRemoved = errors.New("the batch was removed")
	// ErrBatchUnfinished: jobs of the batch have not ended.
	ErrBatchUnfinished = errors.New("the batch has not finished")
	// ErrMediaRunning: a worker is making pictures, sound or film just now.
	ErrMediaRunning = errors.New("pictures, sound or film are being made")
	// ErrOtherSource: the batch has rows of another file, or other steps.
	ErrOtherSource = errors.New("the batch has rows of another source")
	// ErrNotFound: there is no such job or batch.
	ErrNotFound = errors.New("no such job or batch")
)

// OtherBatchError reports that a batch that is there has another account, or another value of a tag,
// than the one that is brought now: the money of its calls stands there already.
type OtherBatchError struct {
	// What the batch has, such as "tag team=search", and what was brought in its place.
	Is, Given string
}

func (e *OtherBatchError) Error() string { return "the batch has " + e.Is + ", not " + e.Given }

// OtherOptionsError reports that a batch that is there was made with another value of an option than
// the one that is brought now: its rows would be bought anew, or be taken for others.
type OtherOptionsError struct {
	// Name is the option's, with its value in the batch and the one that is brought; empty: none.
	Name, Is, Given string
}

func (e *OtherOptionsError) Error() string {
	or := func(value string) string {
		if value == "" {
			return "none"
		}
		return value
	}
	return fmt.Sprintf("the batch was made with %s %s, not %s", e.Name, or(e.Is), or(e.Given))
}

// BudgetError reports that a call was not begun because of money.
type BudgetError struct {
	// Budget is the one that it does not fit in.
	Budget billing.Budget
	// Unpriced reports whether no price is known for the call's model: a budget that blocks
	// refuses what nobody can bound.
	Unpriced bool
	// Needs is the most that the call can cost.
	Needs billing.NanoUSD
	// Bound is that of the call's model, where a bill was above it and it was not raised
	// since; else nil.
	Bound *billing.Bound
}

func (e *BudgetError) Error() string {
	if e.Unpriced {
		return fmt.Sprintf("no price is known for this model, and the %s blocks what nobody can bound: "+
			"give it a price (`worker prices import`), or let the budget only warn (`monitor budget set --warn`)", e.Budget)
	}
	if e.Bound != nil {
		return fmt.Sprintf("%s, and the %s lets none through: `%s`", e.Bound, e.Budget, e.Bound.Command())
	}
	return fmt.Sprintf("the call may cost %s, and the %s has %s left", e.Needs.Human(), e.Budget, max(e.Budget.Left(), 0).Human())
}

// Batch identifies the jobs that a producer brings in one go.
type Batch struct {
	ID      string
	Account string
	// Source says where the rows come from, such as a file's base name.
	Source string
	// Origin stands for the file that its rows come from; empty where that is not known, as
	// of standard input.
	Origin string
	// Options decide, by their names, what is made of the rows, such as the model; none where
	// that is not known. Texts that may be long or private are given as their hash.
	Options map[string]string
	// First is the key of the first row that is brought now. Empty: nothing is
	// compared.
	First string
	// Append lets rows of another origin, and made with other options, in. Exact lets none in, also where the first row is
	// there already.
	Append, Exact bool
	// Own lets rows into a batch of Account alone: for all others the one that is there does
	// not exist.
	Own bool
	// Tags are a producer's own names and values, for lists and for sums of money. None: those
	// that the batch has.
	Tags map[string]string
	// Webhook is the URL that is called when the batch has ended, and, if PerJob, when
	// each of its jobs has; empty: none is, or that of before.
	Webhook string
	PerJob  bool
	// Steps are those of a pipeline of which this batch is the first; none: it is none.
	Steps []Step
}

// Accepted counts the rows handed to AcceptJobs by what became of them.
type Accepted struct {
	// New counts the new jobs.
	New int
	// Deliveries are those of the new jobs that the caller has to push to Redis:
	// none but what the windows of their queues have room for.
	Deliveries []Delivery
	// Duplicates counts rows that the batch has already.
	Duplicates int
	// Conflicts are the Seqs of rows whose key the batch has already with other
	// content.
	Conflicts []int64
}

// AcceptStore takes new jobs.
type AcceptStore interface {
	// OpenBatch makes the batch, unless there is one of that id: one that has no rows yet becomes b. It fails with
	// ErrBatchCancelled and ErrBatchRemoved; with ErrNotFound where b.Own says so; with an OtherBatchError where the
	// batch is another account's, or has not the tags that are brought; and, unless b.Append, with an OtherOptionsError,
	// and with ErrOtherSource where the first row that is brought now is none of its rows, and b.Origin is not the one
	// that it was made with.
	OpenBatch(ctx context.Context, b Batch) error
	// AcceptJobs inserts what is new of rows, all or none, in one commit.
	// batchID is empty for single jobs. dispatch reports whether the caller pushes
	// what there is room for. It fails with ErrBatchCancelled.
	AcceptJobs(ctx context.Context, batchID string, rows []New, dispatch bool) (Accepted, error)
	// SealBatch says that the batch's last row was accepted.
	SealBatch(ctx context.Context, id string) error
}

// DispatchStore keeps track of what was pushed to Redis.
//
// A job that is marked as dispatched is either in Redis, or is being pushed, or
// whoever set out to push it has died: the worker's audit tells which.
type DispatchStore interface {
	FleetStore
	// Undispatch takes back the marks of deliveries that could not be pushed.
	Undispatch(ctx context.Context, failed []Delivery) error
}

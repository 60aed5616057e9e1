package frontdoor

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"oneflow/batches"
	"oneflow/jobs"
)

// Errors of a store.
var (
	// ErrNoFile is returned where there is no such file, or it belongs to another account.
	ErrNoFile = errors.New("no such file")
	// ErrNoBatch is returned where there is no such batch, or it belongs to another account.
	ErrNoBatch = errors.New("no such batch")
	// ErrOtherBody is returned where an idempotency key was used with another body.
	ErrOtherBody = errors.New("this idempotency key was used with another request")
)

// File is an uploaded file.
type File struct {
	ID, Account, Filename, Purpose string
	Bytes                          int64
	// URL names the place of its bytes.
	URL                  string
	CreatedAt, ExpiresAt time.Time
}

// Batch holds a program's wishes for the batch of the same id.
type Batch struct {
	ID, Account, Endpoint, InputFileID string
	Metadata                           map[string]string
	CreatedAt, ExpiresAt               time.Time
	// TakenAt is the time at which its rows became jobs, FailedAt that at which its file turned out to have
	// faults, CancelledAt that of its cancellation; zero: not so far.
	TakenAt, FailedAt, CancelledAt time.Time
	Faults                         []Fault
}

// Fault is something wrong with a line of a batch's file.
type Fault struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int64  `json:"line"`
}

// Page is a part of a list, the newest first: those after an id, up to Limit. Account is
// the one to list; empty: all.
type Page struct {
	Account, After string
	Limit          int
	// Endpoint is the one of the batches to list; empty: all but those of messages.
	Endpoint string
}

// FileStore keeps files' rows.
type FileStore interface {
	AddFile(ctx context.Context, f File) error
	// File fails with ErrNoFile, also for one that has expired.
	File(ctx context.Context, id string) (File, error)
	Files(ctx context.Context, p Page, purpose string) ([]File, error)
	// RemoveFile forgets a file; one that is gone is no error.
	RemoveFile(ctx context.Context, id string) error
	// ExpiredFiles returns some files that have expired.
	ExpiredFiles(ctx context.Context, limit int) ([]File, error)
}

// BatchStore keeps batches' rows.
type BatchStore interface {
	// AddAPIBatch stores a batch. again tells that the client may have sent the same
	// before: then one of the last minutes that is the same is returned in its place. One
	// with the same id is, too; where it asks for something else, it fails with ErrOtherBody.
	AddAPIBatch(ctx context.Context, b Batch, again bool) (Batch, error)
	// APIBatch fails with ErrNoBatch.
	APIBatch(ctx context.Context, id string) (Batch, error)
	APIBatches(ctx context.Context, p Page) ([]Batch, error)
	// NextIntake returns a batch whose rows are to be taken in, and nobody else's until
	// the lease ends; ok is false where there is none.
	NextIntake(ctx context.Context, lease time.Duration) (b Batch, ok bool, err error)
	// EndIntake says that a batch's rows were taken in, or with faults that none was.
	EndIntake(ctx context.Context, id string, faults []Fault) error
	// CancelAPIBatch notes that a batch is to be cancelled.
	CancelAPIBatch(ctx context.Context, id string) error
}

// CallStore keeps track of calls that clients wait for.
type CallStore interface {
	// RememberCall keeps a new call's job, unless the caller has used the same
	// idempotency key before: then that job is returned. It fails with ErrOtherBody.
	RememberCall(ctx context.Context, c Call) (jobID uuid.UUID, err error)
	// JoinCall returns the job that the same caller has made before, by the same
	// idempotency key or, without one, by the same body. Without a key, a job that was
	// stopped or has expired with nothing sent is passed over. It fails with ErrOtherBody.
	JoinCall(ctx context.Context, c Call) (jobID uuid.UUID, ok bool, err error)
	// CallJoined reports whether a call's job was joined by a retry.
	CallJoined(ctx context.Context, jobID uuid.UUID) (bool, error)
	// EndedOf returns which of some jobs have ended, or are not there.
	EndedOf(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
	// WaitingIn counts the jobs that wait in a queue, as far as limit.
	WaitingIn(ctx context.Context, q jobs.Queue, limit int) (int, error)
	// ForgetCalls forgets calls that are older than a day.
	ForgetCalls(ctx context.Context) error
}

// Call is a call that a client waits for.
type Call struct {
	JobID       uuid.UUID
	Caller      string
	SHA256      [32]byte
	Idempotency string
}

// JobStore reads and cancels jobs.
type JobStore interface {
	jobs.AcceptStore
	batches.ExportStore
	Progress(ctx context.Context, id string) (jobs.Progress, error)
	// StopJobs cancels a job or a batch. What was sent already may finish.
	StopJobs(ctx context.Context, id string) error
}

// Stores are the parts of a store that the front door needs.
type Stores struct {
	Files   FileStore
	Batches BatchStore
	Calls   CallStore
	Jobs    JobStore
}

func encoded(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

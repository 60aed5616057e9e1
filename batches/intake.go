// Package batches is what people bring and take: it reads files of prompts into
// jobs, line by line, and writes results out again. It may import jobs, billing
// and providers.
package batches

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"oneflow/jobs"
	"oneflow/providers"
)

// chunk and chunkBytes are how many rows, and about how much text, are accepted in
// one commit at most. What is held takes several times its size while it is read
// and sent.
const (
	chunk      = 2000
	chunkBytes = 8 << 20
)

// Rows that are not enough for that are accepted all the same when none followed
// for idle, or when the first of them has waited for longest.
const (
	idle    = time.Second
	longest = 5 * time.Second
)

// Input says how to make jobs of rows.
type Input struct {
	// Name stands for the file in errors.
	Name string
	// Map renames columns: from the name of a row's field, such as "prompt", to
	// the column that holds it. With a Map, columns that have no meaning here
	// are passed over; without one they are errors.
	Map map[string]string
	// Defaults are fields for rows that do not set them, as JSON.
	Defaults map[string]json.RawMessage
	// Account, OnUnknown, RunAt and Deadline hold for all rows; the zero Deadline is
	// the default.
	Account   string
	OnUnknown jobs.OnUnknown
	RunAt     time.Time
	Deadline  time.Time
	// Kind returns the kind of the provider of that name; ok is false if none is
	// configured.
	Kind func(provider string) (kind string, ok bool)
	// DefaultModel returns the model of a provider for rows that name none; empty
	// if such rows are to be refused. Nil: the default of the provider's kind.
	DefaultModel func(provider string, task providers.Task) string
	// OnModel is told what each row asks for; nil: nobody is.
	OnModel func(provider string, task providers.Task, model string)
}

// Read hands each good row of a source to accept and each bad one to reject. It
// stops at the first error of accept, or of the source.
func (in Input) Read(rows RowSource, accept func(jobs.New) error, reject func(*LineError)) error {
	keys := jobs.NewKeys()
	for {
		fields, place, err := rows.Next() //nolint:forbidigo // rows of a file, not of a query
		if errors.Is(err, io.EOF) {
			return nil
		}
		if bad, ok := errors.AsType[*LineError](err); ok {
			reject(bad)
			continue
		}
		if err != nil {
			return err
		}
		job, err := in.decode(fields, place)
		if err == nil {
			err = keys.Assign(&job)
		}
		if err != nil {
			reject(&LineError{File: in.Name, Line: place, Reason: printable(err)})
		} else if err := accept(job); err != nil {
			return err
		}
	}
}

// One makes a single job of fields, as a line of a file would.
func (in Input) One(fields map[string]json.RawMessage) (jobs.New, error) {
	line, err := json.Marshal(fields)
	if err != nil {
		return jobs.New{}, err
	}
	var job jobs.New
	var bad error
	err = in.Read(JSONLines("", bytes.NewReader(line)), func(j jobs.New) error { job = j; return nil }, func(e *LineError) { bad = errors.New(e.Reason) })
	return job, errors.Join(err, bad)
}

// Intake takes the rows of one batch in, chunk by chunk.
type Intake struct {
	Input    Input
	Batch    jobs.Batch
	Store    jobs.AcceptStore
	Producer *jobs.Producer
	// Reject is told of each bad line. Nil: nobody is.
	Reject func(*LineError)
	// Accepting is told of the rows of each chunk before it is accepted. Nil: nobody
	// is.
	Accepting func([]jobs.New)
	// Progress is told after each chunk. Nil: nobody is.
	Progress func(Report)
}

// Report holds what became of the rows.
type Report struct {
	BatchID    string `json:"batch_id"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
	Rejected   int    `json:"rejected"`
	// Undelivered is the first reason why Redis did not take a delivery. The jobs
	// are accepted all the same, and dispatched by a worker.
	Undelivered error `json:"-"`
}

// Take reads r to its end and seals the batch, which is made when the first row
// comes: without a row there is none. After an error the report says what was
// accepted before it; taking the same rows in again adds the rest. Then r may still
// be waited for, and is not read again once it has answered.
func (t Intake) Take(ctx context.Context, r io.Reader) (Report, error) {
	rep := Report{BatchID: t.Batch.ID}
	opened := false
	reject := func(e *LineError) {
		rep.Rejected++
		if t.Reject != nil {
			t.Reject(e)
		}
	}
	rows, held := make([]jobs.New, 0, chunk), 0
	flush := func() error {
		if t.Accepting != nil {
			t.Accepting(rows)
		}
		// Once Redis has failed, waiting for it with each chunk would only take
		// time: workers dispatch what is accepted.
		accept := t.Producer.Enqueue
		if rep.Undelivered != nil {
			accept = t.Producer.Accept
		}
		acc, dispatchErr, err := accept(ctx, t.Batch.ID, rows)
		if err != nil {
			return err
		}
		if rep.Undelivered == nil {
			rep.Undelivered = dispatchErr
		}
		for _, line := range acc.Conflicts {
			reject(&LineError{File: t.Input.Name, Line: line, Reason: "the batch has this custom_id already, with other content: the first is kept"})
		}
		rep.Accepted += acc.New
		rep.Duplicates += acc.Duplicates
		clear(rows)
		rows, held = rows[:0], 0
		if t.Progress != nil {
			t.Progress(rep)
		}
		return nil
	}
	add := func(row jobs.New) error {
		if !opened {
			t.Batch.First = row.Key
			if err := t.Store.OpenBatch(ctx, t.Batch); err != nil {
				return err
			}
			opened = true
		}
		rows, held = append(rows, row), held+len(row.Encoded)
		if len(rows) < chunk && held < chunkBytes {
			return ctx.Err()
		}
		return flush()
	}
	if err := t.follow(ctx, r, func() bool { return len(rows) > 0 }, add, reject, flush); err != nil {
		return rep, err
	}
	if len(rows) > 0 {
		if err := flush(); err != nil {
			return rep, err
		}
	}
	return rep, t.Store.SealBatch(ctx, t.Batch.ID)
}

// read is a line that was read: a row, or what is wrong with it.
type read struct {
	row jobs.New
	bad *LineError
}

// follow reads r beside, row by row, so that flush can be called while nothing
// comes. It hands on what was read in the order of the lines, and holds no more
// than one row itself.
func (t Intake) follow(ctx context.Context, r io.Reader, waiting func() bool, add func(jobs.New) error, reject func(*LineError), flush func() error) error {
	lines, end, gone := make(chan read), make(chan error, 1), make(chan struct{})
	defer close(gone)
	go func() {
		give := func(l read) error {
			select {
			case lines <- l:
				return nil
			case <-gone:
				return errGone
			}
		}
		end <- t.Input.Read(JSONLines(t.Input.Name, until{gone, r}),
			func(row jobs.New) error { return give(read{row: row}) },
			func(bad *LineError) { _ = give(read{bad: bad}) }) // until stops the reading
	}()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	var first time.Time // when the first of the rows that wait came
	for {
		due := timer.C
		if !waiting() {
			due = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-end:
			return err
		case <-due:
			err = flush()
		case l := <-lines:
			if l.bad != nil {
				reject(l.bad)
				continue
			}
			if !waiting() {
				first = time.Now()
			}
			if err = add(l.row); waiting() {
				timer.Reset(min(idle, time.Until(first.Add(longest))))
			}
		}
		if err != nil {
			return err
		}
	}
}

var errGone = errors.New("nobody takes the rows any more")

// until is r until gone is closed.
type until struct {
	gone <-chan struct{}
	r    io.Reader
}

func (u until) Read(p []byte) (int, error) {
	select {
	case <-u.gone:
		return 0, errGone
	default:
		return u.r.Read(p)
	}
}

// NewID makes a batch's id that is readable, sorts by time, and does not collide.
func NewID(now time.Time) string {
	return "b-" + now.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
}

// CheckID fails with what an id must be unless it may name a batch. The schema holds
// the same.
func CheckID(id string) error {
	alphanumeric := func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
	ok := id != "" && len(id) <= 64 && alphanumeric(id[0])
	for i := range len(id) {
		ok = ok && (alphanumeric(id[i]) || strings.IndexByte("._-", id[i]) >= 0)
	}
	if !ok {
		return fmt.Errorf("batch id %s: must be 1 to 64 letters, digits, dots, - and _, the first a letter or digit", quoted(id))
	}
	return nil
}

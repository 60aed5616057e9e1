// Package batches is what people bring and take: it reads files of prompts into
// jobs, line by line, and writes results out again. It may import jobs, billing
// and providers.
package batches

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sync/semaphore"

	"oneflow/batches/rows"
	"oneflow/billing"
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
	// Map renames columns: from the name of a row's field, such as "prompt", to
	// the column that holds it; to none, where a column of this name is the row's own.
	// Other columns are the row's own; where no column is renamed, one that looks like
	// an option is an error.
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
	// Preset returns what differs at a provider that is a server known by name; nil: nothing
	// anywhere.
	Preset func(provider string) providers.Preset
	// DefaultModel returns the model of a provider for rows that name none; empty
	// if such rows are to be refused. Nil: the default of the provider's kind.
	DefaultModel func(provider string, task providers.Task) string
	// Files is the folder of the input, from which the files are read that parts of a
	// conversation name; nil: none are.
	Files fs.FS
	// OfFiles tells that each row is a file of that folder, which its prompt is about: its column
	// file has the name.
	OfFiles bool
	// OnModel is told what each row asks for, and refuses it by an error; nil: nobody
	// is.
	OnModel func(provider string, task providers.Task, model string) error
	// Template makes the prompt of the row's columns; nil: the row has one.
	Template *Template
	// Shape is a vendor's form that all rows must have; empty: each may have its own.
	Shape Shape
	// Ask is the provider and the model that all rows are asked of, and no other, whatever
	// they name. Nil: as they say.
	Ask *ModelKey
	// Least returns the least that a job is expected to cost, which is kept with it: see
	// jobs.New. Nil: nothing is counted.
	Least func(jobs.New) billing.NanoUSD
	// CacheSeconds is the age that an answer from the cache may have for rows that do not say
	// so; 0: they are asked anew. CacheVaried holds it for those that ask for variety, too.
	CacheSeconds int64
	CacheVaried  bool
	// Mark has long system prompts marked for the cache of a vendor that keeps only what is
	// marked.
	Mark bool
	// OnColumn is told of each column of the rows' own when it first comes, and of each of a
	// table that is taken as an option; nil: nobody is.
	OnColumn func(name string, option bool)
	// ForPrograms has errors name no flags of a command line.
	ForPrograms bool
}

// Read hands each good row of a source to accept and each bad one to reject. It
// stops at the first error of accept, or of the source.
func (in Input) Read(source rows.Source, accept func(jobs.New) error, reject func(*rows.LineError)) error {
	keys := jobs.NewKeys()
	d := newDecoder(in)
	checked := false
	for {
		row, err := source.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if bad, ok := errors.AsType[*rows.LineError](err); ok {
			reject(bad)
			continue
		}
		if err != nil {
			return err
		}
		if !checked {
			checked = true
			if err := in.checkColumns(source); err != nil {
				return err
			}
			d.table = source.Columns() != nil
		}
		job, err := d.decode(row)
		if err == nil {
			err = keys.Assign(&job)
		}
		if err == nil && in.Least != nil {
			job.Least = in.Least(job)
		}
		if used, ok := errors.AsType[*jobs.UsedIDError](err); ok {
			reject(usedBefore(source, row.Place, used))
		} else if err != nil {
			reject(source.At(row.Place, d.reason(err)))
		} else if err := accept(job); err != nil {
			return err
		}
	}
}

// usedBefore says where the row is that had the custom id first.
func usedBefore(source rows.Source, place int64, used *jobs.UsedIDError) *rows.LineError {
	bad, first := source.At(place, ""), source.At(used.First, "")
	bad.Reason = fmt.Sprintf("custom_id %s: used before on %s", rows.Quoted(used.CustomID), first.Where())
	if first.File != bad.File {
		bad.Reason += " of " + first.File
	}
	return bad
}

// One makes a single job of fields, as a line of a file would. What only rows of a batch
// have is refused: a custom_id, and columns of their own beside those of a template.
func (in Input) One(fields map[string]json.RawMessage) (jobs.New, error) {
	line, err := json.Marshal(fields)
	if err != nil {
		return jobs.New{}, err
	}
	var job jobs.New
	var own []string
	var bad error
	in.OnColumn, in.ForPrograms = func(name string, option bool) {
		if !option {
			own = append(own, name)
		}
	}, true
	err = in.Read(rows.JSONLines("", bytes.NewReader(line)), func(j jobs.New) error { job = j; return nil }, func(e *rows.LineError) { bad = errors.New(e.Reason) })
	switch {
	case err != nil || bad != nil:
		return job, errors.Join(err, bad)
	case job.CustomID != "":
		return job, errors.New("custom_id: is for rows of a batch; a single job has its id")
	case len(own) > 0 && in.Template == nil:
		return job, fmt.Errorf("unknown field %s: a single job keeps no columns of its own; a row of a batch does", rows.Quoted(own[0]))
	}
	return job, nil
}

// Intake takes the rows of one batch in, chunk by chunk.
type Intake struct {
	Input    Input
	Batch    jobs.Batch
	Store    jobs.AcceptStore
	Producer *jobs.Producer
	// Opened is called when the batch is there, before its first rows are accepted, which an
	// error of it prevents. Nil: nobody is.
	Opened func() error
	// Reject is told of each bad line. Nil: nobody is.
	Reject func(*rows.LineError)
	// Accepting is told of the rows of each chunk before it is accepted. Nil: nobody
	// is.
	Accepting func([]jobs.New)
	// Progress is told after each chunk. Nil: nobody is.
	Progress func(Report)
	// Only are the keys of the rows that are taken, and the batch stays open for the others;
	// nil: all are, and it is sealed.
	Only map[string]bool
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

// Take reads the source to its end and seals the batch, which is made when the first
// rows are accepted: without a row there is none. After an error the report says what was
// accepted before it; taking the same rows in again adds the rest. Then the source may
// still be waited for, and is not asked again once it has answered. Where ctx ends when
// all rows are accepted, the batch is sealed all the same.
func (t Intake) Take(ctx context.Context, source rows.Source) (Report, error) {
	rep := Report{BatchID: t.Batch.ID}
	opened := false
	reject := func(e *rows.LineError) {
		rep.Rejected++
		if t.Reject != nil {
			t.Reject(e)
		}
	}
	taken, held := make([]jobs.New, 0, chunk), 0
	flush := func() error {
		if !opened {
			t.Batch.First = taken[0].Key
			if err := t.Store.OpenBatch(ctx, t.Batch); err != nil {
				return err
			}
			if t.Opened != nil {
				if err := t.Opened(); err != nil {
					return err
				}
			}
			opened = true
		}
		if t.Accepting != nil {
			t.Accepting(taken)
		}
		together(taken)
		// Once Redis has failed, waiting for it with each chunk would only take
		// time: workers dispatch what is accepted.
		accept := t.Producer.Enqueue
		if rep.Undelivered != nil {
			accept = t.Producer.Accept
		}
		acc, dispatchErr, err := accept(ctx, t.Batch.ID, taken)
		if err != nil {
			return err
		}
		if rep.Undelivered == nil {
			rep.Undelivered = dispatchErr
		}
		for _, line := range acc.Conflicts {
			reject(source.At(line, "the batch has this custom_id already, with other content: the first is kept"))
		}
		rep.Accepted += acc.New
		rep.Duplicates += acc.Duplicates
		clear(taken)
		taken, held = taken[:0], 0
		if t.Progress != nil {
			t.Progress(rep)
		}
		return nil
	}
	add := func(row jobs.New) error {
		if t.Only != nil && !t.Only[row.Key] {
			return ctx.Err()
		}
		taken, held = append(taken, row), held+len(row.Encoded)+len(row.Own)
		if len(taken) < chunk && held < chunkBytes {
			return ctx.Err()
		}
		return flush()
	}
	if err := t.follow(ctx, source, func() bool { return len(taken) > 0 }, add, reject, flush); err != nil {
		return rep, err
	}
	if len(taken) > 0 {
		if err := flush(); err != nil {
			return rep, err
		}
	}
	if t.Only != nil {
		return rep, nil
	}
	return rep, t.seal(ctx)
}

// sealGrace is the time for which a batch is still being sealed after its caller's context has ended.
const sealGrace = 5 * time.Second

// seal seals a batch whose rows are all accepted. Left open, it would never finish, and
// whoever left would be told to add rows that are there.
func (t Intake) seal(ctx context.Context) error {
	sealing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(sealGrace, stop) })()
	return t.Store.SealBatch(sealing, t.Batch.ID)
}

// read is a line that was read: a row, or what is wrong with it.
type read struct {
	row  jobs.New
	bad  *rows.LineError
	size int64 // of what is taken from readAhead
}

// readAhead bounds the bytes of the rows that are read while others are accepted, and
// linesAhead their number: a chunk is as large.
const (
	readAhead  = chunkBytes
	linesAhead = chunk
)

// follow reads the source beside, so that lines are read while others are accepted, and
// flush can be called while nothing comes. It hands on what was read in the order of the
// lines.
func (t Intake) follow(ctx context.Context, source rows.Source, waiting func() bool, add func(jobs.New) error, reject func(*rows.LineError), flush func() error) error {
	lines, end, gone := make(chan read, linesAhead), make(chan error, 1), make(chan struct{})
	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer close(gone)
	room := semaphore.NewWeighted(readAhead)
	go func() {
		defer close(lines)
		give := func(l read) error {
			l.size = min(int64(len(l.row.Encoded)+len(l.row.Own)), readAhead)
			if room.Acquire(reading, l.size) != nil {
				return errGone
			}
			select {
			case lines <- l:
				return nil
			case <-gone:
				return errGone
			}
		}
		end <- t.Input.Read(until{source, gone},
			func(row jobs.New) error { return give(read{row: row}) },
			func(bad *rows.LineError) { _ = give(read{bad: bad}) }) // until stops the reading
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
		case <-due:
			err = flush()
		case l, more := <-lines:
			if !more {
				return <-end
			}
			room.Release(l.size)
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

// until is a source until gone is closed.
type until struct {
	rows.Source
	gone <-chan struct{}
}

// Next implements rows.Source.
func (u until) Next() (rows.Row, error) {
	select {
	case <-u.gone:
		return rows.Row{}, errGone
	default:
		return u.Source.Next()
	}
}

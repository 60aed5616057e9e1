// Package batches is what people bring and take: it reads files of prompts into
// jobs, line by line, and writes results out again. It may import jobs, billing
// and providers.
package batches

import (
	"bytes"
	"cmp"
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
	chunkBytes = 4 << 20
)

// atOnce is the number of chunks that are accepted at once: Postgres works on one while another is
// written to its disk or made ready.
const atOnce = 2

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
// accepted all the same; taking the same rows in again adds the rest. Then the source may
// still be waited for, and is not asked again once it has answered. Where ctx ends when
// all rows are accepted, the batch is sealed all the same.
func (t Intake) Take(ctx context.Context, source rows.Source) (Report, error) {
	in := &intake{Intake: t, source: source, rep: Report{BatchID: t.Batch.ID}, ended: make(chan accepted, atOnce)}
	err := in.follow(ctx)
	if err == nil && len(in.taken) > 0 {
		err = in.flush(ctx)
	}
	for in.accepting > 0 {
		err = cmp.Or(err, in.count(<-in.ended))
	}
	if err != nil || t.Only != nil {
		return in.rep, err
	}
	return in.rep, t.seal(ctx)
}

// intake is an Intake under way.
type intake struct {
	Intake
	source    rows.Source
	rep       Report
	opened    bool
	taken     []jobs.New // rows that wait to be accepted
	held      int        // the bytes of their texts
	accepting int        // chunks
	ended     chan accepted
}

// accepted holds what became of a chunk.
type accepted struct {
	jobs.Accepted
	undelivered, err error
}

// full reports whether what waits is a chunk.
func (in *intake) full() bool { return len(in.taken) >= chunk || in.held >= chunkBytes }

// add adds a row to those that wait.
func (in *intake) add(row jobs.New) {
	if in.Only == nil || in.Only[row.Key] {
		in.taken, in.held = append(in.taken, row), in.held+len(row.Encoded)+len(row.Own)
	}
}

// reject counts a bad line.
func (in *intake) reject(e *rows.LineError) {
	in.rep.Rejected++
	if in.Reject != nil {
		in.Reject(e)
	}
}

// flush begins to accept what waits, once fewer chunks are accepted than may be. The first is
// accepted when it returns: by its rows a batch is known again, and they fill the window of their queue.
func (in *intake) flush(ctx context.Context) error {
	if in.accepting == atOnce {
		if err := in.count(<-in.ended); err != nil {
			return err
		}
	}
	first := !in.opened
	if first {
		in.Batch.First = in.taken[0].Key
		if err := in.Store.OpenBatch(ctx, in.Batch); err != nil {
			return err
		}
		if in.Opened != nil {
			if err := in.Opened(); err != nil {
				return err
			}
		}
		in.opened = true
	}
	if in.Accepting != nil {
		in.Accepting(in.taken)
	}
	// Once Redis has failed, waiting for it with each chunk would only take
	// time: workers dispatch what is accepted.
	accept := in.Producer.Enqueue
	if in.rep.Undelivered != nil {
		accept = in.Producer.Accept
	}
	taken := in.taken
	in.taken, in.held = make([]jobs.New, 0, len(taken)), 0
	in.accepting++
	go func() {
		together(taken)
		var a accepted
		a.Accepted, a.undelivered, a.err = accept(ctx, in.Batch.ID, taken)
		in.ended <- a
	}()
	if first {
		return in.count(<-in.ended)
	}
	return nil
}

// count adds what became of a chunk to the report.
func (in *intake) count(a accepted) error {
	in.accepting--
	if a.err != nil {
		return a.err
	}
	if in.rep.Undelivered == nil {
		in.rep.Undelivered = a.undelivered
	}
	for _, line := range a.Conflicts {
		in.reject(in.source.At(line, "the batch has this custom_id already, with other content: the first is kept"))
	}
	in.rep.Accepted += a.New
	in.rep.Duplicates += a.Duplicates
	if in.Progress != nil {
		in.Progress(in.rep)
	}
	return nil
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
// flushes what is a chunk, or has waited long enough. It takes what was read in the order of the
// lines. What is left at the end of the source waits for a last flush.
func (in *intake) follow(ctx context.Context) error {
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
		end <- in.Input.Read(until{in.source, gone},
			func(row jobs.New) error { return give(read{row: row}) },
			func(bad *rows.LineError) { _ = give(read{bad: bad}) }) // until stops the reading
	}()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	var first time.Time // when the first of the rows that wait came
	for {
		due := timer.C
		if len(in.taken) == 0 {
			due = nil
		}
		var err error
		select {
		case <-ctx.Done():
		case a := <-in.ended:
			err = in.count(a)
		case <-due:
			err = in.flush(ctx)
		case l, more := <-lines:
			if !more {
				return <-end
			}
			room.Release(l.size)
			if l.bad != nil {
				in.reject(l.bad)
				continue
			}
			if len(in.taken) == 0 {
				first = time.Now()
			}
			in.add(l.row)
			switch err = ctx.Err(); {
			case err == nil && in.full():
				err = in.flush(ctx)
			case len(in.taken) > 0:
				timer.Reset(min(idle, time.Until(first.Add(longest))))
			}
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
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

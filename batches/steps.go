package batches

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// StepStore knows the steps of pipelines.
type StepStore interface {
	// StepAfter returns the step that makes its rows of a batch's answers, and the name of
	// that batch's own step; nil: there is none. The steps of a batch never change.
	StepAfter(ctx context.Context, batch string) (next *jobs.Step, name string, err error)
	// Parent returns what a job's child takes from it.
	Parent(ctx context.Context, job uuid.UUID) (jobs.Parent, error)
}

// Steps makes the next step's jobs for a worker.
type Steps struct {
	Store StepStore
	// Input knows the providers.
	Input Input
	// Funds returns what an account has for new jobs: see Submissions.
	Funds func(ctx context.Context, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error)
	// Estimates fills in what jobs are expected to cost; nil: nothing does.
	Estimates *Estimates
	// Open opens a picture, sound or film.
	Open func(ctx context.Context, url string) (io.ReadCloser, error)

	// reads has many jobs of a batch, which begin at once, wait for one look at its steps.
	reads singleflight.Group

	mu     sync.Mutex
	known  map[string]*following
	purses map[string]heldPurse
}

// following is the step after a batch; its step is nil where there is none.
type following struct {
	step        *CompiledStep
	batch, name string
}

// heldPurse is a purse that is looked at anew after a moment.
type heldPurse struct {
	*purse
	until time.Time
}

const (
	// maxKnown bounds the batches that are remembered.
	maxKnown = 10_000
	// purseHeld is the time for which what an account has is taken to be so.
	purseHeld = time.Second
)

// After returns what makes the child of a job that succeeds; nil: it has none.
func (s *Steps) After(ctx context.Context, job jobs.Job) (func(ctx context.Context, res providers.Response, stored []jobs.Artifact) *jobs.Child, error) {
	if job.BatchID == "" {
		return nil, nil
	}
	f, err := s.after(ctx, job.BatchID)
	if err != nil || f.step == nil {
		return nil, err
	}
	parent, err := s.Store.Parent(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, res providers.Response, stored []jobs.Artifact) *jobs.Child {
		a := Answer{ID: job.ID, Step: f.name, Parent: parent, Account: job.Account, Text: res.Text, Artifacts: stored}
		if f.step.Attach && len(stored) > 0 {
			a.Files = oneFile{func() (io.ReadCloser, error) { return s.Open(ctx, stored[0].URL) }, stored[0].Size}
		}
		child := f.step.Child(s.Input, f.batch, a, time.Now(), func(job *jobs.New) error { return s.afford(ctx, a.Account, job) })
		s.estimate(ctx, child)
		return child
	}, nil
}

// estimate fills in what a child is expected to cost. One that is not known by a failure to read is not
// known to the batch either: an answer is not given up for it.
func (s *Steps) estimate(ctx context.Context, child *jobs.Child) {
	if s.Estimates == nil || child.New == nil || child.Class != "" {
		return
	}
	row := []jobs.New{*child.New}
	if s.Estimates.Fill(ctx, row) == nil {
		child.New.Estimate = row[0].Estimate
	}
}

func (s *Steps) after(ctx context.Context, batch string) (*following, error) {
	s.mu.Lock()
	f := s.known[batch]
	s.mu.Unlock()
	if f != nil {
		return f, nil
	}
	read, err, _ := s.reads.Do(batch, func() (any, error) { return s.readAfter(ctx, batch) })
	if err != nil {
		return nil, err
	}
	f, _ = read.(*following)
	return f, nil
}

// readAfter reads and keeps what follows a batch.
func (s *Steps) readAfter(ctx context.Context, batch string) (*following, error) {
	step, name, err := s.Store.StepAfter(ctx, batch)
	if err != nil {
		return nil, err
	}
	f := &following{name: name}
	if step != nil {
		definition, err := parseStep(step.Definition)
		if err != nil {
			return nil, err
		}
		if f.step, err = definition.Compile(); err != nil {
			return nil, err
		}
		f.batch = step.Batch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxKnown {
		s.known = map[string]*following{}
	}
	s.known[batch] = f
	return f, nil
}

// afford checks a child against its account's wallet, as a producer checks rows.
func (s *Steps) afford(ctx context.Context, account string, job *jobs.New) error {
	s.mu.Lock()
	p, ok := s.purses[account]
	s.mu.Unlock()
	if !ok || time.Now().After(p.until) {
		has, least, err := s.Funds(ctx, account)
		if err != nil {
			return err
		}
		p = heldPurse{&purse{has: has, least: least}, time.Now().Add(purseHeld)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.purses == nil || len(s.purses) >= maxKnown {
		s.purses = map[string]heldPurse{}
	}
	s.purses[account] = p
	return p.take(job)
}

// oneFile is a folder with a single file, which is called artifact.
type oneFile struct {
	open func() (io.ReadCloser, error)
	size int64
}

// Open implements fs.FS.
func (f oneFile) Open(name string) (fs.File, error) {
	if name != "artifact" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if f.size > maxFiles {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it has %d bytes, and %d MiB are handed on: let that step make it smaller", f.size, maxFiles>>20)}
	}
	from, err := f.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it cannot be read from the artifacts")}
	}
	defer func() { _ = from.Close() }()
	data, err := io.ReadAll(io.LimitReader(from, maxFiles+1))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it cannot be read from the artifacts")}
	}
	return &openFile{bytes.NewReader(data), int64(len(data))}, nil
}

// openFile is a file in memory.
type openFile struct {
	*bytes.Reader
	size int64
}

// Close does nothing.
func (*openFile) Close() error { return nil }

// Stat says that it is a regular file.
func (f *openFile) Stat() (fs.FileInfo, error) { return fileInfo{f.size}, nil }

type fileInfo struct{ size int64 }

// Name implements fs.FileInfo, as the others do.
func (fileInfo) Name() string       { return "artifact" }
func (i fileInfo) Size() int64      { return i.size }
func (fileInfo) Mode() fs.FileMode  { return 0o400 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }

package worker

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"oneflow/jobs"
)

// ward holds the suspects of a worker that run: a few beside each other, and no other job beside
// them. A worker's death is counted against each job that it has claimed: others would be
// suspected with them, and a suspect that is innocent would be taken for guilty. The zero value
// is empty.
type ward struct {
	mu sync.Mutex
	// inside are those that run, and the first also while it waits for the other jobs to end.
	inside int
	// closes is the time from which on nobody joins those that are inside; zero: nobody does, as the
	// first still waits, or has to be alone.
	closes time.Time
	// known are suspects that this worker has had in hand: while others are inside, nothing can be
	// claimed to find out whether it is one.
	known map[uuid.UUID]*suspectError
}

const (
	// wardSize is the number of suspects that run at once: should the worker die, all are
	// suspected more, and run alone the next time.
	wardSize = 8
	// wardOpen is the time for which others join the first suspect: what is none waits meanwhile.
	wardOpen = 10 * time.Second
	// wardKnown bounds how many are known; those that are forgotten are found again.
	wardKnown = 10_000
)

// suspectError reports that a job may run in the ward only.
type suspectError struct {
	alone bool // and there without any other
}

func (*suspectError) Error() string { return "must run in the ward" }

// suspicion returns by what a job has to run; nil: it is no suspect.
func suspicion(job *jobs.Job) *suspectError {
	if job.Crashes < jobs.SuspectCrashes {
		return nil
	}
	return &suspectError{alone: job.Crashes >= jobs.LoneCrashes}
}

// admits reports whether a job that is suspected like s may be claimed by one who came in by got.
func (s *suspectError) admits(got *suspectError) bool {
	return got == nil || s != nil && (s.alone || !got.alone)
}

// note notes by what a job has to run; nil: it is in hand, or no suspect any more.
func (w *ward) note(job uuid.UUID, s *suspectError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s == nil {
		delete(w.known, job)
		return
	}
	if w.known == nil || len(w.known) >= wardKnown {
		w.known = map[uuid.UUID]*suspectError{}
	}
	w.known[job] = s
}

// suspects returns by what a job has to run, as far as that is known here.
func (w *ward) suspects(job uuid.UUID) *suspectError {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[job]
}

// enter has a suspect come in, and reports whether it did: beside others that are inside, or
// when all jobs that hold slots have ended, if that is before ctx does. Who is in, leaves.
func (w *ward) enter(ctx context.Context, slots *semaphore.Weighted, s *suspectError) bool {
	w.mu.Lock()
	if w.inside > 0 {
		defer w.mu.Unlock()
		if s.alone || w.inside >= wardSize || !time.Now().Before(w.closes) {
			return false
		}
		w.inside++
		return true
	}
	w.inside, w.closes = 1, time.Time{}
	w.mu.Unlock()
	err := slots.Acquire(ctx, exclusive)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.inside = 0
	case !s.alone:
		w.closes = time.Now().Add(wardOpen)
	}
	return err == nil
}

// leave ends the stay of a suspect. With the last of them, other jobs go on.
func (w *ward) leave(slots *semaphore.Weighted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside--; w.inside == 0 {
		slots.Release(exclusive)
	}
}

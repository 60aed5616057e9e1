package worker

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"oneflow/jobs"
)

// isolation holds the suspects of a worker that run: a few beside each other, and no other job beside
// them. A worker's death is counted against each job that it has claimed: others would be
// suspected with them, and a suspect that is innocent would be taken for guilty. The zero value
// is empty.
type isolation struct {
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
	// mostIsolated is the number of suspects that run at once: should the worker die, all are
	// suspected more, and run alone the next time.
	mostIsolated = 8
	// isolationOpen is the time for which others join the first suspect: what is none waits meanwhile.
	isolationOpen = 10 * time.Second
	// mostKnown bounds how many are known; those that are forgotten are found again.
	mostKnown = 10_000
)

// suspectError reports that a job may run in isolation only.
type suspectError struct {
	alone bool // and there without any other
}

func (*suspectError) Error() string { return "must run in isolation" }

// suspicion returns how a job has to run; nil: it is no suspect.
func suspicion(job *jobs.Job) *suspectError {
	if job.Crashes < jobs.SuspectCrashes {
		return nil
	}
	return &suspectError{alone: job.Crashes >= jobs.LoneCrashes}
}

// admits reports whether a job that has to run like that may be run by one who came in like s; nil: not in isolation.
func (s *suspectError) admits(job *suspectError) bool {
	return job == nil || s != nil && (s.alone || !job.alone)
}

// note notes how a job has to run; nil: it is in hand, or no suspect any more.
func (i *isolation) note(job uuid.UUID, s *suspectError) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s == nil {
		delete(i.known, job)
		return
	}
	if i.known == nil || len(i.known) >= mostKnown {
		i.known = map[uuid.UUID]*suspectError{}
	}
	i.known[job] = s
}

// of returns how a job has to run, as far as that is known here.
func (i *isolation) of(job uuid.UUID) *suspectError {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known[job]
}

// enter has a suspect come in, and reports whether it did: beside others that are inside, or
// when all jobs that hold slots have ended, if that is before ctx does. Who is in, leaves.
func (i *isolation) enter(ctx context.Context, slots *semaphore.Weighted, s *suspectError) bool {
	i.mu.Lock()
	if i.inside > 0 {
		defer i.mu.Unlock()
		if s.alone || i.inside >= mostIsolated || !time.Now().Before(i.closes) {
			return false
		}
		i.inside++
		return true
	}
	i.inside, i.closes = 1, time.Time{}
	i.mu.Unlock()
	err := slots.Acquire(ctx, exclusive)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err != nil:
		i.inside = 0
	case !s.alone:
		i.closes = time.Now().Add(isolationOpen)
	}
	return err == nil
}

// leave ends the stay of a suspect. With the last of them, other jobs go on.
func (i *isolation) leave(slots *semaphore.Weighted) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.inside--; i.inside == 0 {
		slots.Release(exclusive)
	}
}

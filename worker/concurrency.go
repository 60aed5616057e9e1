package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"oneflow/jobs"
)

// concurrency bounds the jobs of one Server that run at once, however many its tasks carry.
type concurrency struct {
	all *semaphore.Weighted
	// ofClass bounds those of one class of models beside; nil: they are all alike.
	ofClass *resizableSemaphore
	// full reports whether the Server has to take no more; nil: its asynq.Server sees to that.
	full func() bool

	mu sync.Mutex
	// waiting are the jobs of chunks in hand that do not run yet, and enough is how
	// many of them keep the Server from asking for more: half of the last chunk, and what
	// it does at its best in an eighth of a second, which least is. A Server that has
	// asked in vain rests for up to 75 ms.
	waiting, enough, least int
	// inVain is the number of tasks in a row that were put back, and rested the time until
	// which the Server does not ask for more because of them.
	inVain int
	rested time.Time
}

// newConcurrency makes that of a Server that runs so many jobs at once, and at its best so
// many a second.
func newConcurrency(size int, perSecond float64) *concurrency {
	return &concurrency{all: semaphore.NewWeighted(int64(size)), least: int(perSecond * jobs.ChunkTime.Seconds() / 2)}
}

func (c *concurrency) acquire(ctx context.Context) error {
	if c.ofClass == nil {
		return c.all.Acquire(ctx, 1)
	}
	err := c.ofClass.acquire(ctx)
	if err != nil {
		return err
	}
	if err = c.all.Acquire(ctx, 1); err != nil {
		c.ofClass.release()
	}
	return err
}

func (c *concurrency) release() {
	c.all.Release(1)
	if c.ofClass != nil {
		c.ofClass.release()
	}
}

// maxWait is the longest wait of a chunk for a place.
func (c *concurrency) maxWait() time.Duration {
	if c.ofClass != nil {
		return handTimeout
	}
	return shortWait
}

// hasWork reports whether enough jobs wait here.
func (c *concurrency) hasWork() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting > 0 && c.waiting >= c.enough
}

// looksInARow is the number of tasks that a Server puts back before it rests. asynq brings
// what was put back once a second, all at once: a Server with free places that rests just then would
// miss it if those without went through it in a few milliseconds.
const looksInARow = 12

// looked notes whether there was a place for a task.
func (c *concurrency) looked(hadPlace bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inVain++
	switch {
	case hadPlace:
		c.inVain = 0
	case c.inVain >= looksInARow:
		c.inVain, c.rested = 0, now.Add(emptyFor)
	}
}

// rests reports whether the Server asks for nothing just now.
func (c *concurrency) rests(now time.Time) bool {
	c.mu.Lock()
	rested := now.Before(c.rested)
	c.mu.Unlock()
	return rested || c.full != nil && c.full()
}

// took notes the jobs of a chunk.
func (c *concurrency) took(jobs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.enough = c.waiting+jobs, max(jobs/2, c.least)
}

// began notes that some of them wait here no more.
func (c *concurrency) began(jobs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= jobs
}

// inHand is the number of jobs that run or wait here.
func (c *concurrency) inHand() int {
	c.mu.Lock()
	waiting := c.waiting
	c.mu.Unlock()
	return waiting + c.ofClass.taken()
}

// acquireTask waits for the place of a task of one job.
func (c *concurrency) acquireTask(ctx context.Context) error {
	if c.ofClass != nil {
		waiting, done := context.WithTimeout(ctx, handTimeout)
		defer done()
		if c.acquire(waiting) == nil {
			return nil
		}
		if ctx.Err() == nil {
			return &requeue{after: shortWait}
		}
		return &requeue{}
	}
	if c.acquire(ctx) != nil {
		return &requeue{}
	}
	return nil
}

// resizableSemaphore lets so many in at once, in the order in which they came; how many may
// change at any time.
type resizableSemaphore struct {
	size func() int

	mu      sync.Mutex
	running int
	waiting []chan struct{}
}

// taken is the number of those that are in or wait.
func (s *resizableSemaphore) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running + len(s.waiting)
}

// acquire waits for a place until ctx ends, and fails with its error.
func (s *resizableSemaphore) acquire(ctx context.Context) error {
	turn := make(chan struct{})
	s.mu.Lock()
	s.waiting = append(s.waiting, turn)
	s.admit()
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, turn); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.running-- // its turn came in the same moment
		s.admit()
	}
	return ctx.Err()
}

// release gives a place back.
func (s *resizableSemaphore) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.admit()
}

// admit lets in who has a place now. The caller holds mu.
func (s *resizableSemaphore) admit() {
	for size := s.size(); len(s.waiting) > 0 && s.running < size; s.waiting = s.waiting[1:] {
		s.running++
		close(s.waiting[0])
	}
}

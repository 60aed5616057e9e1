package worker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"oneflow/jobs"
)

// A provider's queue in Redis holds the jobs of all its models, in the order in which they
// were dispatched. Where models have limits of their own, each class of them has in a
// worker's hand what it runs at its rate and some that wait, and a task beyond that is put
// back for a while: so the next one is looked at, which may be of a class with a free place.

const (
	// handTime is the time for which the jobs last that a class has waiting in hand: longer than a
	// task may be late that was put back, for about a second.
	handTime = 2 * time.Second
	// aloneTime is the same where all tasks are of one class, so that none is put back: longer than
	// a Server rests that has asked in vain.
	aloneTime = 500 * time.Millisecond
	// handTimeout is the longest wait of a job in hand. It is less than the time after which
	// the audit takes what nobody claims for lost.
	handTimeout = 2 * handTime
	// putBackEvery is the time between two tasks of a class that were put back, at most: looking at
	// those that still have no place must cost little, but a class of small tasks needs more of them.
	putBackEvery = 100 * time.Millisecond
	// spareTasks is the number of tasks that a Server takes at once beside twice those that
	// its classes have in hand: it must see what is behind them.
	spareTasks = 64
	// lendAfter is the time for which a class must have had less work than its share before others
	// may have the rest: a stream of short calls has gaps, and what is lent for a long call is away
	// until that has ended.
	lendAfter = 10 * time.Second
	// maxModels bounds the models of a provider that are told apart.
	maxModels = 200
)

// classes holds what one worker knows of the classes of a provider's models.
type classes struct {
	mu sync.Mutex
	// plans are those of each class, and models are the classes of the models that it has met.
	plans  map[string]Plan
	models map[string]string
	// queued are the classes of what the queues hold, as far as is known.
	queued map[string]bool
	// met is sent to when a class was met that there is no plan for; it holds one.
	met chan struct{}
}

func newClasses(met chan struct{}) *classes {
	return &classes{plans: map[string]Plan{}, models: map[string]string{}, queued: map[string]bool{}, met: met}
}

// meet notes a model.
func (c *classes) meet(model, class string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued[class] = true
	if _, known := c.models[model]; known || len(c.models) >= maxModels {
		return
	}
	c.models[model] = class
	select {
	case c.met <- struct{}{}:
	default:
	}
}

// seen returns the models that were met, with their classes.
func (c *classes) seen() map[string]string {
	if c == nil {
		return nil // not served so far
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.models)
}

// set takes the plans of the classes, and the classes of what the queues hold.
func (c *classes) set(plans map[string]Plan, queued map[string]bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans, c.queued = plans, queued
}

// areQueued returns the classes of what the queues hold, as far as is known.
func (c *classes) areQueued() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.queued)
}

// plan returns that of a class; of one that was just met, a careful one.
func (c *classes) plan(class string) Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.plans[class]; ok {
		return p
	}
	return Plan{Share: 4, Workers: 1, JobsPerMinute: 60}
}

// concurrencyByClass holds that of each class in one Server.
type concurrencyByClass struct {
	whole   *concurrency
	classes *classes
	class   func(model string) string
	// size is the number of jobs that run at once in the Server.
	size int

	mu sync.Mutex
	of map[string]*classConcurrency
}

// classConcurrency bounds the jobs of one class that are in hand.
type classConcurrency struct {
	concurrency
	name string
	plan func() Plan
	// work holds how many were in hand lately.
	work recentWork

	puttingBack sync.Mutex
	// putBack holds the time at which the last task of each lane that was put back comes again:
	// none waits for those of a lesser lane.
	putBack map[jobs.Lane]time.Time
}

// ofTask returns where the jobs of a task run, or how long the task has to stay away.
func (r *concurrencyByClass) ofTask(t *asynq.Task, lane jobs.Lane) (*concurrency, time.Duration) {
	model, n := jobs.TaskModel(t)
	c, now := r.ofModel(model), time.Now()
	c.work.note(c.inHand()+n, now)
	mixed, met := r.mixed()
	if !mixed {
		return &c.concurrency, 0
	}
	in, after := c.admit(n, lane, now)
	r.whole.looked(in != nil || r.short(met), now)
	return in, after
}

// short reports whether one of the classes, of which there is more in the queue, has little in hand: its
// tasks may stand behind thousands that find no place, as those of a class whose block has ended do.
func (r *concurrencyByClass) short(met []*classConcurrency) bool {
	queued := r.classes.areQueued()
	return slices.ContainsFunc(met, func(c *classConcurrency) bool { return queued[c.name] && !c.full(handTime/2) })
}

// mixed reports whether what is queued or in hand is of several classes, and returns those that
// this Server has met.
func (r *concurrencyByClass) mixed() (mixed bool, met []*classConcurrency) {
	r.mu.Lock()
	of := maps.Clone(r.of)
	r.mu.Unlock()
	classes := r.classes.areQueued()
	for class, c := range of {
		if met = append(met, c); c.inHand() > 0 {
			classes[class] = true
		}
	}
	return len(classes) > 1, met
}

// full reports whether the Server has to take no more: its tasks are of one class, which has
// enough in hand.
func (r *concurrencyByClass) full() bool {
	mixed, met := r.mixed()
	return !mixed && slices.ContainsFunc(met, func(c *classConcurrency) bool { return c.full(aloneTime) })
}

// ofModel returns the concurrency of a model's class.
func (r *concurrencyByClass) ofModel(model string) *classConcurrency {
	class := r.class(model)
	r.classes.meet(model, class)
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.of[class]
	if !ok {
		c = &classConcurrency{name: class, plan: func() Plan { return r.classes.plan(class) }, putBack: map[jobs.Lane]time.Time{}}
		c.concurrency = concurrency{all: r.whole.all, ofClass: &resizableSemaphore{size: func() int { return r.sizeOf(c, time.Now()) }}}
		r.of[class] = c
	}
	return c
}

// sizeOf returns the number of jobs of a class that may run at once: its share, and as far as its
// limits ask for more, what the shares of others leave that have had no work for them. One place is
// left where there are others, which find it as soon as a job ends.
func (r *concurrencyByClass) sizeOf(c *classConcurrency, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.size
	if len(r.of) > 1 {
		most = max(r.size-1, 1)
	}
	free := r.size
	for _, other := range r.of {
		if other != c {
			free -= min(other.plan().Share, other.work.recent(now))
		}
	}
	p := c.plan()
	return min(max(p.Share, min(p.Wanted, free)), most)
}

// recentWork is the most jobs of a class that were in hand lately.
type recentWork struct {
	mu sync.Mutex
	// now is that since began, and before that of the time before, as long.
	now, before int
	began       time.Time
}

// note notes how many are in hand.
func (w *recentWork) note(jobs int, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(at)
	w.now = max(w.now, jobs)
}

// recent returns the most that were in hand in the last lendAfter, or in up to twice that.
func (w *recentWork) recent(at time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(at)
	return max(w.now, w.before)
}

// turn begins anew where lendAfter has passed. The caller holds mu.
func (w *recentWork) turn(at time.Time) {
	passed := at.Sub(w.began)
	if passed < lendAfter {
		return
	}
	w.before, w.now, w.began = w.now, 0, at
	if passed >= 2*lendAfter {
		w.before = 0
	}
}

// admit returns the concurrency of the class, or how long a task of n jobs has to stay away: until those that
// were put back before it have been looked at again, twice as fast as the class runs their jobs, so that it
// gets what it has a place for, but not faster than every putBackEvery where that is enough.
func (c *classConcurrency) admit(n int, lane jobs.Lane, now time.Time) (*concurrency, time.Duration) {
	if !c.full(handTime) {
		return &c.concurrency, 0
	}
	seconds := min(float64(n)/(2*c.plan().perSecond()), putBackEvery.Seconds())
	c.puttingBack.Lock()
	defer c.puttingBack.Unlock()
	last := c.putBack[lane]
	if last.Before(now) {
		last = now
	}
	c.putBack[lane] = last.Add(time.Duration(seconds * float64(time.Second)))
	return nil, max(c.putBack[lane].Sub(now), time.Second)
}

// full reports whether the class has in hand what runs, and what lasts for a time after that.
func (c *classConcurrency) full(lasts time.Duration) bool {
	return c.inHand() >= c.ofClass.size()+c.plan().reserve(lasts)
}

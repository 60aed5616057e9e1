package limiter

import (
	"container/heap"
	"sync"
	"time"
)

// reserveAhead bounds how far a reserved slot may lie in the future while the next is asked
// for. A process that is killed takes what it had reserved with it, so it holds
// few: one, or those of 50 ms.
const reserveAhead = 50 * time.Millisecond

// waitQueue holds those who want a slot of one provider wait in this process, the
// most urgent first, and first come, first served among equals. Those at its head
// ask Redis; the others wait for their turn, which costs nothing.
type waitQueue struct {
	mu            sync.Mutex
	waiting       waiters
	seq           uint64
	asking        int // ask now
	inFlightAhead int // have a slot that is more than reserveAhead away, without
	urgent        int // the most urgent, who overtake those
	closedEpoch   int // permits are missing: nobody asks until this round is over
	closed        bool

	// spacing is the time between two slots of this process while others waited.
	spacing  time.Duration
	free     bool          // nothing spaces them
	previous time.Duration // the slot before, on Redis' clock
	crowded  bool          // others waited when it was given out

	// back holds, by urgency, the time at which the next who finds no slot comes back: see later.
	back map[int]time.Time
}

// waiter is one who waits at the queue. Its turn comes with a nil error.
type waiter struct {
	urgency int
	seq     uint64
	index   int // in the queue; -1: not there
	turn    chan error
}

// join puts w at the end of those of its urgency, or back to its place if it had one.
// If it would wait for longer than bearable, it is not put there and the wait is
// returned. nominal is the spacing to begin with; below 0: there is none.
func (q *waitQueue) join(w *waiter, nominal, bearable time.Duration) (wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = nominal < 0
	if q.spacing == 0 && !q.free {
		q.spacing = nominal
	}
	if w.seq == 0 {
		if wait = q.wait(w.urgency); wait > bearable {
			return wait, false
		}
		q.seq++
		w.seq = q.seq
	}
	w.turn = make(chan error, 1)
	heap.Push(&q.waiting, w)
	q.admit()
	return 0, true
}

// wait returns how long one of this urgency would wait for its turn. The caller holds mu.
func (q *waitQueue) wait(urgency int) time.Duration {
	place := 0
	for _, w := range q.waiting {
		if w.urgency <= urgency {
			place++
		}
	}
	return time.Duration(place) * q.spacing
}

// expected returns how long one of this urgency would wait for its turn.
func (q *waitQueue) expected(urgency int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.wait(urgency)
}

// backWithin bounds how long after the end of a wait those come back who were told of it.
const backWithin = 10 * time.Second

// later returns for how long one stays away who finds no slot within wait: those who are told so come back
// one after another, as slots do, in rounds of backWithin, and none behind less urgent ones. If all came when a
// block ends, whoever serves them would have no time for others.
func (q *waitQueue) later(wait time.Duration, urgency int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.back == nil {
		q.back = map[int]time.Time{}
	}
	now := time.Now()
	at, end := q.back[urgency], now.Add(wait)
	if at.Before(end) || at.After(end.Add(backWithin)) {
		at = end
	}
	q.back[urgency] = at
	if !q.free {
		q.back[urgency] = at.Add(q.spacing)
	}
	return at.Sub(now)
}

// leave takes w out, who will not wait any longer. If its turn had come just now,
// the next has it.
func (q *waitQueue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&q.waiting, w.index)
		return
	}
	select {
	case err := <-w.turn:
		if err == nil {
			q.asking--
			q.admit()
		}
	default:
	}
}

// asked ends a turn that brought no slot.
func (q *waitQueue) asked() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking--
	q.admit()
}

// granted ends a turn that brought a slot, which is wait away and at this time of
// Redis. urgent reports whether it goes before others that were given out.
func (q *waitQueue) granted(slot, wait time.Duration, urgent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking--
	if urgent {
		slot = max(slot, q.previous) // it says nothing about the pace
	}
	if q.crowded && slot > q.previous {
		// One long pause, such as a block, says little about the next slots.
		sample := min(slot-q.previous, 2*q.spacing+time.Millisecond)
		q.spacing += (sample - q.spacing) / 8
	}
	q.previous, q.crowded = slot, len(q.waiting) > 0
	if wait > reserveAhead {
		inFlightAhead := &q.inFlightAhead
		if urgent {
			inFlightAhead = &q.urgent
		}
		*inFlightAhead++
		time.AfterFunc(wait-reserveAhead, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			*inFlightAhead--
			q.admit()
		})
	}
	q.admit()
}

// noPermit ends a turn that found no permit: nobody asks until freed is called, or
// until the time is over.
func (q *waitQueue) noPermit(until time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking--
	if q.closed {
		return
	}
	q.closed = true
	q.closedEpoch++
	round := q.closedEpoch
	time.AfterFunc(until, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.closed && q.closedEpoch == round {
			q.closed = false
			q.admit()
		}
	})
}

// freed says that a permit may be free.
func (q *waitQueue) freed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = false
	q.admit()
}

// fail ends a turn for everybody: Redis cannot be asked.
func (q *waitQueue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking--
	for _, w := range q.waiting {
		w.index = -1
		w.turn <- err
	}
	q.waiting = nil
}

// widest is the number of those who ask at once at most.
const widest = 64

// width returns how many may ask at once: as many as get a slot in the time that
// reservations may lie ahead.
func (q *waitQueue) width() int {
	switch {
	case q.free:
		return widest
	case q.spacing <= 0:
		return 1
	}
	return int(min(max(reserveAhead/q.spacing, 1), widest))
}

// admit lets the next ask. The most urgent do not wait for the slot of another to
// come near, which they overtake. The caller holds mu.
func (q *waitQueue) admit() {
	for len(q.waiting) > 0 && !q.closed && q.urgent == 0 && (q.inFlightAhead == 0 || q.waiting[0].urgency == 0) && q.asking < q.width() {
		w, _ := heap.Pop(&q.waiting).(*waiter)
		q.asking++
		w.turn <- nil
	}
}

// waiters is a heap of waiters.
type waiters []*waiter

// Len is heap.Interface's.
func (w *waiters) Len() int { return len(*w) }

// Less is heap.Interface's.
func (w *waiters) Less(i, j int) bool {
	a, b := (*w)[i], (*w)[j]
	if a.urgency != b.urgency {
		return a.urgency < b.urgency
	}
	return a.seq < b.seq
}

// Swap is heap.Interface's.
func (w *waiters) Swap(i, j int) {
	(*w)[i], (*w)[j] = (*w)[j], (*w)[i]
	(*w)[i].index, (*w)[j].index = i, j
}

// Push is heap.Interface's.
func (w *waiters) Push(x any) {
	one, _ := x.(*waiter)
	one.index = len(*w)
	*w = append(*w, one)
}

// Pop is heap.Interface's.
func (w *waiters) Pop() any {
	last := len(*w) - 1
	one := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	one.index = -1
	return one
}

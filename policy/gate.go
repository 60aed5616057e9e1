package policy

import (
	"container/heap"
	"sync"
	"time"
)

// ahead is how far a reserved slot may lie in the future while the next is asked
// for. A process that is killed takes what it had reserved with it, so it holds
// few: one, or those of 50 ms.
const ahead = 50 * time.Millisecond

// gate is where those who want a slot of one provider wait in this process, the
// most urgent first, and first come, first served among equals. Those at its head
// ask Redis; the others wait for their turn, which costs nothing.
type gate struct {
	mu     sync.Mutex
	queue  queue
	seq    uint64
	asking int // ask now
	far    int // have a slot that is more than ahead away, without
	urgent int // the most urgent, who overtake those
	shut   int // seats are missing: nobody asks until this round is over
	closed bool

	// spacing is the time between two slots of this process while others waited.
	spacing  time.Duration
	free     bool          // nothing spaces them
	previous time.Duration // the slot before, on Redis' clock
	crowded  bool          // others waited when it was given out
}

// waiter is one who waits at the gate. Its turn comes with a nil error.
type waiter struct {
	urgency int
	seq     uint64
	index   int // in the queue; -1: not there
	turn    chan error
}

// join puts w at the end of those of its urgency, or back to its place if it had one.
// If it would wait for longer than bearable, it is not put there and the wait is
// returned. nominal is the spacing to begin with; below 0: there is none.
func (g *gate) join(w *waiter, nominal, bearable time.Duration) (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = nominal < 0
	if g.spacing == 0 && !g.free {
		g.spacing = nominal
	}
	if w.seq == 0 {
		if wait = g.wait(w.urgency); wait > bearable {
			return wait, false
		}
		g.seq++
		w.seq = g.seq
	}
	w.turn = make(chan error, 1)
	heap.Push(&g.queue, w)
	g.admit()
	return 0, true
}

// wait is how long one of this urgency would wait for its turn. The caller holds mu.
func (g *gate) wait(urgency int) time.Duration {
	place := 0
	for _, w := range g.queue {
		if w.urgency <= urgency {
			place++
		}
	}
	return time.Duration(place) * g.spacing
}

// expected is how long one of this urgency would wait for its turn.
func (g *gate) expected(urgency int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wait(urgency)
}

// leave takes w out, who will not wait any longer. If its turn had come just now,
// the next has it.
func (g *gate) leave(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&g.queue, w.index)
		return
	}
	select {
	case err := <-w.turn:
		if err == nil {
			g.asking--
			g.admit()
		}
	default:
	}
}

// asked ends a turn that brought no slot.
func (g *gate) asked() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking--
	g.admit()
}

// granted ends a turn that brought a slot, which is wait away and at this time of
// Redis. urgent tells that it goes before others that were given out.
func (g *gate) granted(slot, wait time.Duration, urgent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking--
	if urgent {
		slot = max(slot, g.previous) // it says nothing about the pace
	}
	if g.crowded && slot > g.previous {
		// One long pause, such as a block, says little about the next slots.
		sample := min(slot-g.previous, 2*g.spacing+time.Millisecond)
		g.spacing += (sample - g.spacing) / 8
	}
	g.previous, g.crowded = slot, len(g.queue) > 0
	if wait > ahead {
		far := &g.far
		if urgent {
			far = &g.urgent
		}
		*far++
		time.AfterFunc(wait-ahead, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			*far--
			g.admit()
		})
	}
	g.admit()
}

// seatless ends a turn that found no seat: nobody asks until freed is called, or
// until the time is over.
func (g *gate) seatless(until time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking--
	if g.closed {
		return
	}
	g.closed = true
	g.shut++
	round := g.shut
	time.AfterFunc(until, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed && g.shut == round {
			g.closed = false
			g.admit()
		}
	})
}

// freed tells that a seat may be free.
func (g *gate) freed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
	g.admit()
}

// fail ends a turn for everybody: Redis cannot be asked.
func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking--
	for _, w := range g.queue {
		w.index = -1
		w.turn <- err
	}
	g.queue = nil
}

// widest is how many ask at once at most.
const widest = 64

// width is how many may ask at once: as many as get a slot in the time that
// reservations may lie ahead.
func (g *gate) width() int {
	switch {
	case g.free:
		return widest
	case g.spacing <= 0:
		return 1
	}
	return int(min(max(ahead/g.spacing, 1), widest))
}

// admit lets the next ask. The most urgent do not wait for the slot of another to
// come near, which they overtake. The caller holds mu.
func (g *gate) admit() {
	for len(g.queue) > 0 && !g.closed && g.urgent == 0 && (g.far == 0 || g.queue[0].urgency == 0) && g.asking < g.width() {
		w, _ := heap.Pop(&g.queue).(*waiter)
		g.asking++
		w.turn <- nil
	}
}

// queue is a heap of waiters.
type queue []*waiter

// Len is heap.Interface's.
func (q *queue) Len() int { return len(*q) }

// Less is heap.Interface's.
func (q *queue) Less(i, j int) bool {
	a, b := (*q)[i], (*q)[j]
	if a.urgency != b.urgency {
		return a.urgency < b.urgency
	}
	return a.seq < b.seq
}

// Swap is heap.Interface's.
func (q *queue) Swap(i, j int) {
	(*q)[i], (*q)[j] = (*q)[j], (*q)[i]
	(*q)[i].index, (*q)[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	w, _ := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}

package limiter

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// turns is a queue with some who wait there, and whose turn came in which order.
type turns struct {
	t     *testing.T
	queue waitQueue
	all   map[string]*waiter
	order []string
}

func (s *turns) join(name string, urgency int) {
	s.t.Helper()
	if s.all == nil {
		s.all = map[string]*waiter{}
	}
	w := &waiter{urgency: urgency, index: -1}
	if wait, ok := s.queue.join(w, time.Second, time.Hour); !ok {
		s.t.Fatalf("%s was sent away for %v", name, wait)
	}
	s.all[name] = w
	s.look()
}

// look notes whose turn has come.
func (s *turns) look() {
	for name, w := range s.all {
		select {
		case err := <-w.turn:
			if err != nil {
				name += ": " + err.Error()
			}
			s.order = append(s.order, name)
		default:
		}
	}
}

func (s *turns) want(names ...string) {
	s.t.Helper()
	s.look()
	if !slices.Equal(s.order, names) {
		s.t.Errorf("turns of %v, want %v", s.order, names)
	}
	s.order = nil
}

func TestTheMostUrgentGoFirstAndEqualsAsTheyCame(t *testing.T) {
	t.Parallel()
	s := &turns{t: t}
	s.join("first", 2)
	s.want("first")
	s.join("bulk 1", 2)
	s.join("bulk 2", 2)
	s.join("default", 1)
	s.join("high 1", 0)
	s.join("high 2", 0)
	s.want()
	for _, next := range []string{"high 1", "high 2", "default", "bulk 1", "bulk 2"} {
		s.queue.asked()
		s.want(next)
	}
}

func TestATurnOfOneWhoLeavesGoesToTheNext(t *testing.T) {
	t.Parallel()
	s := &turns{t: t}
	s.join("first", 0)
	s.want("first")
	s.join("waits", 0)
	s.join("next", 0)
	s.queue.leave(s.all["waits"])
	s.queue.asked()
	s.want("next")
	// One who leaves in the very moment of its turn.
	s.join("too late", 0)
	s.join("last", 0)
	s.queue.asked()
	s.queue.leave(s.all["too late"])
	s.want("last")
}

func TestAReservationFarAheadClosesTheGateUntilItIsNear(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &turns{t: t}
		s.join("first", 1)
		s.want("first")
		s.join("second", 1)
		s.queue.granted(time.Hour, 300*time.Millisecond, false)
		s.want()
		time.Sleep(249 * time.Millisecond) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		s.want()
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		s.want("second")
	})
}

func TestTheMostUrgentDoNotWaitForTheSlotsOfOthersButForTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &turns{t: t}
		s.join("bulk", 2)
		s.want("bulk")
		s.queue.granted(time.Hour, 300*time.Millisecond, false)
		s.join("more bulk", 2)
		s.want()
		s.join("urgent", 0)
		s.join("urgent, too", 0)
		s.want("urgent")
		s.queue.granted(time.Hour, 200*time.Millisecond, true)
		s.want()
		time.Sleep(151 * time.Millisecond) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		s.want("urgent, too")
		s.queue.granted(time.Hour, 0, true)
		s.want()
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		s.want("more bulk")
	})
}

func TestWithoutASeatNobodyAsksUntilOneIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &turns{t: t}
		s.join("first", 1)
		s.want("first")
		s.queue.noPermit(5 * time.Second)
		s.queue.join(s.all["first"], time.Second, time.Hour)
		s.join("second", 1)
		s.want()
		s.queue.freed()
		s.want("first") // it has kept its place
		s.queue.noPermit(5 * time.Second)
		s.want()
		time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		s.want("second")
	})
}

func TestWhoWouldWaitTooLongIsSentAwayAtOnce(t *testing.T) {
	t.Parallel()
	s := &turns{t: t}
	s.join("first", 1)
	for range 10 {
		s.join("bulk", 1)
	}
	if wait, ok := s.queue.join(&waiter{urgency: 1, index: -1}, time.Second, 5*time.Second); ok || wait != 10*time.Second {
		t.Errorf("behind 10 others, a second apart: ok %v, wait %v, want 10 s", ok, wait)
	}
	if _, ok := s.queue.join(&waiter{urgency: 0, index: -1}, time.Second, 5*time.Second); !ok {
		t.Error("one who passes all others was sent away")
	}
}

func TestWithoutRedisAllAreTold(t *testing.T) {
	t.Parallel()
	s := &turns{t: t}
	s.join("first", 0)
	s.want("first")
	s.join("second", 0)
	s.queue.fail(errors.New("away"))
	s.want("second: away")
	s.join("third", 0)
	s.want("third")
}

func TestThoseWhoFindNoSlotComeBackOneAfterAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const block, told, spacing = 30 * time.Second, 1500, 25 * time.Millisecond
		q := &waitQueue{spacing: spacing}
		inSecond := map[int]int{}
		for i := range told {
			wait := q.later(block, 2)
			if i < 3 && wait != block+time.Duration(i)*spacing {
				t.Errorf("number %d comes back after %s", i, wait)
			}
			if wait < block || wait > block+backWithin {
				t.Fatalf("number %d comes back after %s, want %s to %s", i, wait, block, block+backWithin)
			}
			inSecond[int(wait.Seconds())]++
		}
		for second, n := range inSecond {
			if n > 2*told/int(backWithin.Seconds()) {
				t.Errorf("%d come back in second %d, want no crowd", n, second)
			}
		}
		if wait := q.later(block, 0); wait != block {
			t.Errorf("a more urgent one comes back after %s, want %s", wait, block)
		}
		<-time.After(time.Minute)
		if wait := q.later(time.Second, 2); wait != time.Second {
			t.Errorf("after a minute one comes back after %s, want a second", wait)
		}
		q.free = true
		for range 2 {
			if wait := q.later(block, 2); wait != block {
				t.Errorf("without a limit one comes back after %s, want %s", wait, block)
			}
		}
	})
}

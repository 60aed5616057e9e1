package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"
)

func TestIsolationIsOpenForAWhileAndToAFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var i isolation
		slots := semaphore.NewWeighted(exclusive)
		few, alone := &suspectError{}, &suspectError{alone: true}
		enter := func(s *suspectError) bool { return i.enter(t.Context(), slots, s) }

		if err := slots.Acquire(t.Context(), 1); err != nil { // a job that nobody suspects
			t.Fatal(err)
		}
		first := make(chan bool)
		go func() { first <- enter(few) }()
		synctest.Wait()
		if enter(few) {
			t.Error("one came in before the first")
		}
		slots.Release(1)
		if !<-first {
			t.Fatal("the first did not come in when the others had ended")
		}
		if enter(alone) {
			t.Error("one that has to be alone came in beside another")
		}
		for range mostIsolated - 1 {
			if !enter(few) {
				t.Fatal("one of the few did not come in")
			}
		}
		if enter(few) {
			t.Error("more than a few came in")
		}
		i.leave(slots)
		<-time.After(isolationOpen)
		if enter(few) {
			t.Error("one came in for whom others had to wait longer")
		}
		if slots.TryAcquire(1) {
			t.Error("a job that nobody suspects began beside suspects")
		}
		for range mostIsolated - 1 {
			i.leave(slots)
		}
		if !enter(alone) || enter(few) {
			t.Error("one that has to be alone is not")
		}
		i.leave(slots)
		if !slots.TryAcquire(exclusive) {
			t.Error("nobody is inside, and others do not go on")
		}
	})
}

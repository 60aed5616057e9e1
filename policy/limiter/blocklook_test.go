package limiter

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyOneLooksForABlockAndNobodyWaitsWhileWhatWasSeenHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // where no time passes
		var k blockCache
		_, first, _ := k.fresh(time.Now())
		if first == nil {
			t.Fatal("the first does not look")
		}
		if _, asks, others := k.fresh(time.Now()); asks != nil || others != first {
			t.Error("while nothing is known, the second does not wait for the first")
		}
		k.answer(first, grant{wait: time.Hour}, nil)
		now := time.Now()
		if g, asks, others := k.fresh(now); asks != nil || others != nil || g.wait <= 0 {
			t.Errorf("what was just seen is not believed: wait %s", g.wait)
		}
		_, second, _ := k.fresh(now.Add(lookFor * 3 / 4))
		if second == nil {
			t.Fatal("nobody looks before what was seen is too old")
		}
		if g, asks, others := k.fresh(now.Add(lookFor * 3 / 4)); asks != nil || others != nil || g.wait <= 0 {
			t.Error("others wait for the look, or look themselves, though what was seen holds")
		}
		if _, asks, others := k.fresh(now.Add(2 * lookFor)); asks != nil || others != second {
			t.Error("what is too old is believed")
		}
		k.forget()
		k.answer(second, grant{}, nil)
		if _, asks, _ := k.fresh(time.Now()); asks == nil {
			t.Error("what was asked before a refusal is believed after it")
		}
	})
}

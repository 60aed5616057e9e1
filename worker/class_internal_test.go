package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/semaphore"

	"oneflow/jobs"
	"oneflow/providers"
)

func TestAGateLetsInAsManyAsThereIsRoomForInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		size := 2
		g := &resizableSemaphore{size: func() int { return size }}
		var mu sync.Mutex // several are let in at once
		var in []int
		enter := func(i int) {
			go func() {
				if g.acquire(t.Context()) == nil {
					mu.Lock()
					defer mu.Unlock()
					in = append(in, i)
				}
			}()
			synctest.Wait()
		}
		for i := range 6 {
			enter(i)
		}
		if len(in) != 2 || g.taken() != 6 {
			t.Fatalf("%v are in, and %d in all", in, g.taken())
		}
		size = 4 // who waits is let in when the next one leaves
		g.release()
		synctest.Wait()
		size = 1
		g.release()
		g.release()
		g.release()
		synctest.Wait()
		if len(in) != 5 {
			t.Errorf("%v are in, want no more with room for 1", in)
		}
		g.release()
		synctest.Wait()
		slices.Sort(in[:2]) // those that were let in at once
		slices.Sort(in[2:5])
		if !slices.Equal(in, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("they came in as %v", in)
		}
		g.release()
		if g.taken() != 0 {
			t.Errorf("%d are taken, want none", g.taken())
		}
	})
}

func TestWhoGivesUpAtAGateLeavesNoTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &resizableSemaphore{size: func() int { return 1 }}
		if err := g.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		g.release()
		if err := g.acquire(t.Context()); err != nil || g.taken() != 1 {
			t.Errorf("%v, %d taken", err, g.taken())
		}
	})
}

func TestATaskThatFindsNoPlaceComesAgainInItsTurn(t *testing.T) {
	t.Parallel()
	plan := Plan{Share: 4, Latency: 50 * time.Millisecond, Workers: 2, JobsPerMinute: 120} // one a second in this worker
	c := &classConcurrency{plan: func() Plan { return plan }, putBack: map[jobs.Lane]time.Time{}}
	c.concurrency = concurrency{all: semaphore.NewWeighted(100), ofClass: &resizableSemaphore{size: func() int { return plan.Share }}}
	now := time.Now()
	c.took(4 + 2) // it runs 4, and 2 s of work wait
	if in, _ := c.admit(1, jobs.Bulk, now); in != nil {
		t.Fatal("a task found a place in a full hand")
	}
	_, second := c.admit(20, jobs.Bulk, now)
	_, third := c.admit(10, jobs.Bulk, now)
	if second != time.Second || third != time.Second {
		t.Errorf("they come again after %s and %s, want a second: looking is cheap", second, third)
	}
	for range 100 {
		c.admit(1, jobs.Bulk, now)
	}
	if _, after := c.admit(1, jobs.Bulk, now); after < 100*putBackEvery || after > 110*putBackEvery {
		t.Errorf("after 103 that were put back, the next comes again after %s, want %s for each", after, putBackEvery)
	}
	if _, after := c.admit(1, jobs.Default, now); after != time.Second {
		t.Errorf("behind 104 of the bulk lane, one of the default lane comes again after %s, want a second", after)
	}
	plan.JobsPerMinute = 1_200_000
	c.took(100)
	if _, after := c.admit(1, jobs.Bulk, now.Add(time.Hour)); after != time.Second {
		t.Errorf("once they have had their turn, the next comes again after %s", after)
	}
	c.began(102)
	if in, after := c.admit(1, jobs.Bulk, now); in == nil || after != 0 {
		t.Error("a task found no place in a hand with little")
	}
}

// What a class has given back while its provider was blocked comes in tasks of one job, behind
// others of many: looked at ten times a second, they brought half of what the limit allows.
func TestSmallTasksComeAgainAsFastAsTheirClassRuns(t *testing.T) {
	t.Parallel()
	plan := Plan{Share: 10, Latency: 200 * time.Millisecond, Workers: 2, JobsPerMinute: 2400} // 20 a second in this worker
	c := &classConcurrency{plan: func() Plan { return plan }, putBack: map[jobs.Lane]time.Time{}}
	c.concurrency = concurrency{all: semaphore.NewWeighted(100), ofClass: &resizableSemaphore{size: func() int { return plan.Share }}}
	now := time.Now()
	c.took(10 + 40)
	const chunks, singles = 50, 200
	var before, after time.Duration
	for range chunks {
		_, before = c.admit(10, jobs.Bulk, now)
	}
	if before > chunks*putBackEvery {
		t.Errorf("the last of %d chunks comes again after %s, want %s for each at most", chunks, before, putBackEvery)
	}
	for range singles {
		_, after = c.admit(1, jobs.Bulk, now)
	}
	if perSecond := singles / (after - before).Seconds(); perSecond < 1.9*20 || perSecond > 2.1*20 {
		t.Errorf("%.1f tasks of one job come again in a second, want twice the 20 that run", perSecond)
	}
}

func TestTheClassesOfAProviderShareWhatAWorkerRuns(t *testing.T) {
	t.Parallel()
	limits := func(rpm int64) (l providers.Limits) { l.RPM = rpm; return l }
	seen := Capacity{Workers: 4, Calls: 100, Latency: 200 * time.Millisecond, MeanLatency: 200 * time.Millisecond}
	classes := map[string]providers.Limits{"slow": limits(500), "middle": limits(5000), "fast": limits(30_000)}
	whole, each := NewPlans(Served{Name: "p", ByModel: true}, limits(35_500), classes, seen)
	sum := 0
	for class, p := range each {
		if p.Share < 1 || p.Limits != classes[class] {
			t.Errorf("%s: %+v", class, p)
		}
		sum += p.Share
	}
	if each["slow"].Share > 4 || each["fast"].Share < 30 || whole.Share < sum || whole.Tasks < 2*sum {
		t.Errorf("slow %d, middle %d, fast %d of %d, %d tasks", each["slow"].Share, each["middle"].Share, each["fast"].Share, whole.Share, whole.Tasks)
	}
	if s, f := each["slow"], each["fast"]; s.window() != 500 || f.window() != 10_000 || s.chunk() > 2 || f.chunk() < 20 {
		t.Errorf("queues: windows %d and %d, chunks %d and %d", s.window(), f.window(), s.chunk(), f.chunk())
	}
	// With few handlers each class still has one, and none has them all.
	whole, each = NewPlans(Served{Name: "p", ByModel: true, Concurrency: 4}, limits(35_500), classes, seen)
	if whole.Share != 4 || each["slow"].Share != 1 || each["middle"].Share != 1 || each["fast"].Share > 4 {
		t.Errorf("of 4: slow %d, middle %d, fast %d", each["slow"].Share, each["middle"].Share, each["fast"].Share)
	}
}

func TestOneClassHasAllSlotsUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	c := newClasses(make(chan struct{}, 1))
	c.set(map[string]Plan{"a": {Share: 10, Workers: 1, JobsPerMinute: 600}, "b": {Share: 10, Workers: 1, JobsPerMinute: 600}}, map[string]bool{})
	r := &concurrencyByClass{whole: &concurrency{all: semaphore.NewWeighted(100)}, classes: c, class: func(model string) string { return model }, size: 3, of: map[string]*classConcurrency{}}
	task := func(model string) *asynq.Task { return asynq.NewTask("t", []byte(`{"model":"`+model+`"}`)) }
	in, _ := r.ofTask(task("a"), jobs.Bulk)
	if got := in.ofClass.size(); got != 3 {
		t.Errorf("the only class may run %d at once, want all 3", got)
	}
	r.ofTask(task("b"), jobs.Bulk)
	if got := in.ofClass.size(); got != 2 {
		t.Errorf("beside another it may run %d at once, want 2", got)
	}
}

func TestAClassOfLongCallsIsReckonedByItsOwnLatency(t *testing.T) {
	t.Parallel()
	limits := map[string]providers.Limits{"film": {RPM: 30}, "text": {RPM: 600}}
	plan := func(films Capacity) int {
		seen := Capacity{Workers: 1, Calls: 1000, Latency: time.Second, MeanLatency: time.Second, By: map[string]Capacity{
			"film-1": films, "text-1": {Calls: 990, Latency: time.Second, MeanLatency: time.Second}, "gone": {Calls: 50, Latency: time.Hour, MeanLatency: time.Hour},
		}}
		_, each := NewPlans(Served{Name: "p", ByModel: true}, providers.Limits{RPM: 630}, limits, seen.InClasses(map[string]string{"film-1": "film", "text-1": "text", "text-2": "text"}))
		if text := each["text"].Share; text < 10 || text > 20 {
			t.Errorf("%d texts at once, want what 10 a second of a second each keep busy", text)
		}
		return each["film"].Share
	}
	// 30 a minute of 2 minutes each keep 60 busy.
	if n := plan(Capacity{Calls: 10, Latency: 2 * time.Minute, MeanLatency: 2 * time.Minute}); n < 60 || n > 80 {
		t.Errorf("%d films at once, want some 60", n)
	}
	if n := plan(Capacity{Calls: 1, Latency: 2 * time.Minute, MeanLatency: 2 * time.Minute}); n < 60 || n > 80 {
		t.Errorf("%d films at once after one call, want some 60", n)
	}
	if n := plan(Capacity{}); n > 10 {
		t.Errorf("%d films at once before the first was seen", n)
	}
	if n := plan(Capacity{Calls: 1, Latency: time.Millisecond, MeanLatency: time.Millisecond}); n != plan(Capacity{}) {
		t.Errorf("%d films at once after one odd call", n)
	}
}

func TestWhatOtherClassesDoNotUseIsLentToAClassWithWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClasses(make(chan struct{}, 1))
		c.set(map[string]Plan{"film": {Share: 2, Wanted: 20}, "text": {Share: 3, Wanted: 20}, "image": {Share: 3, Wanted: 20}, "narrow": {Share: 1, Wanted: 3}}, map[string]bool{})
		r := &concurrencyByClass{whole: newConcurrency(8, 1), classes: c, class: func(model string) string { return model }, size: 8, of: map[string]*classConcurrency{}}
		task := func(model string) {
			r.ofTask(asynq.NewTask("text", []byte(`{"job":"0","gen":1,"model":"`+model+`"}`)), jobs.Bulk)
		}
		size := func(class string) int { return r.of[class].ofClass.size() }

		task("film")
		if n := size("film"); n != 8 {
			t.Errorf("films alone have %d places of 8", n)
		}
		for _, model := range []string{"text", "image", "narrow"} {
			task(model)
			r.of[model].took(5)
			task(model)
			r.of[model].began(5)
		}
		if n := size("film"); n != 2 {
			t.Errorf("while all have work, films have %d places, want their share", n)
		}
		time.Sleep(lendAfter / 2) //nolint:forbidigo // in a bubble, where it is the clock
		if n := size("film"); n != 2 {
			t.Errorf("in a short gap films have %d places, want their share", n)
		}
		task("text")
		time.Sleep(2 * lendAfter) //nolint:forbidigo // in a bubble, where it is the clock
		if n := size("film"); n != 7 {
			t.Errorf("when nobody else has work, films have %d places, want all but one", n)
		}
		if n := size("narrow"); n != 3 {
			t.Errorf("a class has %d places, want no more than its limits ask for", n)
		}
		task("text")
		if n := size("film"); n != 7 {
			t.Errorf("with one text films have %d places, want 7", n)
		}
		if n := size("text"); n != 7 {
			t.Errorf("texts have %d places, want 7: films have had no work lately, either", n)
		}
	})
}

func TestAServerTakesNoMoreOfTheOnlyClassOnceItHasEnoughInHand(t *testing.T) {
	t.Parallel()
	c := newClasses(make(chan struct{}, 1))
	plans := map[string]Plan{"a": {Share: 2, Latency: time.Second, Workers: 1, JobsPerMinute: 60}}
	queued := func(classes ...string) {
		are := map[string]bool{}
		for _, class := range classes {
			are[class] = true
		}
		c.set(plans, are)
	}
	queued()
	r := &concurrencyByClass{whole: newConcurrency(2, 1), classes: c, class: func(model string) string { return model }, size: 2, of: map[string]*classConcurrency{}}
	if r.full() {
		t.Error("a Server is full before it has met anything")
	}
	r.ofTask(asynq.NewTask("text", []byte(`{"job":"0","gen":1,"model":"a"}`)), jobs.Bulk)
	r.of["a"].took(3)
	if r.full() {
		t.Error("it is full with 3 in hand, want 2 that run and 2 that wait")
	}
	r.of["a"].took(1)
	if !r.full() {
		t.Error("it is not full with 4 in hand")
	}
	for _, others := range [][]string{{"a", "b"}, {"b"}} {
		if queued(others...); r.full() {
			t.Errorf("with %v queued it does not look for what has a place", others)
		}
	}
	queued("a")
	if !r.full() {
		t.Error("once the other class is gone it goes on looking")
	}
	if r.of["a"].began(1); r.full() {
		t.Error("it is full with 3 in hand")
	}
}

// After a dozen tasks without a place a Server rests; but not while another class, whose tasks may
// stand behind them, has little in hand.
func TestAServerDoesNotRestWhileAClassBehindHasLittleInHand(t *testing.T) {
	t.Parallel()
	c := newClasses(make(chan struct{}, 1))
	plan := Plan{Share: 4, Latency: 200 * time.Millisecond, Workers: 1, JobsPerMinute: 600} // 10 a second
	queued := map[string]bool{"blocked": true, "fast": true}
	c.set(map[string]Plan{"blocked": plan, "fast": plan}, queued)
	r := &concurrencyByClass{whole: newConcurrency(8, 10), classes: c, class: func(model string) string { return model }, size: 8, of: map[string]*classConcurrency{}}
	task := func(model string) *asynq.Task {
		return asynq.NewTask("text", []byte(`{"job":"0","gen":1,"model":"`+model+`"}`))
	}
	rests := func() bool {
		r.whole.rested = time.Time{}
		for range 2 * looksInARow {
			if in, _ := r.ofTask(task("blocked"), jobs.Bulk); in != nil {
				t.Fatal("a task found a place in a full hand")
			}
		}
		return !r.whole.rested.IsZero()
	}
	r.ofTask(task("fast"), jobs.Bulk)
	r.ofTask(task("blocked"), jobs.Bulk)
	r.of["blocked"].took(100)
	if rests() {
		t.Error("it rests while the other class has nothing in hand")
	}
	r.of["fast"].took(4 + 10)
	if !rests() {
		t.Error("it does not rest though the other class has what runs, and what lasts a second")
	}
	r.of["fast"].began(14)
	if rests() {
		t.Error("it rests though the other class has run out")
	}
	c.set(map[string]Plan{"blocked": plan, "fast": plan}, map[string]bool{"blocked": true, "other": true})
	if !rests() {
		t.Error("it does not rest though no more of the other class is queued")
	}
}

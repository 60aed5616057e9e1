package limiter

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/rs/zerolog"

	"oneflow/providers"
)

// simulation is a fleet whose time is simulated: Redis' clock is set, and nobody sleeps. It asks as a queue does, with one
// reservation ahead for each process, and knows when each call reached the provider.
type simulation struct {
	t       *testing.T
	redis   *miniredis.Miniredis
	rng     *rand.Rand
	limiter *Limiter
	account *account

	limits providers.Limits
	pinned []providers.Dimension
	now    time.Duration // since 1970, as on Redis' clock
	began  time.Duration // of a bucket
	strays int
	events events
	calls  []arrival
	// cost, latency and jitter are drawn for each call; used is the real cost.
	cost    func() (asked, used Demand)
	latency func() time.Duration
	jitter  time.Duration
	// dead processes send nothing, nor give anything back.
	dead map[int]bool
	// model, if set, is that of a process' calls, and scopes are those of a model.
	model  func(id int) string
	scopes func(model string) []Scope
	// urgent, if set, reports whether the next to ask is.
	urgent func() bool
	// waiting are the processes that found no room.
	waiting []int
	// headers, if set, makes what the provider answers to the call that just arrived.
	headers func(w *simulation) providers.RateLimits
	// retryAfter, if set, is for how long the provider asks to wait when it refuses; else a second.
	retryAfter func(w *simulation) time.Duration
	// refuses, if set, reports whether the provider refuses the call that just arrived.
	refuses  func(w *simulation) (providers.RateLimits, bool)
	refusals int
	learned  []Learned
	heeds    bool // what is learned is in force at once
}

// arrival is one call, as the provider sees it.
type arrival struct {
	at    time.Duration
	used  Demand
	scope string
}

func newSimulation(t *testing.T, seed uint64, limits providers.Limits) *simulation {
	t.Helper()
	w := &simulation{
		t: t, redis: miniredis.NewMiniRedis(), rng: rand.New(rand.NewPCG(seed, 0)), limits: limits,
		now: time.Duration(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixNano()), dead: map[int]bool{},
		jitter: 250 * time.Millisecond,
	}
	w.cost = func() (Demand, Demand) { return Demand{}, Demand{} }
	w.latency = func() time.Duration { return 100*time.Millisecond + w.rand(200*time.Millisecond) }
	if err := w.redis.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.redis.Close)
	client := redis.NewClient(&redis.Options{
		Addr: w.redis.Addr(), MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { client.Close() })
	l, err := New(Config{
		Redis: client, CallTimeout: time.Minute, Log: zerolog.Nop(),
		Settings: func(string) Settings { return w.settings() },
		Scopes: func(_, model string) (string, []Scope) {
			if w.scopes == nil {
				return "", nil
			}
			return model, w.scopes(model)
		},
		Restore: func(context.Context, string, string) (Snapshot, error) { return Snapshot{}, nil },
		Learn: func(_ string, what Learned) {
			w.learned = append(w.learned, what)
			for _, d := range providers.Dimensions() {
				if n := what.Limits.Of(d); n > 0 && w.heeds {
					w.limits = w.limits.With(d, n)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	w.limiter, w.account = l, l.account("p", "")
	w.set(w.now)
	return w
}

func (w *simulation) settings() Settings { return Settings{Limits: w.limits, Pinned: w.pinned} }

// event is something that happens at a time.
type event struct {
	at time.Duration
	do func()
}

type events []event

func (e *events) Len() int           { return len(*e) }
func (e *events) Less(i, j int) bool { return (*e)[i].at < (*e)[j].at }
func (e *events) Swap(i, j int)      { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *events) Push(x any)         { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *simulation) at(t time.Duration, do func()) { heap.Push(&w.events, event{max(t, w.now), do}) }

// run lets the simulation go on for d.
func (w *simulation) run(d time.Duration) {
	until := w.now + d
	for len(w.events) > 0 && w.events[0].at <= until {
		e, _ := heap.Pop(&w.events).(event)
		w.set(e.at)
		e.do()
	}
	w.set(until)
}

func (w *simulation) set(t time.Duration) {
	w.now = t
	w.redis.SetTime(time.Unix(0, int64(t)))
}

// process starts a worker that wants to call without end.
func (w *simulation) process(id int) { w.at(w.now, func() { w.step(id) }) }

func (w *simulation) step(id int) {
	if w.dead[id] {
		return
	}
	asked, used := w.cost()
	if w.model != nil {
		asked.Model = w.model(id)
	}
	g, err := w.limiter.ask(context.Background(), w.account, asked, defaultMaxWait, w.urgent != nil && w.urgent())
	if err != nil {
		w.t.Fatal(err)
	}
	if g.status == statusNoPermit {
		w.waiting = append(w.waiting, id) // told when a call gives something back
		return
	}
	if g.status != statusGranted {
		w.at(w.now+min(g.wait, time.Second)+time.Millisecond, func() { w.step(id) })
		return
	}
	slot := &Slot{limiter: w.limiter, account: w.account, model: asked.Model, grant: g, due: time.Now().Add(time.Hour)}
	w.at(max(g.slot-reserveAhead, w.now+time.Millisecond), func() { w.step(id) })
	w.send(slot, used, id)
}

// send sends a call when its slot has come, which others may overtake.
func (w *simulation) send(slot *Slot, used Demand, id int) {
	w.at(slot.grant.slot, func() {
		if w.dead[id] {
			return
		}
		ok, moved, err := slot.standing(context.Background())
		switch {
		case err != nil:
			w.t.Fatal(err)
		case moved > slot.grant.slot:
			slot.grant.slot = moved
			w.send(slot, used, id)
		case !ok:
			slot.Unused(context.Background())
		default:
			w.at(w.now+w.rand(w.jitter), func() { w.arrive(slot, used, id) })
		}
	})
}

func (w *simulation) arrive(slot *Slot, used Demand, id int) {
	if w.refuses != nil {
		if limits, refused := w.refuses(w); refused {
			w.refusals++
			wait := time.Second
			if w.retryAfter != nil {
				wait = w.retryAfter(w)
			}
			slot.Refused(context.Background(), &providers.Error{Kind: providers.RateLimited, RetryAfter: wait, Limits: limits})
			return
		}
	}
	w.calls = append(w.calls, arrival{w.now, used, slot.Scope()})
	var limits providers.RateLimits
	if w.headers != nil {
		limits = w.headers(w)
	}
	w.at(w.now+w.latency(), func() {
		if !w.dead[id] {
			slot.Done(context.Background(), providers.Usage{InputTokens: used.InputTokens, OutputTokens: used.OutputTokens}, limits)
			for _, id := range w.waiting {
				w.at(w.now+time.Millisecond, func() { w.step(id) })
			}
			w.waiting = nil
		}
	})
}

func (w *simulation) rand(d time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(d) + 1))
}

func one(arrival) int64 { return 1 }

func allTokens(a arrival) int64 { return a.used.InputTokens + a.used.OutputTokens }

// most is the most that any window held, of what reached the provider from a time on.
func (w *simulation) most(window, from time.Duration, cost func(arrival) int64) int64 {
	calls := w.sorted()
	var top, sum int64
	first := 0
	for _, c := range calls {
		if c.at < from {
			first++
			continue
		}
		sum += cost(c)
		for calls[first].at <= c.at-window {
			sum -= cost(calls[first])
			first++
		}
		top = max(top, sum)
	}
	return top
}

// used returns the sums that reached the provider in a time.
func (w *simulation) used(from, to time.Duration, cost func(arrival) int64) int64 {
	var sum int64
	for _, c := range w.calls {
		if c.at > from && c.at <= to {
			sum += cost(c)
		}
	}
	return sum
}

func (w *simulation) sorted() []arrival {
	calls := slices.Clone(w.calls)
	slices.SortFunc(calls, func(a, b arrival) int { return int(a.at - b.at) })
	return calls
}

// tokens draws jobs of 50 to 350 tokens, of which an estimate is up to half too high.
func (w *simulation) tokens() (asked, used Demand) {
	in, out := 20+w.rng.Int64N(100), 30+w.rng.Int64N(200)
	return Demand{InputTokens: in + w.rng.Int64N(in), OutputTokens: out}, Demand{InputTokens: in, OutputTokens: out}
}

func TestRequestsAMinuteAreUsedToTheFullAndNeverExceeded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limits providers.Limits
		share  float64
	}{
		"600":     {providers.Limits{RPM: 600}, 0.99},
		"60":      {providers.Limits{RPM: 60}, 0.98},
		"7":       {providers.Limits{RPM: 7}, 0.85},
		"several": {providers.Limits{RPM: 600, TPM: 10_000_000, RPD: 100_000, Concurrent: 100}, 0.99},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 1, tt.limits)
			w.cost = w.tokens
			for id := range 4 {
				w.process(id)
			}
			w.run(3 * time.Minute)
			if top := w.most(time.Minute, 0, one); top > tt.limits.RPM {
				t.Errorf("%d calls in a minute, the limit is %d", top, tt.limits.RPM)
			}
			got := float64(w.used(w.now-2*time.Minute, w.now, one)) / float64(2*tt.limits.RPM)
			t.Logf("%.2f %% used, at most %d in a minute", got*100, w.most(time.Minute, 0, one))
			if got < tt.share {
				t.Errorf("%.2f %% of the limit used, want %.0f", got*100, tt.share*100)
			}
		})
	}
}

func TestTokensAMinuteAreUsedToTheFullAndNeverExceeded(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{TPM: 60_000})
	w.cost = w.tokens
	for id := range 4 {
		w.process(id)
	}
	w.run(3 * time.Minute)
	if top := w.most(time.Minute, 0, allTokens); top > 60_000 {
		t.Errorf("%d tokens in a minute, the limit is 60000", top)
	}
	got := float64(w.used(w.now-2*time.Minute, w.now, allTokens)) / 120_000
	t.Logf("%.2f %% used, at most %d in a minute", got*100, w.most(time.Minute, 0, allTokens))
	if got < 0.98 {
		t.Errorf("%.2f %% of the limit used, want 98", got*100)
	}
}

func TestAKilledProcessTakesFewSlotsWithIt(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]providers.Limits{"requests": {RPM: 600}, "tokens": {TPM: 60_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 2, limits)
			w.cost = w.tokens
			for id := range 4 {
				w.process(id)
			}
			w.run(90 * time.Second)
			w.dead[3] = true
			w.run(60 * time.Second)
			cost, limit := one, int64(600)
			if limits.TPM > 0 {
				cost, limit = allTokens, 60_000
			}
			got := float64(w.used(w.now-time.Minute, w.now, cost)) / float64(limit)
			t.Logf("%.2f %% used in the minute after", got*100)
			if got < 0.97 {
				t.Errorf("%.2f %% used in the minute after, want 97", got*100)
			}
			if top := w.most(time.Minute, 0, cost); top > limit {
				t.Errorf("%d in a minute, the limit is %d", top, limit)
			}
		})
	}
}

// Answers are often a hundredth of what they might have been: a request that sets no max_tokens is reserved in full.
func TestWhatAnEstimateAskedForTooMuchIsUsedAgain(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 3, providers.Limits{TPM: 60_000, RPM: 600})
	w.cost = func() (Demand, Demand) {
		return Demand{InputTokens: 50, OutputTokens: 4096}, Demand{InputTokens: 40, OutputTokens: 100 + w.rng.Int64N(300)}
	}
	w.latency = func() time.Duration { return time.Second + w.rand(time.Second) }
	for id := range 4 {
		w.process(id)
	}
	w.run(3 * time.Minute)
	got := w.used(w.now-2*time.Minute, w.now, allTokens) / 2
	// By reservations alone it would be 60,000/4146 calls, that is 4,000 tokens; no more than 44,000 are possible while each
	// call under way counts in full.
	t.Logf("%d tokens a minute in %d calls", got, w.used(w.now-2*time.Minute, w.now, one)/2)
	if got < 35_000 {
		t.Errorf("%d tokens a minute of 60000, want at least 35000", got)
	}
	if top := w.most(time.Minute, 0, allTokens); top > 60_000 {
		t.Errorf("%d tokens in a minute, the limit is 60000", top)
	}
}

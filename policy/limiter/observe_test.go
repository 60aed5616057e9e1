package limiter

import (
	"testing"
	"time"

	"oneflow/providers"
)

// strict answers as a provider with a sliding window would, of which others may use a part.
func strict(limit int64, others func(w *simulation) int64) func(w *simulation) providers.RateLimits {
	return func(w *simulation) providers.RateLimits {
		used := w.used(w.now-time.Minute, w.now, one) + others(w)
		return providers.RateLimits{Requests: &providers.RateLimit{Limit: limit, Remaining: max(limit-used, 0), Reset: time.Minute}}
	}
}

func TestALimitThatIsUsedToTheFullDoesNotLookLikeOthers(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 600})
	w.headers = strict(600, func(*simulation) int64 { return 0 })
	for id := range 4 {
		w.process(id)
	}
	w.run(150 * time.Second)
	if got := w.used(w.now-90*time.Second, w.now, one); got < 891 {
		t.Errorf("%d calls in 90 s, want 99 %% of 900: the answers said that next to nothing remained", got)
	}
	if len(w.learned) > 0 {
		t.Errorf("learned %+v, want nothing", w.learned)
	}
}

func TestWhatOthersUseOfTheAccountIsLeftToThem(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 600})
	// From the second minute on, others use 240 a minute.
	began := w.now
	others := func(w *simulation) int64 {
		return max(min(int64((w.now-began-time.Minute)/(250*time.Millisecond)), 240), 0)
	}
	w.headers = strict(600, others)
	w.refuses = func(w *simulation) (providers.RateLimits, bool) {
		return w.headers(w), w.used(w.now-time.Minute, w.now, one)+others(w) >= 600
	}
	for id := range 4 {
		w.process(id)
	}
	w.run(150 * time.Second)
	before := w.refusals
	got := w.used(w.now-time.Minute, w.now, one)
	w.run(time.Minute)
	t.Logf("%d beside 240 of others, %d refusals until that was known, %d a minute later", got, before, w.refusals-before)
	if got > 360 || got < 320 {
		t.Errorf("%d calls in a minute beside 240 of others, want about 360 of the 600", got)
	}
	if w.refusals-before > 5 {
		t.Errorf("%d refusals in a minute, long after others were noticed", w.refusals-before)
	}
	// They stop: all of it is ours again.
	w.headers, w.refuses = strict(600, func(*simulation) int64 { return 0 }), nil
	w.run(130 * time.Second)
	if got := w.used(w.now-time.Minute, w.now, one); got < 594 {
		t.Errorf("%d calls in a minute after others have gone, want 99 %% of 600", got)
	}
}

func TestLimitsAreLearnedFromHeadersOnce(t *testing.T) {
	t.Parallel()
	w := newSimulation(t, 1, providers.Limits{RPM: 600, TPM: 10_000})
	answer := func(limits providers.RateLimits) {
		w.slot(Demand{InputTokens: 10, OutputTokens: 10}).Done(t.Context(), providers.Usage{InputTokens: 5, OutputTokens: 5}, limits)
	}
	limit := func(n int64) *providers.RateLimit {
		return &providers.RateLimit{Limit: n, Remaining: n - 1, Reset: time.Second}
	}
	for range 5 {
		answer(providers.RateLimits{Requests: limit(500), Tokens: limit(10_000), OutputTokens: &providers.RateLimit{Limit: -1, Remaining: -1}})
	}
	if len(w.learned) != 1 || w.learned[0].Limits != (providers.Limits{RPM: 500}) {
		t.Fatalf("learned %+v, want 500 requests a minute, once", w.learned)
	}
	// Another model of the account has a larger limit: that is not ours.
	w.limits.RPM = 500
	answer(providers.RateLimits{Requests: limit(5000)})
	if len(w.learned) != 1 {
		t.Errorf("learned %+v from another model", w.learned[1:])
	}
	for range enoughFits {
		answer(providers.RateLimits{Requests: limit(400), InputTokens: limit(70), OutputTokens: limit(80), Concurrent: limit(3)})
	}
	var all providers.Limits
	for _, what := range w.learned[1:] {
		for _, d := range providers.Dimensions() {
			all = all.With(d, max(all.Of(d), what.Limits.Of(d)))
		}
	}
	if want := (providers.Limits{RPM: 400, ITPM: 70, OTPM: 80, Concurrent: 3}); len(w.learned) != 3 || all != want {
		t.Errorf("learned %+v, want %+v, each once", w.learned[1:], want)
	}
}

func TestALimitOfRequestsADayIsNotTakenForOneAMinute(t *testing.T) {
	t.Parallel()
	// What an answer says when so many calls of a limit were made within the last seconds.
	day := func(limit int64) func(int64) providers.RateLimit {
		return func(used int64) providers.RateLimit {
			return providers.RateLimit{Limit: limit, Remaining: limit - used, Reset: time.Duration(used) * 24 * time.Hour / time.Duration(limit)}
		}
	}
	bucket := func(used int64) providers.RateLimit {
		return providers.RateLimit{Limit: 10_000, Remaining: 10_000 - used, Reset: time.Duration(used) * time.Minute / 10_000}
	}
	sliding := func(limit int64) func(int64) providers.RateLimit {
		return func(used int64) providers.RateLimit {
			return providers.RateLimit{Limit: limit, Remaining: limit - used, Reset: time.Minute}
		}
	}
	fixed := func(used int64) providers.RateLimit {
		return providers.RateLimit{Limit: 15_000, Remaining: 15_000 - used, Reset: time.Minute - time.Duration(used)*100*time.Millisecond}
	}
	unknown := func(int64) providers.RateLimit { return providers.RateLimit{Limit: 600, Remaining: -1} }
	for name, tt := range map[string]struct {
		says  func(used int64) providers.RateLimit
		calls int64
		want  providers.Limits
	}{
		"a day's bucket, a few used":   {day(10_000), 5, providers.Limits{}},
		"a day's bucket":               {day(10_000), 30, providers.Limits{RPD: 10_000}},
		"a small account's day":        {day(200), 1, providers.Limits{RPD: 200}},
		"a minute's bucket":            {bucket, 30, providers.Limits{RPM: 10_000}},
		"a minute's window":            {sliding(600), 30, providers.Limits{RPM: 600}},
		"a minute's window, of 15,000": {sliding(15_000), 30, providers.Limits{RPM: 15_000}},
		"a minute's window, of 30,000": {sliding(30_000), 50, providers.Limits{RPM: 30_000}},
		"the clock's minute":           {fixed, 50, providers.Limits{RPM: 15_000}},
		"without what is remaining":    {unknown, 5, providers.Limits{RPM: 600}},
	} {
		w := newSimulation(t, 1, providers.Limits{RPM: 60})
		for used := range tt.calls {
			said := tt.says(used + 1)
			w.slot(Demand{}).Done(t.Context(), providers.Usage{}, providers.RateLimits{Requests: &said})
		}
		var got providers.Limits
		for _, what := range w.learned {
			for _, d := range providers.Dimensions() {
				got = got.With(d, max(got.Of(d), what.Limits.Of(d)))
			}
		}
		if got != tt.want {
			t.Errorf("%s: learned %+v, want %+v", name, w.learned, tt.want)
		}
	}
}

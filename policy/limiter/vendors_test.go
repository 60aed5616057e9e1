package limiter

import (
	"testing"
	"time"

	"oneflow/providers"
)

// vendor is a server that enforces a limit in its own way, and tells of it in its own.
type vendor struct {
	limit  int64         // calls in a window
	window time.Duration // over which it counts
	how    enforcement
	others int64 // calls a minute that others make, evenly
	// says returns its headers, given what remains of the window and when it is full again.
	says func(remaining int64, reset time.Duration) providers.RateLimits
	// waits is for how long it asks to wait where it refuses; default: until it would take a call.
	waits time.Duration
}

type enforcement int

const (
	fixed   enforcement = iota // a window begins at each multiple of its length
	sliding                    // the last so many seconds count
	bucket                     // it fills evenly
)

// state returns what remains, and after how long all of it does.
func (v vendor) state(w *simulation) (remaining int64, reset, next time.Duration) {
	switch v.how {
	case fixed:
		began := w.now.Truncate(v.window)
		used := w.used(began-1, w.now, one) + v.others*int64(w.now-began)/int64(time.Minute)
		reset = began + v.window - w.now
		return max(v.limit-used, 0), reset, reset
	case sliding:
		used := w.used(w.now-v.window, w.now, one) + v.others*int64(v.window)/int64(time.Minute)
		return max(v.limit-used, 0), v.window, time.Second
	case bucket:
		level, last := float64(v.limit), w.began
		fill := float64(v.limit)/v.window.Seconds() - float64(v.others)/60
		for _, c := range w.sorted() {
			level = min(level+fill*(c.at-last).Seconds(), float64(v.limit)) - 1
			last = c.at
		}
		level = max(min(level+fill*(w.now-last).Seconds(), float64(v.limit)), 0)
		return int64(level), time.Duration((float64(v.limit) - level) / float64(v.limit) * float64(v.window)), time.Second
	}
	return 0, 0, 0
}

// serve has the simulation call v.
func (v vendor) serve(w *simulation) {
	answer := func() (providers.RateLimits, int64, time.Duration) {
		remaining, reset, next := v.state(w)
		if v.says == nil {
			return providers.RateLimits{}, remaining, next
		}
		return v.says(max(remaining-1, 0), reset), remaining, next
	}
	w.headers = func(*simulation) providers.RateLimits {
		said, _, _ := answer()
		return said
	}
	w.refuses = func(*simulation) (providers.RateLimits, bool) {
		said, remaining, _ := answer()
		return said, remaining < 1
	}
	w.retryAfter = func(*simulation) time.Duration {
		if v.waits > 0 {
			return v.waits
		}
		_, _, next := answer()
		return next
	}
}

// requests says it in headers of requests, with the limit as it is called there.
func requests(limit int64, reset bool) func(int64, time.Duration) providers.RateLimits {
	return func(remaining int64, in time.Duration) providers.RateLimits {
		if !reset {
			in = 0
		}
		return providers.RateLimits{Requests: &providers.RateLimit{Limit: limit, Remaining: remaining, Reset: in}}
	}
}

// What servers say of a limit differs more than what they mean. Four workers use all of it, whatever is said.
func TestALimitIsUsedWhateverAServerSaysOfIt(t *testing.T) {
	t.Parallel()
	const m = time.Minute
	for _, tt := range []struct {
		name   string
		limits providers.Limits
		vendor vendor
		stray  bool // one call is refused without a reason, with the wait of a second
		want   float64
		most   int // refusals, in 100 s
	}{
		{"a minute's window, without headers", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, how: sliding}, false, 0.98, 10},
		{"10 s windows, without headers", providers.Limits{RPM: 600}, vendor{limit: 100, window: 10 * time.Second, waits: time.Second}, true, 0.9, 10},
		{"10 s windows, headers of a minute", providers.Limits{RPM: 600}, vendor{limit: 100, window: 10 * time.Second, waits: time.Second, says: requests(600, true)}, true, 0.9, 10},
		{"10 s windows, sliding", providers.Limits{RPM: 600}, vendor{limit: 100, window: 10 * time.Second, how: sliding, waits: time.Second, says: requests(600, false)}, true, 0.85, 10},
		{"10 s windows, headers of 10 s", providers.Limits{RPM: 600}, vendor{limit: 100, window: 10 * time.Second, waits: time.Second, says: requests(100, true)}, true, 0.9, 10},
		{"1 s windows, headers of a minute", providers.Limits{RPM: 600}, vendor{limit: 12, window: time.Second, waits: 350 * time.Millisecond, says: requests(600, true)}, true, 0.9, 10},
		{"a gateway's 1,800, remaining of 10 s", providers.Limits{RPM: 1800}, vendor{limit: 300, window: 10 * time.Second, says: requests(1800, true)}, false, 0.9, 10},
		{"the same without a reset", providers.Limits{RPM: 1800}, vendor{limit: 300, window: 10 * time.Second, says: requests(1800, false)}, false, 0.9, 10},
		{"a gateway's 600, remaining of 1 s", providers.Limits{RPM: 600}, vendor{limit: 20, window: time.Second, says: requests(600, true)}, false, 0.9, 10},
		{"a bucket of a minute", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, how: bucket, says: requests(600, true)}, false, 0.98, 10},
		{"a bucket, one stray refusal", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, how: bucket, says: requests(600, true), waits: time.Second}, true, 0.95, 10},
		{"nothing ever remains", providers.Limits{RPM: 600}, vendor{limit: 1e6, window: m, how: sliding, says: func(int64, time.Duration) providers.RateLimits {
			return requests(600, false)(0, 0)
		}}, false, 0.9, 0},
		{"one ever remains, and the reset is a minute", providers.Limits{RPM: 600}, vendor{limit: 1e6, window: m, how: sliding, says: func(int64, time.Duration) providers.RateLimits {
			return requests(600, true)(1, m)
		}}, false, 0.9, 10},
		{"a minute's window beside 240 of others", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, how: sliding, others: 240, waits: time.Second, says: requests(600, false)}, false, 0.55, 10},
		{"a bucket beside 240 of others", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, how: bucket, others: 240, waits: time.Second, says: requests(600, true)}, false, 0.55, 10},
		{"windows of the clock's minute beside 240 of others", providers.Limits{RPM: 600}, vendor{limit: 600, window: m, others: 240, says: requests(600, true)}, false, 0.5, 10},
		{"10 s windows beside 240 of others", providers.Limits{RPM: 600}, vendor{limit: 100, window: 10 * time.Second, others: 240, says: requests(600, true)}, false, 0.5, 30},
		{"half the limit that was configured", providers.Limits{RPM: 600}, vendor{limit: 300, window: m, how: bucket, waits: time.Second, says: requests(300, true)}, false, 0.45, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSimulation(t, 1, tt.limits)
			w.began = w.now
			w.heeds = true
			tt.vendor.serve(w)
			if tt.stray {
				due, refuses, wait := w.now+40*time.Second, w.refuses, w.retryAfter
				struck := false
				w.refuses = func(w *simulation) (providers.RateLimits, bool) {
					said, refused := refuses(w)
					if !refused && !struck && w.now >= due {
						struck = true
						w.strays++
						if said.Requests != nil {
							said.Requests.Remaining = 0
						}
						return said, true
					}
					return said, refused
				}
				w.retryAfter = func(w *simulation) time.Duration {
					if w.strays > 0 && w.refusals == 1 {
						return time.Second
					}
					return wait(w)
				}
			}
			for id := range 4 {
				w.process(id)
			}
			w.run(40 * time.Second)
			first := w.used(w.now-40*time.Second, w.now, one)
			w.run(m)
			got := w.used(w.now-m, w.now, one)
			limit := tt.limits.RPM
			t.Logf("%-45s first 40 s: %5.1f %%, the minute after: %5.1f %%, %d refusals, learned %+v", tt.name, float64(first)/float64(limit)*150, float64(got)/float64(limit)*100, w.refusals, w.learned)
			if w.refusals > tt.most {
				t.Errorf("%d refusals, want at most %d", w.refusals, tt.most)
			}
			if float64(got) < tt.want*float64(limit) {
				t.Errorf("%d calls in a minute of %d, want %.0f %%", got, limit, tt.want*100)
			}
		})
	}
}

package policy_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"oneflow/policy"
	"oneflow/policy/breaker"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// service is a provider that all workers call. How it answers may change.
type service struct {
	name   string
	mu     sync.Mutex
	answer func(ctx context.Context) (providers.Response, error)
	sent   []time.Time
	asked  []providers.Request
	inside int
	most   int // at once
}

func newService(name string, answer func(context.Context) (providers.Response, error)) *service {
	return &service{name: name, answer: answer}
}

func (s *service) Name() string { return s.name }

func (s *service) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	s.mu.Lock()
	answer := s.answer
	s.sent, s.asked = append(s.sent, time.Now()), append(s.asked, req)
	s.inside++
	s.most = max(s.most, s.inside)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inside--
		s.mu.Unlock()
	}()
	res, err := answer(ctx)
	if e, ok := errors.AsType[*providers.Error](err); ok {
		e.Provider = s.name
	}
	res.Provider = s.name
	return res, err
}

// now answers like this from now on.
func (s *service) now(answer func(context.Context) (providers.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.most = answer, s.inside
}

// since are the calls that were sent from t on.
func (s *service) since(t time.Time) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, at := range s.sent {
		if !at.Before(t) {
			return append([]time.Time(nil), s.sent[i:]...)
		}
	}
	return nil
}

func (s *service) calls() int { return len(s.since(time.Time{})) }

// after answers like this, but later.
func after(d time.Duration, answer func(context.Context) (providers.Response, error)) func(context.Context) (providers.Response, error) {
	return func(ctx context.Context) (providers.Response, error) {
		select {
		case <-time.After(d):
			return answer(ctx)
		case <-ctx.Done():
			return providers.Response{}, &providers.Error{Kind: providers.Cancelled, Billing: providers.BillingUnknown, Sent: true, Err: ctx.Err()}
		}
	}
}

// refuses answers with a status, as a real client would say it.
func refuses(kind providers.Kind, status int) func(context.Context) (providers.Response, error) {
	return func(context.Context) (providers.Response, error) {
		return providers.Response{}, &providers.Error{Kind: kind, Status: status, Billing: providers.Unbilled, Sent: true}
	}
}

// open is a ledger of one job that lets calls be made as a job's would.
type open struct {
	mu        sync.Mutex
	most      int // calls; 0: any number
	calls     []string
	ended     int
	onUnknown bool // repeat a call of which it is not known whether it was billed
}

var errTooMany = errors.New("no more calls")

func (o *open) Begin(_ context.Context, provider string, _ providers.Request) (providers.Call, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.most > 0 && len(o.calls) >= o.most {
		return nil, errTooMany
	}
	o.calls = append(o.calls, provider)
	return o, nil
}

func (o *open) MayRepeat(err *providers.Error) bool {
	return err.Billing == providers.Unbilled || o.onUnknown
}

func (*open) Ordered(context.Context, string) error { return nil }

func (o *open) End(context.Context, providers.Response, error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended++
	return nil
}

// settings are in force for a provider.
type settings struct {
	policy.Settings
	Limits providers.Limits
}

// workers is a Redis and what the workers on it share, in a bubble of its own time.
type workers struct {
	t        *testing.T
	redis    *miniredis.Miniredis
	services []providers.Provider
	mu       sync.Mutex
	settings map[string]settings
	learned  map[string][]policy.Learned
}

func newWorkers(t *testing.T, services ...*service) *workers {
	t.Helper()
	w := &workers{t: t, redis: miniredis.NewMiniRedis(), settings: map[string]settings{}, learned: map[string][]policy.Learned{}}
	t.Cleanup(w.redis.Close)
	for _, s := range services {
		w.services = append(w.services, s)
	}
	return w
}

// client is a client of its own.
func (w *workers) client() *redis.Client {
	c := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return w.redis.Dial() },
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// set sets a provider's settings for all workers at once.
func (w *workers) set(provider string, s settings) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settings[provider] = s
}

// heard returns the last state of the provider's breaker that was published.
func (w *workers) heard(provider string) (states []breaker.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.learned[provider] {
		if l.Breaker != "" {
			states = append(states, l.Breaker)
		}
	}
	return states
}

// worker is one more worker.
func (w *workers) worker(change func(*policy.Config)) *policy.Chains {
	w.t.Helper()
	set := func(provider string) settings {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.settings[provider]
	}
	c := w.client()
	l, err := limiter.New(limiter.Config{
		Redis: c, CallTimeout: time.Minute,
		Settings: func(provider string) limiter.Settings { return limiter.Settings{Limits: set(provider).Limits} },
		Restore:  func(context.Context, string, string) (limiter.Snapshot, error) { return limiter.Snapshot{}, nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.Close)
	cfg := policy.Config{
		Providers: w.services, CallTimeout: time.Minute, Calls: w.t.Context(), Limiter: l, Redis: c,
		Settings: func(provider string) policy.Settings { return set(provider).Settings },
		Learn: func(provider string, l policy.Learned) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.learned[provider] = append(w.learned[provider], l)
		},
		Chain: func(providers.Task) []string { return []string{"a", "b"} },
	}
	if change != nil {
		change(&cfg)
	}
	s, err := policy.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *workers) workers(n int) []*policy.Chains {
	sets := make([]*policy.Chains, n)
	for i := range sets {
		sets[i] = w.worker(nil)
	}
	return sets
}

// result is the end of one job.
type result struct {
	res   providers.Response
	err   error
	calls []string
	at    time.Time
}

func ask(t *testing.T, s *policy.Chains, route providers.Route) result {
	t.Helper()
	j := &open{}
	res, err := s.Generate(t.Context(), route, providers.Request{Task: providers.Text, Prompt: "p"}, j)
	if j.ended != len(j.calls) {
		t.Errorf("%d calls in the ledger, %d were ended", len(j.calls), j.ended)
	}
	return result{res, err, j.calls, time.Now()}
}

var first = providers.Route{Provider: "a"}

// rush has all workers run jobs at the same time, each in so many handlers, until
// done says so.
func rush(t *testing.T, sets []*policy.Chains, handlers int, done func() bool) []result {
	t.Helper()
	var mu sync.Mutex
	var all []result
	var wg sync.WaitGroup
	for _, s := range sets {
		for range handlers {
			wg.Go(func() {
				for !done() {
					r := ask(t, s, first)
					mu.Lock()
					all = append(all, r)
					mu.Unlock()
					if wait, ok := errors.AsType[*providers.Error](r.err); ok {
						pass(max(wait.RetryAfter, time.Second)) // the queue's
					}
				}
			})
		}
	}
	wg.Wait()
	return all
}

// times lets each handler do so many jobs in all.
func times(n int) func() bool {
	var mu sync.Mutex
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		n--
		return n < 0
	}
}

func lasting(d time.Duration) func() bool {
	began := time.Now()
	return func() bool { return time.Since(began) >= d }
}

// pass lets so much time pass, in a bubble of its own time.
func pass(d time.Duration) { <-time.After(d) }

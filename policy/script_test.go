package policy_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"oneflow/policy"
	"oneflow/providers"
)

// script is a provider that answers as it is told, and notes when it was called.
type script struct {
	name    string
	mu      sync.Mutex
	began   time.Time
	calls   []time.Duration // since began
	answers []func(ctx context.Context) (providers.Response, error)
}

func newScript(answers ...func(context.Context) (providers.Response, error)) *script {
	return &script{name: "p", began: time.Now(), answers: answers}
}

func (s *script) Name() string { return s.name }

func (s *script) Generate(ctx context.Context, _ providers.Request) (providers.Response, error) {
	s.mu.Lock()
	s.calls = append(s.calls, time.Since(s.began))
	answer := s.answers[min(len(s.calls), len(s.answers))-1]
	s.mu.Unlock()
	return answer(ctx)
}

// delays are the times between the calls.
func (s *script) delays() []time.Duration {
	var out []time.Duration
	for i := 1; i < len(s.calls); i++ {
		out = append(out, s.calls[i]-s.calls[i-1])
	}
	return out
}

func ok(context.Context) (providers.Response, error) { return providers.Response{Text: "answer"}, nil }

func fails(kind providers.Kind, billing providers.Billing, retryAfter time.Duration) func(context.Context) (providers.Response, error) {
	return func(context.Context) (providers.Response, error) {
		return providers.Response{}, &providers.Error{Provider: "p", Kind: kind, Billing: billing, RetryAfter: retryAfter}
	}
}

// ledger is a journal that counts.
type ledger struct {
	t         *testing.T
	refuse    error // of Begin, from the call on that refuseAt says
	refuseAt  int
	endErr    error
	mayRepeat bool
	mu        sync.Mutex
	entries   []*entry
}

type entry struct {
	ledger *ledger
	ended  int
	err    error
}

func (l *ledger) Begin(_ context.Context, provider string, _ providers.Request) (providers.Call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if provider != "p" {
		l.t.Errorf("began a call of %q", provider)
	}
	for i, e := range l.entries {
		if e.ended == 0 {
			l.t.Errorf("another call begins while call %d is open", i+1)
		}
	}
	if l.refuse != nil && len(l.entries)+1 >= l.refuseAt {
		return nil, l.refuse
	}
	e := &entry{ledger: l}
	l.entries = append(l.entries, e)
	return e, nil
}

func (l *ledger) MayRepeat(err *providers.Error) bool {
	return err.Billing == providers.Unbilled || l.mayRepeat
}

func (e *entry) Ordered(context.Context, string) error { return nil }

func (e *entry) End(_ context.Context, _ providers.Response, err error) error {
	e.ledger.mu.Lock()
	defer e.ledger.mu.Unlock()
	e.ended++
	e.err = err
	return e.ledger.endErr
}

// settled checks that each call that was sent stands in the ledger and was ended
// once.
func (l *ledger) settled(p *script) {
	l.t.Helper()
	if len(l.entries) != len(p.calls) {
		l.t.Errorf("%d calls in the ledger, %d sent", len(l.entries), len(p.calls))
	}
	for i, e := range l.entries {
		if e.ended != 1 {
			l.t.Errorf("call %d was ended %d times", i+1, e.ended)
		}
		if failure := new(providers.Error); e.err != nil && !errors.As(e.err, &failure) {
			l.t.Errorf("call %d ended with %T, which the ledger cannot read", i+1, e.err)
		}
	}
}

// guarded makes Chains of p, whose calls end with calls.
func guarded(t *testing.T, p providers.Provider, calls context.Context) *policy.Chains { //nolint:revive // calls is not the context of this
	t.Helper()
	s, err := policy.New(policy.Config{Providers: []providers.Provider{p}, CallTimeout: time.Minute, Calls: calls})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kindOf is the kind of failure that came out.
func kindOf(err error) providers.Kind {
	if e, ok := errors.AsType[*providers.Error](err); ok {
		return e.Kind
	}
	return ""
}

func within(got, from, to time.Duration) bool { return got >= from && got <= to }

package policy_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"oneflow/internal/storetest"
	"oneflow/policy"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

// scoped is a ledger that notes in which scope each call was let through.
type scoped struct {
	open
	mu     sync.Mutex
	scopes []string
}

func (s *scoped) Begin(ctx context.Context, provider string, req providers.Request) (providers.Call, error) {
	s.mu.Lock()
	s.scopes = append(s.scopes, providers.ScopeOf(ctx))
	s.mu.Unlock()
	return s.open.Begin(ctx, provider, req)
}

// keyed notes with which key each call is to be made.
type keyed struct {
	mu   sync.Mutex
	keys []string
}

func (*keyed) Name() string { return "a" }

func (k *keyed) Generate(ctx context.Context, _ providers.Request) (providers.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, "m@"+providers.KeyOfScope(ctx))
	return providers.Response{Provider: "a", Text: "answer", Status: 200}, nil
}

func TestTheLedgerNamesTheKeyWithWhichACallIsMade(t *testing.T) {
	t.Parallel()
	slots, err := limiter.New(limiter.Config{
		Redis: storetest.Client(t, storetest.Redis(t)), CallTimeout: time.Minute,
		Settings: func(string) limiter.Settings { return limiter.Settings{} },
		Scopes: func(_, model string) (string, []limiter.Scope) {
			limits := limiter.Settings{Limits: providers.Limits{RPM: 6000}}
			return model, []limiter.Scope{{Name: model + "@1f", Settings: limits}, {Name: model + "@2e", Settings: limits}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer slots.Close()
	k, ledger := &keyed{}, &scoped{}
	chains, err := policy.New(policy.Config{Providers: []providers.Provider{k}, CallTimeout: time.Minute, Calls: context.WithoutCancel(t.Context()), Limiter: slots})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		_, err := chains.Generate(t.Context(), providers.Route{Provider: "a"}, providers.Request{Task: providers.Text, Model: "m", Prompt: "p"}, ledger)
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(ledger.scopes, k.keys) || !slices.Contains(k.keys, "m@1f") || !slices.Contains(k.keys, "m@2e") {
		t.Errorf("calls were made with %v, and the ledger says %v", k.keys, ledger.scopes)
	}
}

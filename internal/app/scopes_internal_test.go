package app

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/keys"
)

const (
	keyA = "sk-aaaaaaaaaaaaaaaaaaaaaaaa1111"
	keyB = "sk-bbbbbbbbbbbbbbbbbbbbbbbb2222"
)

// twoKeys opens a store with two keys of OpenAI's.
func twoKeys(t *testing.T, cfg *config.Config) *keys.Store {
	t.Helper()
	cfg.Keys = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(cfg.Keys, []byte(`{"openai": ["`+keyA+`", "`+keyB+`"], "anthropic": "sk-ant-aaaaaaaaaaaaaaaaaaaaaaaa"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := keys.Open(keys.Config{Path: cfg.Keys, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestACallCountsInItsModelsClassWithEachKey(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse([]byte("providers:\n  openai: {model_limits: {gpt-6-luna: {rpm: 900}, gpt-6: {rpm: 50}}}\n  stability: {limits: {rpm: 5}}\n"), "test")
	if err != nil {
		t.Fatal(err)
	}
	store := twoKeys(t, &cfg)
	all := cli.Fleet(cfg).Settings(nil)
	s := newScopes(cfg, store, func(name string) fleet.Settings { return all[name] })
	usable := store.Usable("openai")
	both := func(class string) []string {
		return []string{class + "@" + usable[0].ID(), class + "@" + usable[1].ID()}
	}
	for _, tt := range []struct {
		provider, model string
		want            []string
		rpm             int64
	}{
		{"openai", "gpt-6-luna-2026-10-01", both("gpt-6-luna"), 900},
		{"openai", "gpt-6.1-sol", both("gpt-6"), 50},
		{"openai", "gpt-5.6-sol-2026-08-01", both("gpt-5.6-sol"), 60},
		{"openai", "", both("default"), 60},
		{"anthropic", "claude-opus-4-8", []string{"claude-opus-4"}, 50},
		{"anthropic", "claude-3-5-haiku-20241022", []string{"claude-3-5-haiku"}, 50},
		{"stability", "core", nil, 0},
		{"mock", "mock-text", nil, 0},
	} {
		var got []string
		_, scopes := s.of(tt.provider, tt.model)
		for _, scope := range scopes {
			got = append(got, scope.Name)
			if scope.Limits.RPM != tt.rpm {
				t.Errorf("%s %s: %d requests/min in %s, want %d", tt.provider, tt.model, scope.Limits.RPM, scope.Name, tt.rpm)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s: %s", tt.provider, tt.model, diff)
		}
	}
	if got := s.Limits("openai"); got.RPM != 2*(900+50+60+60) {
		t.Errorf("all models with both keys: %+v", got)
	}
	store.Pause(usable[0], "refused", time.Time{})
	if _, names := s.names("openai", "gpt-6-luna"); !slices.Equal(names, []string{"gpt-6-luna"}) {
		t.Errorf("with one key left: %v", names)
	}
}

// filming is a provider that orders a film with one of its keys, and looks for it.
type filming struct {
	providers.Provider
	key  func(context.Context) (string, error)
	used []string
}

func (f *filming) note(ctx context.Context) {
	secret, _ := f.key(ctx)
	f.used = append(f.used, secret)
}

func (f *filming) Generate(ctx context.Context, _ providers.Request) (providers.Response, error) {
	f.note(ctx)
	providers.Ordered(ctx, "operations/7|x")
	return providers.Response{}, nil
}

func (f *filming) Resume(ctx context.Context, _ providers.Request, handle string) (providers.Response, error) {
	f.note(ctx)
	f.used = append(f.used, handle)
	return providers.Response{}, nil
}

func TestAFilmIsLookedForWithTheKeyThatOrderedIt(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	store := twoKeys(t, &cfg)
	vendor := &filming{key: store.Source("openai", "https://api.openai.com")}
	p := &keyed{Provider: vendor, keys: store}
	second := store.Usable("openai")[1]
	var handle string
	ctx := providers.WithOrders(t.Context(), func(_ context.Context, h string) error {
		handle = h
		return nil
	})
	if _, err := p.Generate(providers.WithScope(ctx, providers.ScopeName("sora", "", second.ID())), providers.Request{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.Resume(t.Context(), providers.Request{}, handle); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{keyB, keyB, "operations/7|x", keyB, "operations/7|x", keyB, "operations/7|x"}
	if diff := cmp.Diff(want, vendor.used); diff != "" {
		t.Error(diff)
	}
	// Without it, another may find the film.
	store.Pause(second, "refused", time.Time{})
	if _, err := p.Resume(t.Context(), providers.Request{}, handle); err != nil || vendor.used[len(vendor.used)-2] != keyA {
		t.Errorf("with the key paused: %v, %v", vendor.used, err)
	}
}

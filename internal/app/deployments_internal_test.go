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

const deploymentsYAML = `
providers:
  azure:
    limits: {tpm: 9000}
    deployments:
      east: {base_url: "https://east.openai.azure.com", limits: {rpm: 600}}
      west: {base_url: "https://west.openai.azure.com"}
      north: {base_url: "https://north.openai.azure.com"}
`

// keysIn opens a store with the keys of a file.
func keysIn(t *testing.T, file string) *keys.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := keys.Open(keys.Config{Path: path, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestACallCountsAtOneDeploymentWithOneKeyOfIt(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse([]byte(deploymentsYAML), "test")
	if err != nil {
		t.Fatal(err)
	}
	store := keysIn(t, `{"azure-east": "0123456789abcdef-east", "azure-west": ["0123456789abcdef-one", "0123456789abcdef-two"]}`)
	all := cli.Fleet(cfg).Settings(nil)
	s := newScopes(cfg, store, func(name string) fleet.Settings { return all[name] })
	two := store.Usable("azure-west")
	got := map[string]int64{}
	_, scopes := s.of("azure", "gpt-6-luna")
	for _, scope := range scopes {
		got[scope.Name] = scope.Limits.RPM
	}
	want := map[string]int64{ // north has no key
		"gpt-6-luna@east": 600, "gpt-6-luna@west/" + two[0].ID(): 60, "gpt-6-luna@west/" + two[1].ID(): 60,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := s.Limits("azure"); got.RPM != 720 || got.TPM != 9000 {
		t.Errorf("all together: %+v", got)
	}
	for _, key := range two {
		store.Pause(key, "refused", time.Time{})
	}
	if _, names := s.names("azure", "gpt-6-luna"); !slices.Equal(names, []string{"gpt-6-luna@east"}) {
		t.Errorf("with no key left in west: %v", names)
	}
	if !hasKey(cfg, "azure", store) || hasKey(cfg, "azure", keysIn(t, "{}")) {
		t.Error("a provider has a key where one of its deployments has one")
	}
	// The provider's own key is that of all deployments that have none.
	if _, names := newScopes(cfg, keysIn(t, `{"azure": "0123456789abcdef"}`), s.settings).names("azure", "m"); len(names) != 3 {
		t.Errorf("with a key for all: %v", names)
	}
}

func TestAFilmIsLookedForInTheDeploymentThatBeganIt(t *testing.T) {
	t.Parallel()
	store := keysIn(t, `{"azure": "0123456789abcdef-all", "azure-west": ["0123456789abcdef-one", "0123456789abcdef-two"]}`)
	vendors := map[string]*filming{}
	all := &deployed{name: "azure", names: []string{"east", "west"}, at: map[string]providers.Provider{}}
	for _, place := range all.names {
		vendors[place] = &filming{key: keySource(store, "azure", place, "https://"+place+".openai.azure.com")}
		all.at[place] = &keyed{Provider: vendors[place], keys: store}
	}
	var handle string
	ctx := providers.WithOrders(t.Context(), func(_ context.Context, h string) error {
		handle = h
		return nil
	})
	second := store.Usable("azure-west")[1]
	if _, err := all.Generate(providers.WithScope(ctx, providers.ScopeName("sora", "west", second.ID())), providers.Request{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := all.Resume(t.Context(), providers.Request{}, handle); err != nil {
			t.Fatal(err)
		}
	}
	const two, film = "0123456789abcdef-two", "operations/7|x"
	if diff := cmp.Diff([]string{two, two, film, two, film}, vendors["west"].used); diff != "" || len(vendors["east"].used) != 0 {
		t.Errorf("%s; east: %v", diff, vendors["east"].used)
	}
	if _, err := all.Generate(providers.WithScope(ctx, "sora@east"), providers.Request{}); err != nil || !slices.Equal(vendors["east"].used, []string{"0123456789abcdef-all"}) {
		t.Errorf("a deployment without a key of its own: %v, %v", vendors["east"].used, err)
	}
	handle = "west/1|x"
	// A deployment that was taken out of the configuration has the film all the same.
	delete(all.at, "west")
	_, err := all.Resume(t.Context(), providers.Request{}, handle)
	if e := providers.AsError("azure", err); err == nil || e.Billing != providers.BillingUnknown {
		t.Errorf("%v", err)
	}
}

package fleet_test

import (
	"slices"
	"testing"

	"oneflow/fleet"
	"oneflow/providers"
)

func TestEachClassOfModelsHasTheLimitsThatAreKnownOfIt(t *testing.T) {
	t.Parallel()
	config := fleet.Config{Providers: map[string]fleet.Configured{"v": {
		Name: "v", Limits: providers.Limits{RPM: 60, TPM: 9000, Concurrent: 8}, Written: []providers.Dimension{providers.DimensionTPM, providers.DimensionConcurrent},
		Class: providers.Undated,
		Classes: map[string]fleet.ClassLimits{
			"big":  {Limits: providers.Limits{RPM: 500}, Written: []providers.Dimension{providers.DimensionRPM}},
			"free": {Written: []providers.Dimension{providers.DimensionRPM}},
		},
	}}}
	stored := fleet.Stored{Status: fleet.Available, Scopes: []fleet.ScopeLimits{
		{Scope: "small", Learned: providers.Limits{RPM: 30_000, TPM: 4000}},
		{Scope: "big@key", Learned: providers.Limits{RPM: 700}},
		{Scope: "big@other", Learned: providers.Limits{RPM: 250}},
	}}
	set := config.Settings(map[string]fleet.Stored{"v": stored})["v"]
	for name, want := range map[string]providers.Limits{
		"new":       {RPM: 60},                // the default of each, as nobody wrote it of all
		"small":     {RPM: 30_000, TPM: 4000}, // as its answers say
		"big":       {RPM: 500},               // as the file says
		"big@key":   {RPM: 500},               // which is an upper bound
		"big@other": {RPM: 250},
		"free":      {},
	} {
		if got := set.Scope(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if want := (providers.Limits{TPM: 9000, Concurrent: 8}); set.Limits != want {
		t.Errorf("all together: %+v, want what is written: %+v", set.Limits, want)
	}
	if got := set.Together([]string{"big@key", "big@other"}); got != (providers.Limits{RPM: 750, TPM: 9000, Concurrent: 8}) {
		t.Errorf("two keys together: %+v", got)
	}
	if got := set.Together(nil); got.RPM != 60 {
		t.Errorf("before anything is known: %+v, want the default", got)
	}
	// What a person pins for a class of models holds with each key, whatever else is said.
	stored.Scopes = append(stored.Scopes, fleet.ScopeLimits{Scope: "big", Pinned: map[providers.Dimension]int64{providers.DimensionRPM: 900, providers.DimensionTPM: 0}})
	set = config.Settings(map[string]fleet.Stored{"v": stored})["v"]
	for _, name := range []string{"big", "big@key", "big@other", "big@new"} {
		if got := set.Scope(name); got != (providers.Limits{RPM: 900}) || len(set.ScopePinned(name)) != 2 {
			t.Errorf("%s, pinned: %+v by %v", name, got, set.ScopePinned(name))
		}
	}
	if got := set.Scope("small"); got.RPM != 30_000 || len(set.ScopePinned("small")) != 0 {
		t.Errorf("another class: %+v", got)
	}
	if got := set.Scopes(); !slices.Equal(got, []string{"big@key", "big@other", "small"}) {
		t.Errorf("%v, want those of the keys in place of the class's own", got)
	}
	// What a person pins for the whole holds for all together, and leaves that alone.
	stored.Pinned = map[providers.Dimension]int64{providers.DimensionRPM: 1000}
	set = config.Settings(map[string]fleet.Stored{"v": stored})["v"]
	if set.Limits.RPM != 1000 || set.Scope("big@key").RPM != 900 || set.Scope("small").RPM != 0 || set.Scope("new").RPM != 0 {
		t.Errorf("pinned: %+v, of a model %+v", set.Limits, set.Scope("small"))
	}
}

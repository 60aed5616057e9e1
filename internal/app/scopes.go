package app

import (
	"cmp"
	"slices"
	"sync"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/policy/limiter"
	"oneflow/providers"
	"oneflow/providers/keys"
)

// scopes says in which scopes of limits the calls of a model count: its class of models,
// at each of the provider's deployments, with each of the keys there.
type scopes struct {
	providers map[string]config.Provider
	keys      *keys.Store // nil: nobody looks
	settings  func(provider string) fleet.Settings

	mu sync.Mutex
	// models are those that were asked for, by provider.
	models map[string][]string
}

func newScopes(cfg config.Config, store *keys.Store, settings func(provider string) fleet.Settings) *scopes {
	return &scopes{providers: cfg.Providers, keys: store, settings: settings, models: map[string][]string{}}
}

// names returns the class of a model, and the scopes of its calls; none where all calls of
// the provider count together.
func (s *scopes) names(provider, model string) (class string, names []string) {
	p := s.providers[provider]
	class = p.Class(cmp.Or(model, noModel))
	for _, deployment := range places(p) {
		var usable []keys.Key
		if s.keys != nil && p.NeedsKey() {
			usable = usableKeys(s.keys, provider, deployment)
		}
		switch {
		case len(usable) > 1:
			for _, key := range usable {
				names = append(names, providers.ScopeName(class, deployment, key.ID()))
			}
		case deployment != "" && (len(usable) == 1 || s.keys == nil || !p.NeedsKey()):
			names = append(names, providers.ScopeName(class, deployment, ""))
		}
	}
	if len(names) > 0 {
		return class, names
	}
	// Of deployments, none has a key: the call says so.
	for _, deployment := range p.DeploymentNames() {
		names = append(names, providers.ScopeName(class, deployment, ""))
	}
	if len(names) == 0 && class != "" {
		names = []string{class}
	}
	return class, names
}

// noModel stands for the model of a request that names none.
const noModel = "default"

// of is limiter.Config.Scopes.
func (s *scopes) of(provider, model string) (class string, list []limiter.Scope) {
	class, names := s.names(provider, model)
	if len(names) == 0 {
		return class, nil
	}
	s.note(provider, model)
	set := s.settings(provider)
	for _, name := range names {
		list = append(list, scopeSettings(set, name))
	}
	return class, list
}

// scopeSettings returns one of a provider's scopes as the limiter has it.
func scopeSettings(set fleet.Settings, name string) limiter.Scope {
	return limiter.Scope{Name: name, Settings: limiter.Settings{Limits: set.Scope(name), Pinned: set.ScopePinned(name)}}
}

// maxModels bounds the models of a provider of which is noted that they are used.
const maxModels = 200

func (s *scopes) note(provider, model string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.models[provider]) < maxModels && !slices.Contains(s.models[provider], model) {
		s.models[provider] = append(s.models[provider], model)
	}
}

// Class returns the class of a model, and the limits of all its calls together, those with
// each key.
func (s *scopes) Class(provider, model string) (class string, limits providers.Limits) {
	class, names := s.names(provider, model)
	s.note(provider, model)
	return class, s.settings(provider).Together(names)
}

// Limits returns those of all calls of a provider together, as far as models are known
// that have limits of their own.
func (s *scopes) Limits(provider string) providers.Limits {
	s.mu.Lock()
	used := slices.Clone(s.models[provider])
	s.mu.Unlock()
	var all []string
	for _, model := range used {
		_, names := s.names(provider, model)
		all = append(all, names...)
	}
	slices.Sort(all)
	return s.settings(provider).Together(slices.Compact(all))
}

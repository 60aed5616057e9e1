package fleet

import (
	"maps"
	"slices"
	"time"

	"oneflow/providers"
)

// ClassLimits are the limits that the configuration file gives to a class of models, or to
// a deployment.
type ClassLimits struct {
	Limits providers.Limits
	// Written are the dimensions that stand in the file; 0 there is no limit.
	Written []providers.Dimension
}

// ScopeLimits holds what the store knows of one of a provider's scopes: a class of
// models, and a deployment and a key where there are several (see providers.ScopeName).
type ScopeLimits struct {
	Scope   string
	Learned providers.Limits
	// Pinned are those that an operator has set, 0 being no limit; for a class of models they
	// hold with each key. PinnedBy names the operator.
	Pinned   map[providers.Dimension]int64
	PinnedBy string
	PinnedAt time.Time
	// BlockedUntil is until when the provider asked that such calls be left out; zero if it
	// did not.
	BlockedUntil  time.Time
	BlockedReason string
}

// Scope returns the limits that hold for one of the provider's scopes beside those of
// the provider: what an operator has pinned for its models; else what the file says of them,
// or their answers have said; else, where neither the file nor an operator says anything of
// the provider, the default. What an operator has pinned for the whole provider leaves only
// what is pinned for the models.
func (s Settings) Scope(name string) providers.Limits {
	layers := s.ScopeLayers(name)
	out := layers.InForce()
	for _, d := range s.Pinned {
		if _, pinned := layers.Pinned[d]; !pinned {
			out = out.With(d, 0)
		}
	}
	return out
}

// ScopeLayers returns the limits of one of the provider's scopes by source; those in force
// are Scope's.
func (s Settings) ScopeLayers(name string) LimitLayers {
	of := providers.ClassOfScope(name)
	class := s.classes[of].under(s.deployments[providers.DeploymentOfScope(name)])
	l := LimitLayers{Configured: class.Limits, Written: class.Written, Learned: s.scopes[name].Learned, Pinned: map[providers.Dimension]int64{}}
	maps.Copy(l.Pinned, s.scopes[of].Pinned)
	maps.Copy(l.Pinned, s.scopes[name].Pinned)
	for _, d := range providers.Dimensions() {
		if !slices.Contains(class.Written, d) && l.Configured.Of(d) == 0 && s.Limits.Of(d) == 0 {
			l.Configured = l.Configured.With(d, s.defaults.Of(d))
		}
	}
	return l
}

// Deployments lists the places that serve the provider's models side by side, as the
// configuration names them; none where it is one place.
func (s Settings) Deployments() []string { return slices.Sorted(maps.Keys(s.deployments)) }

// under returns the limits of a class of models at a deployment: what is written of that, else
// what is written of the class.
func (c ClassLimits) under(deployment ClassLimits) ClassLimits {
	out := ClassLimits{Limits: c.Limits, Written: slices.Clone(c.Written)}
	for _, d := range deployment.Written {
		out.Limits = out.Limits.With(d, deployment.Limits.Of(d))
		if !slices.Contains(out.Written, d) {
			out.Written = append(out.Written, d)
		}
	}
	return out
}

// ScopePinned lists the dimensions of one of the provider's scopes that an operator has set.
func (s Settings) ScopePinned(name string) []providers.Dimension {
	return slices.Sorted(maps.Keys(s.ScopeLayers(name).Pinned))
}

// Scopes lists the names of the scopes of which something is stored; of a class of models
// only those of its keys, where calls with several were seen.
func (s Settings) Scopes() []string {
	var names []string
	for name := range s.scopes {
		keyed := func(other string) bool { return other != name && providers.ClassOfScope(other) == name }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(s.scopes)), keyed) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Together returns the limits of calls in some scopes of the provider together: their
// sum, as far as those of the provider allow it. 0 is no limit.
func (s Settings) Together(scopes []string) providers.Limits {
	if len(scopes) == 0 {
		return s.whole()
	}
	list := make([]providers.Limits, len(scopes))
	for i, name := range scopes {
		list[i] = s.Scope(name)
	}
	return s.Sum(list)
}

// Sum returns the limits of calls of which some have those of the list: their sum, as far as
// those of the provider allow it. 0 is no limit.
func (s Settings) Sum(list []providers.Limits) providers.Limits {
	out := s.Limits
	for _, d := range providers.Dimensions() {
		sum := int64(0)
		for _, l := range list {
			n := l.Of(d)
			if n == 0 {
				sum = 0
				break
			}
			sum += n
		}
		if most := s.Limits.Of(d); sum > 0 && (most == 0 || sum < most) {
			out = out.With(d, sum)
		}
	}
	return out
}

// Total returns the limits of all calls of the provider, as far as is known which classes
// of models it is asked for.
func (s Settings) Total() providers.Limits { return s.Together(s.Scopes()) }

// whole returns the limits of the provider, with the defaults that hold for each of its
// scopes until more is known.
func (s Settings) whole() providers.Limits {
	out := s.Limits
	for _, d := range providers.Dimensions() {
		if out.Of(d) == 0 && !slices.Contains(s.Pinned, d) {
			out = out.With(d, s.defaults.Of(d))
		}
	}
	return out
}

package fleet

import (
	"slices"
	"time"

	"oneflow/providers"
)

// ClassLimits are the limits that the configuration file gives to a class of models.
type ClassLimits struct {
	Limits providers.Limits
	// Written are the dimensions that stand in the file; 0 there is no limit.
	Written []providers.Dimension
}

// ScopeLimits holds what the store knows of one of a provider's scopes: a class of
// models, and a key where there are several (see providers.ScopeName).
type ScopeLimits struct {
	Scope   string
	Learned providers.Limits
	// BlockedUntil is until when the provider asked that such calls be left out; zero if it
	// did not.
	BlockedUntil  time.Time
	BlockedReason string
}

// Scope returns the limits that hold for one of the provider's scopes beside those of
// the provider: what the file says of its models, or its answers have said; else, where
// neither the file nor an operator says anything of the provider, the default. What an
// operator has pinned for the whole provider holds alone.
func (s Settings) Scope(name string) providers.Limits {
	var out providers.Limits
	class := s.classes[providers.ClassOfScope(name)]
	for _, d := range providers.Dimensions() {
		n, written, learned := class.Limits.Of(d), slices.Contains(class.Written, d), s.scopes[name].Learned.Of(d)
		switch {
		case slices.Contains(s.Pinned, d):
			n = 0
		case learned > 0 && (n == 0 || learned < n):
			n = learned
		case !written && s.Limits.Of(d) == 0:
			n = s.defaults.Of(d)
		}
		out = out.With(d, n)
	}
	return out
}

// Scopes lists the names of the scopes of which something is stored.
func (s Settings) Scopes() []string {
	var names []string
	for name := range s.scopes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Together returns the limits of calls in some scopes of the provider together: their
// sum, as far as those of the provider allow it. 0 is no limit.
func (s Settings) Together(scopes []string) providers.Limits {
	if len(scopes) == 0 {
		return s.Whole()
	}
	out := s.Limits
	for _, d := range providers.Dimensions() {
		sum := int64(0)
		for _, name := range scopes {
			n := s.Scope(name).Of(d)
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

// Whole returns the limits of the provider, with the defaults that hold for each of its
// scopes until more is known.
func (s Settings) Whole() providers.Limits {
	out := s.Limits
	for _, d := range providers.Dimensions() {
		if out.Of(d) == 0 && !slices.Contains(s.Pinned, d) {
			out = out.With(d, s.defaults.Of(d))
		}
	}
	return out
}

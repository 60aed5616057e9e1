package fleet

import (
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// LimitLayers are a provider's limits from the three places that they come from.
type LimitLayers struct {
	// Configured are those of the configuration, defaults included.
	Configured providers.Limits
	// Written are the dimensions that stand in the configuration file, which
	// bounds what may be learned there. A default does not.
	Written []providers.Dimension
	// Learned are those that the provider itself told of, or showed.
	Learned providers.Limits
	// Pinned are those that an operator has set; 0: no limit.
	Pinned map[providers.Dimension]int64
}

// LimitSource is the place that a limit comes from.
type LimitSource string

// The places that a limit may come from.
const (
	FromNowhere       LimitSource = ""
	FromPin           LimitSource = "pinned"
	FromProvider      LimitSource = "learned"
	FromConfiguration LimitSource = "configured"
)

// InForce returns the limits that hold: what is pinned, else what was learned, but
// no more than the file allows, else what is configured.
func (l LimitLayers) InForce() providers.Limits {
	var out providers.Limits
	for _, d := range providers.Dimensions() {
		n, _ := l.Of(d)
		out = out.With(d, n)
	}
	return out
}

// Common returns those of the limits that hold which are of all models together where each
// has its own: a default is of each.
func (l LimitLayers) Common() providers.Limits {
	out := l.InForce()
	for _, d := range providers.Dimensions() {
		if _, from := l.Of(d); from == FromConfiguration && !slices.Contains(l.Written, d) {
			out = out.With(d, 0)
		}
	}
	return out
}

// Of returns the limit that holds in a dimension, 0 for none, and where it comes
// from.
func (l LimitLayers) Of(d providers.Dimension) (n int64, from LimitSource) {
	if n, ok := l.Pinned[d]; ok {
		return n, FromPin
	}
	configured, learned := l.Configured.Of(d), l.Learned.Of(d)
	bound := configured > 0 && slices.Contains(l.Written, d)
	switch {
	case learned > 0 && (!bound || learned < configured):
		return learned, FromProvider
	case configured > 0:
		return configured, FromConfiguration
	}
	return 0, FromNowhere
}

// under returns l with the limits of the process's own configuration, in each
// dimension in which they allow less than those that the provider's row holds. The
// row may have been written by a process with another configuration, or by one
// that knew no limits: a configured limit holds whatever the row says.
func (l LimitLayers) under(own Configured) LimitLayers {
	other := l
	other.Configured, other.Written = own.Limits, own.Written
	var written []providers.Dimension
	for _, d := range providers.Dimensions() {
		from := l
		if theirs, _ := l.Of(d); own.Limits.Of(d) > 0 {
			if ours, _ := other.Of(d); l.Configured.Of(d) == 0 || ours < theirs {
				from = other
			}
		}
		l.Configured = l.Configured.With(d, from.Configured.Of(d))
		if slices.Contains(from.Written, d) {
			written = append(written, d)
		}
	}
	l.Written = written
	return l
}

// ProviderLimits are a provider's limits, where they come from, and its block.
type ProviderLimits struct {
	Provider string
	LimitLayers
	LearnedAt time.Time
	// PinnedBy is the operator who pinned or reset them last.
	PinnedBy string
	PinnedAt time.Time
	// BlockedUntil is until when the provider asked to be left alone; zero if it
	// did not.
	BlockedUntil  time.Time
	BlockedReason string
}

// Limits returns the limits of all providers, by name: those that the store knows,
// under the configuration, and those that are only configured.
func (c Config) Limits(known []ProviderLimits) []ProviderLimits {
	list := slices.Clone(known)
	for i, l := range list {
		if own, ok := c.Providers[l.Provider]; ok {
			list[i].LimitLayers = l.under(own)
		}
	}
	for _, name := range c.names() {
		if !slices.ContainsFunc(list, func(l ProviderLimits) bool { return l.Provider == name }) {
			own := c.Providers[name]
			list = append(list, ProviderLimits{Provider: name, LimitLayers: LimitLayers{Configured: own.Limits, Written: own.Written}})
		}
	}
	slices.SortFunc(list, func(a, b ProviderLimits) int { return strings.Compare(a.Provider, b.Provider) })
	return list
}

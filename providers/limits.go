package providers

import "slices"

// Dimension is one way in which a provider limits its use, by the name that it
// has in the configuration.
type Dimension string

// The dimensions of Limits, named as its fields.
const (
	DimensionRPS        Dimension = "rps"
	DimensionRPM        Dimension = "rpm"
	DimensionRPD        Dimension = "rpd"
	DimensionTPM        Dimension = "tpm"
	DimensionITPM       Dimension = "itpm"
	DimensionOTPM       Dimension = "otpm"
	DimensionConcurrent Dimension = "concurrent"
)

// Dimensions lists the dimensions, in the order in which they are shown.
func Dimensions() []Dimension {
	return []Dimension{
		DimensionRPS, DimensionRPM, DimensionRPD, DimensionTPM, DimensionITPM, DimensionOTPM, DimensionConcurrent,
	}
}

// field is the field of a dimension; nil where there is no such dimension.
func field(l *Limits, d Dimension) *int64 {
	switch d {
	case DimensionRPS:
		return &l.RPS
	case DimensionRPM:
		return &l.RPM
	case DimensionRPD:
		return &l.RPD
	case DimensionTPM:
		return &l.TPM
	case DimensionITPM:
		return &l.ITPM
	case DimensionOTPM:
		return &l.OTPM
	case DimensionConcurrent:
		return &l.Concurrent
	}
	return nil
}

// Of returns the limit in a dimension; 0: none.
func (l Limits) Of(d Dimension) int64 {
	if f := field(&l, d); f != nil {
		return *f
	}
	return 0
}

// With returns l with another limit in a dimension; 0: none.
func (l Limits) With(d Dimension, n int64) Limits {
	if f := field(&l, d); f != nil {
		*f = n
	}
	return l
}

// LimitLayers are a provider's limits from the three places that they come from.
type LimitLayers struct {
	// Configured are those of the configuration, defaults included.
	Configured Limits
	// Written are the dimensions that stand in the configuration file, which
	// bounds what may be learned there. A default does not.
	Written []Dimension
	// Learned are those that the provider itself told of, or showed.
	Learned Limits
	// Pinned are those that a person has set; 0: no limit.
	Pinned map[Dimension]int64
}

// The places that a limit may come from.
const (
	FromNowhere       = ""
	FromPin           = "pinned"
	FromProvider      = "learned"
	FromConfiguration = "configured"
)

// InForce is what holds: what is pinned, else what was learned, but no more than
// the file allows, else what is configured.
func (l LimitLayers) InForce() Limits {
	var out Limits
	for _, d := range Dimensions() {
		n, _ := l.Of(d)
		out = out.With(d, n)
	}
	return out
}

// Of returns the limit that holds in a dimension, 0 for none, and where it comes
// from.
func (l LimitLayers) Of(d Dimension) (n int64, from string) {
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

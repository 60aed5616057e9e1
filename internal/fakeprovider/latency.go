package fakeprovider

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Distribution names the distribution of latencies.
type Distribution string

// The distributions of Latency.
const (
	fixed     Distribution = "fixed"     // always Mean; the default
	Uniform   Distribution = "uniform"   // Mean ± Spread×Mean
	LogNormal Distribution = "lognormal" // mean Mean, Spread is the sigma of its logarithm
)

// Latency is the time that answers take. The zero value is no time at all.
type Latency struct {
	Distribution Distribution
	Mean         time.Duration
	// Spread is 0 to 1 for Uniform, and 0 to 3 for LogNormal (0.5 is typical of
	// language models). fixed ignores it.
	Spread float64
}

func (l Latency) check() error {
	var limit float64
	switch l.Distribution {
	case "", fixed:
		limit = math.MaxFloat64
	case Uniform:
		limit = 1
	case LogNormal:
		limit = 3
	default:
		return fmt.Errorf("Distribution: must be %s, %s or %s, got %q", fixed, Uniform, LogNormal, l.Distribution)
	}
	if !(l.Spread >= 0 && l.Spread <= limit) { // NaN included
		return fmt.Errorf("%s: must be from 0 to %g, got %g", "Spread", limit, l.Spread)
	}
	if l.Mean < 0 {
		return fmt.Errorf("%s: must not be negative, got %v", "Mean", l.Mean)
	}
	return nil
}

// draw returns one latency.
func (l Latency) draw(rng *rand.Rand) time.Duration {
	mean := float64(l.Mean)
	switch l.Distribution {
	case Uniform:
		mean *= 1 + l.Spread*(2*rng.Float64()-1)
	case LogNormal:
		mean *= math.Exp(l.Spread*rng.NormFloat64() - l.Spread*l.Spread/2)
	case fixed:
	}
	return time.Duration(mean)
}

package fakeprovider

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestLatenciesHaveTheirMeanAndSpread(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		latency  Latency
		min, max time.Duration
	}{
		"none":      {Latency{}, 0, 0},
		"fixed":     {Latency{Distribution: fixed, Mean: time.Second}, time.Second, time.Second},
		"uniform":   {Latency{Distribution: Uniform, Mean: time.Second, Spread: 0.25}, 750 * time.Millisecond, 1250 * time.Millisecond},
		"lognormal": {Latency{Distribution: LogNormal, Mean: time.Second, Spread: 0.5}, 10 * time.Millisecond, time.Minute},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		const n = 20000
		sum, lowest, highest := time.Duration(0), time.Hour, time.Duration(0)
		for range n {
			d := c.latency.draw(rng)
			sum, lowest, highest = sum+d, min(lowest, d), max(highest, d)
		}
		if mean := sum / n; mean < c.latency.Mean*98/100 || mean > c.latency.Mean*102/100 {
			t.Errorf("%s: mean %v", name, mean)
		}
		if lowest < c.min || highest > c.max {
			t.Errorf("%s: from %v to %v", name, lowest, highest)
		}
		if c.latency.Spread > 0 && highest-lowest < c.latency.Mean/5 {
			t.Errorf("%s: no spread, from %v to %v", name, lowest, highest)
		}
	}
}

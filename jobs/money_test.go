package jobs_test

import (
	"testing"

	"oneflow/billing"
	"oneflow/jobs"
)

func TestOneCallWithoutAPriceDoesNotHideThatOfTheOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		money jobs.Money
		calls int64
		want  billing.NanoUSD
		ok    bool
	}{
		"all have a price":  {jobs.Money{Cost: 60}, 12, 5, true},
		"one has none":      {jobs.Money{Cost: 55, Unpriced: 1}, 12, 5, true},
		"simulated counts":  {jobs.Money{Cost: 10, Simulated: 50}, 12, 5, true},
		"none has a price":  {jobs.Money{Unpriced: 12}, 12, 0, false},
		"more without than": {jobs.Money{Cost: 5, Unpriced: 13}, 12, 0, false},
		"no call":           {jobs.Money{}, 0, 0, false},
	} {
		if got, ok := c.money.Each(c.calls); got != c.want || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", name, got, ok, c.want, c.ok)
		}
	}
}

package providers_test

import (
	"errors"
	"testing"
	"time"

	"oneflow/providers"
)

func TestWhatAChainOfFailuresMeansForTheJob(t *testing.T) {
	t.Parallel()
	sent := func(kind providers.Kind) *providers.Error { return &providers.Error{Kind: kind, Sent: true} }
	wait := func(s int) *providers.Error {
		return &providers.Error{Kind: providers.NotAsked, RetryAfter: time.Duration(s) * time.Second}
	}
	cannot := &providers.Error{Kind: providers.InvalidRequest}
	overloaded, moderated, broke := sent(providers.Overloaded), sent(providers.Moderated), sent(providers.OutOfMoney)
	for name, c := range map[string]struct {
		failures []*providers.Error
		ended    bool
		kind     providers.Kind
		after    time.Duration
	}{
		"nothing at all":                  {nil, false, providers.Unknown, 0},
		"the shortest wait":               {[]*providers.Error{wait(30), overloaded, wait(10), broke}, false, providers.NotAsked, 10 * time.Second},
		"one may pass":                    {[]*providers.Error{broke, overloaded, moderated, cannot}, false, providers.Overloaded, 0},
		"a person must mend":              {[]*providers.Error{cannot, broke}, false, providers.OutOfMoney, 0},
		"refused, and the other is empty": {[]*providers.Error{broke, moderated}, false, providers.Moderated, 0},
		"a wait, and the other refused":   {[]*providers.Error{wait(10), moderated}, false, providers.Overloaded, 10 * time.Second},
		"a wait, and the other cannot":    {[]*providers.Error{cannot, wait(10)}, false, providers.NotAsked, 10 * time.Second},
		"nobody can":                      {[]*providers.Error{cannot, cannot}, false, providers.InvalidRequest, 0},
		"all refused":                     {[]*providers.Error{moderated, cannot}, false, providers.Moderated, 0},
		"the last ended it":               {[]*providers.Error{wait(10), overloaded, moderated}, true, providers.Moderated, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := &providers.ChainError{Failures: c.failures, Ended: c.ended}
			got := err.Decisive()
			if got.Kind != c.kind || got.RetryAfter != c.after {
				t.Errorf("%s after %s, want %s after %s", got.Kind, got.RetryAfter, c.kind, c.after)
			}
			for _, f := range c.failures {
				if !errors.Is(err, f) {
					t.Errorf("%v is not in it", f)
				}
			}
		})
	}
}

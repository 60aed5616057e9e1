package worker

import (
	"context"
	"time"
)

// Hasten sets how fast a worker's clockwork goes. The queue tries again after a
// second.
func (c *Config) Hasten(heartbeat, reconcile, silence time.Duration) {
	c.pace = &pace{heartbeat: heartbeat, reconcile: reconcile, regulate: heartbeat, silence: silence, backoff: func(int) time.Duration { return time.Second }, pause: time.Second, pushing: time.Second, unclaimed: 4 * time.Second}
}

// Backoff is the wait before the queue tries again.
func Backoff(attempt int) time.Duration { return backoff(attempt) }

// Auditor compares Postgres with Redis.
type Auditor struct{ a *auditor }

// NewAuditor makes one that looks at so many jobs at once, and at one page a
// round.
func NewAuditor(c Config, page int) (*Auditor, error) {
	a, err := newAuditor(c)
	if err != nil {
		return nil, err
	}
	a.page, a.budget, a.pushing = page, 0, 0
	return &Auditor{a}, nil
}

// Round does one round, and tells whether the audit goes on.
func (a *Auditor) Round(ctx context.Context) (more bool, err error) {
	err = a.a.round(ctx)
	return a.a.underway, err
}

// Forget is what another leader does.
func (a *Auditor) Forget() { a.a.forget() }

// Close closes it.
func (a *Auditor) Close() error { return a.a.close() }

// Regulator decides when the concurrency of one provider has to change.
type Regulator struct{ r *regulator }

// NewRegulator makes one for a worker that runs so many at once.
func NewRegulator(runs int) Regulator {
	r := newRegulator(Config{}, nil)
	r.shares["p"] = runs
	return Regulator{r}
}

// Asked looks once, at a plan that asks for so many, and returns how many run
// after that.
func (r Regulator) Asked(share int) int {
	if p, due := r.r.due(Plan{Provider: "p", Share: share}); due {
		r.r.shares["p"] = p.Share
	}
	return r.r.shares["p"]
}

package worker

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Hasten sets how fast a worker's clockwork goes. The queue tries again after a
// second.
func (c *Config) Hasten(heartbeat, reconcile, silence time.Duration) {
	c.pace = &pace{heartbeat: heartbeat, reconcile: reconcile, regulate: heartbeat, silence: silence, backoff: func(int) time.Duration { return time.Second }, pause: time.Second, pushing: time.Second, unclaimed: 4 * time.Second, idle: idleAfter}
}

// Patient has the audit take nothing for lost that a busy machine is only slow with.
func (c *Config) Patient() { c.pace.pushing, c.pace.unclaimed = 30*time.Second, 30*time.Second }

// HastenIdle lets Servers leave after so long without work.
func (c *Config) HastenIdle(after time.Duration) { c.pace.idle = after }

// Backoff is the wait before the queue tries again.
func Backoff(attempt int) time.Duration { return backoff(attempt) }

// Auditor compares Postgres with Redis, for one leader after the other.
type Auditor struct {
	*auditor
	cfg   Config
	redis redis.UniversalClient
	page  int
}

// NewAuditor makes one that looks at so many jobs at once, and at one page a
// round.
func NewAuditor(c Config, page int) *Auditor {
	a := &Auditor{cfg: c, redis: c.Redis.MakeRedisClient().(redis.UniversalClient), page: page}
	a.NextLeader()
	return a
}

// NextLeader begins another leader's term.
func (a *Auditor) NextLeader() {
	a.auditor = newAuditor(a.cfg, a.redis)
	a.auditor.page, a.budget, a.pushing = a.page, 0, 0
}

// Round does one round, and reports whether the audit goes on.
func (a *Auditor) Round(ctx context.Context) (more bool, err error) { return a.round(ctx) }

// Close closes it.
func (a *Auditor) Close() error { return a.redis.Close() }

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

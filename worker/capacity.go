package worker

import (
	"context"
	"math"
	"time"

	"github.com/rs/zerolog"
)

// CapacityStore tells what the fleet can do.
type CapacityStore interface {
	// Capacity returns what has been seen of each provider named, from a sample
	// of bounded size of the latest calls. Each is there, if only with zeros.
	Capacity(ctx context.Context, names []string) (map[string]Capacity, error)
}

// regulateEvery is how often a worker looks whether its concurrency still fits,
// and shrinkAfter how many looks in a row have to ask for less before it gets less:
// handlers that wait cost little, and a latency that wobbles should not have a
// Server rebuilt each time.
const (
	regulateEvery = 5 * time.Second
	shrinkAfter   = 6
)

// regulator keeps a worker's concurrency at its share of what the limits allow.
// The limiter holds the limits; this only sees to it that enough handlers wait
// there, and not many more.
type regulator struct {
	cfg     Config
	servers *servers
	// known is what was seen last, for a provider that has been quiet since, and
	// for while Postgres is away.
	known map[string]Capacity
	// shares are how many jobs of each provider run at once.
	shares map[string]int
	// lower counts, by provider, the looks in a row that asked for less.
	lower map[string]demand
}

// demand is the most that a number of looks asked for.
type demand struct {
	looks int
	most  Plan
}

func newRegulator(cfg Config, s *servers) *regulator {
	return &regulator{cfg: cfg, servers: s, known: map[string]Capacity{}, shares: map[string]int{}, lower: map[string]demand{}}
}

// names are the providers that this worker serves.
func (r *regulator) names() []string {
	names := make([]string, len(r.cfg.Providers))
	for i, s := range r.cfg.Providers {
		names[i] = s.Name
	}
	return names
}

// look reads what the fleet has seen. What a provider's few latest calls do not
// tell is as it was.
func (r *regulator) look(ctx context.Context) error {
	now, err := r.cfg.Store.Capacity(ctx, r.names())
	if err != nil {
		return err
	}
	for name, c := range now {
		if was := r.known[name]; c.Calls < enoughCalls && was.Calls >= enoughCalls {
			workers := c.Workers
			c = was
			c.Workers = workers
		}
		r.known[name] = c
	}
	return nil
}

// plan reckons for one provider.
func (r *regulator) plan(s Served) Plan {
	return NewPlan(s, r.cfg.Limits(s.Name), r.known[s.Name])
}

// first makes the plans to start with. This worker is not registered yet, and
// counts itself in.
func (r *regulator) first(ctx context.Context) ([]Plan, error) {
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	plans := make([]Plan, len(r.cfg.Providers))
	for i, s := range r.cfg.Providers {
		c := r.known[s.Name]
		c.Workers++
		r.known[s.Name] = c
		plans[i] = r.plan(s)
		r.shares[s.Name] = plans[i].Share
	}
	return plans, nil
}

// run looks now and then until ctx ends.
func (r *regulator) run(ctx context.Context) {
	for wait(ctx, r.cfg.pace.regulate) == nil {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			// The heartbeat says so, too. Limits may have changed all the same.
			r.cfg.Log.Debug().Err(err).Msg("concurrency is planned with what was known before")
		}
		for _, s := range r.cfg.Providers {
			if p, due := r.due(r.plan(s)); due {
				r.resize(ctx, p)
			}
		}
	}
}

// due tells whether the concurrency has to change, and to what: more at once,
// less when it has been too much for a while; a change of less than a quarter is
// not worth it.
func (r *regulator) due(p Plan) (Plan, bool) {
	runs := r.shares[p.Provider]
	if d := p.Share - runs; d == 0 || 4*max(d, -d) < runs {
		delete(r.lower, p.Provider)
		return Plan{}, false
	}
	if p.Share < runs {
		d := r.lower[p.Provider]
		d.looks++
		if p.Share >= d.most.Share {
			d.most = p
		}
		r.lower[p.Provider] = d
		if d.looks < shrinkAfter {
			return Plan{}, false
		}
		p = d.most
	}
	delete(r.lower, p.Provider)
	return p, true
}

func (r *regulator) resize(ctx context.Context, p Plan) {
	changed, err := r.servers.resize(p)
	switch {
	case err != nil:
		r.cfg.Log.Error().Err(err).Str("provider", p.Provider).Msg("concurrency stays as it is")
		return
	case !changed:
		return
	}
	r.shares[p.Provider] = p.Share
	logPlan(r.cfg.Log, p, "concurrency changed")
	// Those who look from outside see what runs now.
	if err := r.cfg.register(ctx, r.shares); err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn().Err(err).Msg("the new concurrency is not shown")
	}
}

// logPlan says what a provider is served with, and why.
func logPlan(log zerolog.Logger, p Plan, msg string) {
	log.Info().Str("provider", p.Provider).Int("concurrency", p.Share).Int("fleet", p.Fleet()).Int("workers", p.Workers).
		Dur("latency_p90", p.Latency).Bool("measured", p.Measured).Float64("jobs_per_minute", math.Round(p.JobsPerMinute)).
		Str("binds", p.Binds).Msg(msg)
}

package worker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"oneflow/jobs"
	"oneflow/providers"
)

// CapacityStore tells what the fleet can do.
type CapacityStore interface {
	// Capacity returns what has been seen of each provider named, from a sample
	// of bounded size of the latest calls, and what of it is queued. Each is there, if only with
	// zeros.
	Capacity(ctx context.Context, names []string) (map[string]Capacity, error)
}

// regulateEvery is the interval at which a worker looks whether its concurrency still fits,
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
	// known is the last that was seen, for a provider that has been quiet since, and
	// for while Postgres is away.
	known map[string]Capacity
	// shares are the numbers of jobs of each provider that run at once.
	shares map[string]int
	// chunks are the numbers of jobs that a task of each provider carries.
	chunks map[string]int
	// models are those that were met, by provider, as they are registered.
	models map[string]map[string]ServedModel
	// planned holds what they would be registered with now.
	planned map[string]map[string]ServedModel
	// ends holds the ends of the keys of each provider, as they are shown.
	ends map[string][]string
	// foreign reports whether another fleet has Redis.
	foreign bool
	// lower counts, by provider, the looks in a row that asked for less.
	lower map[string]demand
}

// demand is the most that a number of looks asked for.
type demand struct {
	looks int
	most  Plan
}

func newRegulator(cfg Config, s *servers) *regulator {
	return &regulator{cfg: cfg, servers: s, known: map[string]Capacity{}, shares: map[string]int{}, chunks: map[string]int{}, models: map[string]map[string]ServedModel{}, planned: map[string]map[string]ServedModel{}, ends: map[string][]string{}, lower: map[string]demand{}}
}

// served are the providers that can be served now: none on a Redis of another fleet,
// whose deliveries would be dropped here.
func (r *regulator) served() []Served {
	if r.foreign {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.cfg.Providers), func(s Served) bool { return !r.cfg.Serves(s.Name) })
}

// look reads what the fleet has seen of the providers served. What a provider's few
// latest calls do not tell is as it was.
func (r *regulator) look(ctx context.Context, served []Served) error {
	names := make([]string, len(served))
	for i, s := range served {
		names[i] = s.Name
	}
	now, err := r.cfg.Store.Capacity.Capacity(ctx, names)
	if err != nil {
		return err
	}
	for name, c := range now {
		was := r.known[name]
		for model, own := range was.By {
			if own.Calls >= enoughCalls && c.By[model].Calls < enoughCalls {
				if c.By == nil {
					c.By = map[string]Capacity{}
				}
				c.By[model] = own
			}
		}
		if c.Calls < enoughCalls && was.Calls >= enoughCalls {
			was.Workers, was.By, was.Queued = c.Workers, c.By, c.Queued
			c = was
		}
		r.known[name] = c
	}
	return nil
}

// plan computes the plan of one provider, and for each class of its models that was met.
func (r *regulator) plan(s Served) Plan {
	if !s.ByModel {
		return NewPlan(s, r.cfg.Limits(s.Name), r.known[s.Name])
	}
	of := r.servers.classesOf(s.Name)
	models := of.seen()
	limits := map[string]providers.Limits{}
	for model, class := range models {
		_, limits[class] = r.cfg.Class(s.Name, model)
	}
	whole, each := NewPlans(s, r.cfg.Limits(s.Name), limits, r.known[s.Name].InClasses(models))
	of.set(each, r.queued(s.Name))
	now := make(map[string]ServedModel, len(models))
	for model, class := range models {
		p := each[class]
		now[model] = ServedModel{Limits: p.Limits, Window: cmp.Or(s.Window, p.window()), Chunk: p.chunk()}
	}
	r.planned[s.Name] = now
	return whole
}

// queued returns the classes of a provider's jobs that are in Redis.
func (r *regulator) queued(provider string) map[string]bool {
	classes := map[string]bool{}
	for _, model := range r.known[provider].Queued {
		class, _ := r.cfg.Class(provider, model)
		classes[class] = true
	}
	return classes
}

// remodel registers the models of a provider anew where one has other limits, or its queues
// have become half or twice what they were.
func (r *regulator) remodel(provider string) (changed bool) {
	was, is := r.models[provider], r.planned[provider]
	far := func(a, b int) bool { return a >= 2*b || b >= 2*a }
	for model, m := range is {
		w, known := was[model]
		changed = changed || !known || w.Limits != m.Limits || far(w.Window, m.Window) || far(w.Chunk, m.Chunk)
	}
	if changed {
		r.models[provider] = is
	}
	return changed
}

// checkRedis asks whose Redis is. While it does not answer, it is whose it was.
func (r *regulator) checkRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	err := r.cfg.owner.Check(ctx)
	_, foreign := errors.AsType[*jobs.ForeignRedisError](err)
	if foreign && !r.foreign {
		r.cfg.Log.Error().Err(err).Msg("nothing is served from a Redis of another fleet; jobs wait in Postgres")
	}
	if foreign || err == nil {
		r.foreign = foreign
	}
	return err
}

// start begins to serve what can be served, shows it, and only then takes jobs.
func (r *regulator) start(ctx context.Context) error {
	if err := r.checkRedis(ctx); err != nil {
		return err
	}
	served := r.served()
	if err := r.look(ctx, served); err != nil {
		return err
	}
	var plans []Plan
	for _, s := range served {
		plans = append(plans, r.begin(s))
	}
	if err := r.register(ctx); err != nil {
		return err
	}
	for _, p := range plans {
		if _, err := r.servers.resize(p); err != nil {
			return err
		}
		logPlan(r.cfg.Log, p, "serving")
	}
	return nil
}

// begin plans for a provider that this worker has not served so far: it is not
// registered for it yet, and counts itself in.
func (r *regulator) begin(s Served) Plan {
	c := r.known[s.Name]
	c.Workers++
	r.known[s.Name] = c
	p := r.plan(s)
	r.shares[s.Name], r.chunks[s.Name] = p.Share, p.chunk()
	return p
}

// run looks now and then, and when it is told to, until ctx ends.
func (r *regulator) run(ctx context.Context) {
	tick := time.NewTicker(r.cfg.pace.regulate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.cfg.Changed:
		case <-r.servers.met:
		}
		_ = r.checkRedis(ctx) // an outage is logged by the leader
		served := r.served()
		if err := r.look(ctx, served); err != nil && ctx.Err() == nil {
			// The heartbeat says so, too. Limits may have changed all the same.
			r.cfg.Log.Debug().Err(err).Msg("concurrency is planned with what was known before")
		}
		r.follow(ctx, served)
		changed := false
		for _, s := range served {
			if _, serving := r.shares[s.Name]; !serving {
				continue // it could not be shown
			}
			p := r.plan(s)
			resized := r.rechunk(p)
			resized = r.remodel(s.Name) || resized
			if p, due := r.due(p); due {
				resized = r.resize(p) || resized
			}
			changed = changed || resized || !slices.Equal(r.ends[s.Name], r.cfg.KeyEnds(s.Name))
		}
		// Those who look from outside see what runs now.
		if changed {
			if err := r.register(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Log.Warn().Err(err).Msg("the new concurrency is not shown")
			}
		}
	}
}

// follow stops to serve what can be served no more, and begins with what can be by
// now. What cannot be shown is not begun: nobody would know its limits.
func (r *regulator) follow(ctx context.Context, served []Served) {
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(r.shares)), func(name string) bool {
		return slices.ContainsFunc(served, func(s Served) bool { return s.Name == name })
	})
	for _, name := range gone {
		r.servers.stop(name)
		delete(r.shares, name)
		delete(r.lower, name)
		r.cfg.Log.Warn().Str("provider", name).Msg("no longer served: its jobs wait")
	}
	var plans []Plan
	for _, s := range served {
		if _, serving := r.shares[s.Name]; !serving {
			plans = append(plans, r.begin(s))
		}
	}
	if len(gone) == 0 && len(plans) == 0 {
		return
	}
	if err := r.register(ctx); err != nil {
		if ctx.Err() == nil {
			r.cfg.Log.Warn().Err(err).Msg("what this worker serves is not shown")
		}
		for _, p := range plans {
			delete(r.shares, p.Provider)
		}
		return
	}
	for _, p := range plans {
		if changed, err := r.servers.resize(p); err != nil || !changed {
			// Handlers of before still run, or Redis is away: the next look tries again.
			r.cfg.Log.Debug().Err(err).Str("provider", p.Provider).Msg("not served yet")
			delete(r.shares, p.Provider)
			continue
		}
		logPlan(r.cfg.Log, p, "serving")
	}
}

// register shows the worker, and how many jobs of each provider it runs at once.
func (r *regulator) register(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var served []Served
	for _, s := range r.cfg.Providers {
		share, serving := r.shares[s.Name]
		if !serving {
			continue
		}
		s.Concurrency, s.Chunk, s.Models, s.KeyEnds = share, r.chunks[s.Name], r.models[s.Name], r.cfg.KeyEnds(s.Name)
		r.ends[s.Name] = s.KeyEnds
		if s.ByModel {
			s.Window, s.Chunk = cmp.Or(s.Window, jobs.Window(1)), 1 // until a model is met
		}
		if s.Window == 0 {
			s.Window = jobs.Window(r.cfg.Limits(s.Name).RPM)
		}
		served = append(served, s)
	}
	return r.cfg.Store.Presence.Register(ctx, Presence{ID: r.cfg.ID, Host: host, PID: os.Getpid(), Providers: served, Version: r.cfg.Version})
}

// due reports whether the concurrency has to change, and to what: more at once,
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

// rechunk changes the size of chunks where it has become half or twice what it was.
func (r *regulator) rechunk(p Plan) (changed bool) {
	was, is := r.chunks[p.Provider], p.chunk()
	if was < 2*is && is < 2*was {
		return false
	}
	r.chunks[p.Provider] = is
	return was != is
}

// resize runs as many at once as planned.
func (r *regulator) resize(p Plan) (changed bool) {
	changed, err := r.servers.resize(p)
	switch {
	case err != nil:
		r.cfg.Log.Error().Err(err).Str("provider", p.Provider).Msg("concurrency stays as it is")
		return false
	case !changed:
		return false
	}
	r.shares[p.Provider] = p.Share
	logPlan(r.cfg.Log, p, "concurrency changed")
	return true
}

// logPlan says what a provider is served with, and why.
func logPlan(log zerolog.Logger, p Plan, msg string) {
	log.Info().Str("provider", p.Provider).Int("concurrency", p.Share).Int("fleet", p.Fleet()).Int("workers", p.Workers).
		Dur("latency_p90", p.Latency).Bool("measured", p.Measured).Float64("jobs_per_minute", math.Round(p.JobsPerMinute)).
		Str("binds", p.Binds).Msg(msg)
}

// Package metrics tells Prometheus what the fleet does, at /metrics. What is about the
// fleet is read from the roll-ups of Postgres, the limits from Redis, and the queues from
// asynq, so that any monitor tells the same, and a scrape costs the same whatever the
// number of jobs. It may import billing, fleet and jobs, and declares what it needs of
// a store; package monitor mounts its handler behind the authentication.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
)

// Store reads what is told. No method reads a row for each job or call of the past.
type Store interface {
	// Fleet reads providers and workers.
	Fleet(ctx context.Context) (fleet.Snapshot, error)
	// UnfinishedJobs counts the jobs that have not ended, EndedJobs those that have.
	UnfinishedJobs(ctx context.Context) ([]fleet.Unfinished, error)
	EndedJobs(ctx context.Context) ([]fleet.Ended, error)
	// CallTotals sums up the calls that ended from from to before until, whole hours; zero
	// is unbounded.
	CallTotals(ctx context.Context, from, until time.Time) (fleet.CallTotals, error)
	// ReconcilerActions counts what the reconcilers have put right.
	ReconcilerActions(ctx context.Context) (map[string]int64, error)
	// LimiterWaits returns how long calls have waited for their slot, by provider.
	LimiterWaits(ctx context.Context) (map[string]fleet.LimiterWaits, error)
	Budgets(ctx context.Context) ([]billing.Budget, error)
	// Alerts returns the newest alerts: those that are open, or all.
	Alerts(ctx context.Context, all bool, limit int) ([]jobs.Alert, error)
}

// Config configures Metrics. Store and Redis are needed.
type Config struct {
	Store Store
	Redis asynq.RedisConnOpt
	// Pressure returns how much of each provider's limits is used. Nil: it is left out.
	Pressure func(ctx context.Context) (map[string]fleet.Pressure, error)
	// Waiting returns the number of calls of programs that wait at this monitor. Nil: it is left out.
	Waiting func() int
	Log     zerolog.Logger
}

const (
	// freshFor is the shortest time for which a reading is told again, and idle the factor by
	// which it is told longer than it took: Postgres is busy with it for a fifth of the
	// time at most.
	freshFor = 5 * time.Second
	idle     = 4
	// readLimit bounds one reading, redisLimit the part of it that Redis answers.
	readLimit  = 15 * time.Second
	redisLimit = 2 * time.Second
	// maxPairs bounds the pairs of a provider and a model that have a name of their own; all others are
	// "other". maxBudgets bounds the budgets, the first that were made.
	maxPairs   = 100
	maxBudgets = 200
	maxAlerts  = 1000
	other      = "other"
)

// Metrics serves /metrics. It is safe for concurrent use.
type Metrics struct {
	cfg     Config
	desc    descriptions
	inspect *asynq.Inspector
	handler http.Handler

	mu    sync.Mutex // one reading at a time
	now   reading
	until time.Time // the reading is fresh until then
	// closed is the hour up to which before sums up the calls, since it will hardly change.
	closed time.Time
	before fleet.CallTotals
	named  map[fleet.ModelKey]bool
	// unfinished counts the jobs that have not ended, which looks at each of them: it is told
	// again until unfinishedUntil.
	unfinished      []fleet.Unfinished
	unfinishedUntil time.Time
}

// New makes Metrics. It connects to nothing yet; Close ends it.
func New(cfg Config) (*Metrics, error) {
	if cfg.Store == nil || cfg.Redis == nil {
		return nil, errors.New("metrics: Store and Redis are needed")
	}
	m := &Metrics{cfg: cfg, desc: describe(), inspect: asynq.NewInspector(cfg.Redis), before: fleet.NewCallTotals(), named: map[fleet.ModelKey]bool{}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
	return m, nil
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Close closes the connection to Redis.
func (m *Metrics) Close() error { return m.inspect.Close() }

// reading holds what was read at one time. What could not be read is missing.
type reading struct {
	postgres, redis bool
	took            time.Duration

	fleet      fleet.Snapshot
	unfinished []fleet.Unfinished
	ended      []fleet.Ended
	calls      fleet.CallTotals
	waits      map[string]fleet.LimiterWaits
	actions    map[string]int64
	budgets    []billing.Budget
	alerts     []jobs.Alert
	pressure   map[string]fleet.Pressure
	queues     []*asynq.QueueInfo
}

// read returns the last reading, or makes one where that is old.
func (m *Metrics) read() reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	began := time.Now()
	if began.Before(m.until) {
		return m.now
	}
	// A scrape's context is not passed on to collectors; whoever comes next may have the reading.
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	r := reading{postgres: true, redis: true}
	redis := make(chan struct{})
	go func() {
		defer close(redis)
		if err := m.readRedis(ctx, &r); err != nil {
			m.cfg.Log.Warn().Err(err).Msg("metrics: figures of Redis are missing")
			r.redis = false
		}
	}()
	var last reading
	err := m.readPostgres(ctx, &last)
	<-redis
	if err != nil {
		m.cfg.Log.Warn().Err(err).Msg("metrics: figures of Postgres are missing")
		r.postgres = false
	} else {
		r.waits = last.waits
		r.fleet, r.unfinished, r.ended, r.calls, r.actions, r.budgets, r.alerts = last.fleet, last.unfinished, last.ended, last.calls, last.actions, last.budgets, last.alerts
	}
	end := time.Now()
	r.took = end.Sub(began)
	m.now, m.until = r, end.Add(max(freshFor, idle*r.took))
	return r
}

func (m *Metrics) readPostgres(ctx context.Context, r *reading) (err error) {
	if r.fleet, err = m.cfg.Store.Fleet(ctx); err != nil {
		return err
	}
	if r.unfinished, err = m.countUnfinished(ctx); err != nil {
		return err
	}
	if r.ended, err = m.cfg.Store.EndedJobs(ctx); err != nil {
		return err
	}
	if r.calls, err = m.callTotals(ctx); err != nil {
		return err
	}
	if r.waits, err = m.cfg.Store.LimiterWaits(ctx); err != nil {
		return err
	}
	if r.actions, err = m.cfg.Store.ReconcilerActions(ctx); err != nil {
		return err
	}
	if r.budgets, err = m.cfg.Store.Budgets(ctx); err != nil {
		return err
	}
	r.budgets = r.budgets[:min(len(r.budgets), maxBudgets)]
	r.alerts, err = m.cfg.Store.Alerts(ctx, false, maxAlerts)
	return err
}

// countUnfinished counts the jobs that have not ended, for a twentieth of the time at most.
func (m *Metrics) countUnfinished(ctx context.Context) ([]fleet.Unfinished, error) {
	began := time.Now()
	if began.Before(m.unfinishedUntil) {
		return m.unfinished, nil
	}
	list, err := m.cfg.Store.UnfinishedJobs(ctx)
	if err == nil {
		const rarely = 20
		m.unfinished, m.unfinishedUntil = list, time.Now().Add(rarely*time.Since(began))
	}
	return list, err
}

// callTotals sums up all calls. Only the last hours are read again: what ended before is
// remembered, but for what is corrected later.
func (m *Metrics) callTotals(ctx context.Context) (fleet.CallTotals, error) {
	closes := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
	if closes.After(m.closed) {
		more, err := m.cfg.Store.CallTotals(ctx, m.closed, closes)
		if err != nil {
			return more, err
		}
		m.before, m.closed = m.before.Plus(more), closes
	}
	last, err := m.cfg.Store.CallTotals(ctx, m.closed, time.Time{})
	return m.bounded(m.before.Plus(last)), err
}

// bounded gives at most maxPairs models a name of their own: those with most calls when they
// were seen first, and for good, so that no counter goes back.
func (m *Metrics) bounded(t fleet.CallTotals) fleet.CallTotals {
	var fresh []fleet.ModelKey
	for k := range t.Models {
		if !m.named[k] {
			fresh = append(fresh, k)
		}
	}
	slices.SortFunc(fresh, func(a, b fleet.ModelKey) int { return int(t.Models[b].Requests() - t.Models[a].Requests()) })
	for _, k := range fresh {
		if len(m.named) < maxPairs {
			m.named[k] = true
		}
	}
	models := map[fleet.ModelKey]fleet.ModelTotals{}
	for k, v := range t.Models {
		if !m.named[k] {
			k.Model = other
		}
		models[k] = models[k].Plus(v)
	}
	t.Models = models
	return t
}

func (m *Metrics) readRedis(ctx context.Context, r *reading) error {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	if m.cfg.Pressure != nil {
		var err error
		if r.pressure, err = m.cfg.Pressure(ctx); err != nil {
			return err
		}
	}
	names, err := m.inspect.Queues()
	if err != nil {
		return err
	}
	for _, name := range names {
		// One that is gone again, or whose tasks somebody deletes by hand, is left out.
		if q, err := m.inspect.GetQueueInfo(name); err == nil {
			r.queues = append(r.queues, q)
		}
	}
	return nil
}

package metrics

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
)

// descriptions are those of all metrics.
type descriptions struct {
	up, took *prometheus.Desc

	jobs, ended, queueWait *prometheus.Desc

	calls, limited, refused, reasons, duration, tokens, cost, unpriced *prometheus.Desc

	status, breaker, limit, limitUsed, limiterWait, slotWait, blocked *prometheus.Desc

	budgetLimit, budgetSpent, budgetLeft *prometheus.Desc

	workers, actions, alerts, tasks, taskLatency, paused, waiting *prometheus.Desc
}

func describe() descriptions {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("oneflow_"+name, help, labels, nil)
	}
	return descriptions{
		up:   d("up", "Whether Postgres and Redis answered: 1 or 0.", "service"),
		took: d("read_seconds", "The time that the last reading of Postgres and Redis took."),

		jobs:      d("jobs", "Jobs that have not ended, by the provider that they ask first.", "provider", "lane", "state"),
		ended:     d("jobs_ended_total", "Jobs that have ended, by the provider that they asked first. One that is brought back ends again.", "provider", "lane", "state"),
		queueWait: d("job_queue_wait_seconds", "The time from when a job was due to its first claim by a worker, counted when it ends.", "provider", "lane"),

		calls:    d("calls_total", "Calls of providers that have ended.", "provider", "model", "outcome"),
		limited:  d("calls_rate_limited_total", "Calls among those that were refused for a rate.", "provider", "model"),
		refused:  d("calls_refused_total", "Calls among those that were refused for what was asked, or given up by us.", "provider", "model"),
		reasons:  d("calls_by_reason_total", "Calls by why they were made: first, retry, reask, fallback, or unknown where the outcome is not known.", "provider", "reason"),
		duration: d("call_duration_seconds", "The latency of calls.", "provider"),
		tokens:   d("tokens_total", "Tokens that calls have used.", "provider", "model", "direction"),
		cost:     d("cost_usd_total", "What calls have cost, in dollars; simulated is the money of mock and fake providers.", "provider", "model", "simulated"),
		unpriced: d("calls_unpriced_total", "Calls that no price is known for.", "provider", "model"),

		status:      d("provider_status", "1 for the status that a provider has: available, degraded or unavailable.", "provider", "status"),
		breaker:     d("breaker_state", "1 for the state that a provider's circuit breaker has: closed, half_open or open.", "provider", "state"),
		limit:       d("limit", "The limit in force, by dimension: of requests or tokens by the minute, or as its name says.", "provider", "dimension"),
		limitUsed:   d("limit_used_ratio", "The share of a limit that the fleet uses in the window that ends now.", "provider", "dimension"),
		limiterWait: d("limiter_wait_seconds", "The time that a small call would wait for its slot now.", "provider"),
		slotWait:    d("limiter_waited_seconds", "The time that a call waited for its slot in the limits.", "provider"),
		blocked:     d("provider_blocked_seconds", "The time for which a provider has asked to be left alone, from now on.", "provider"),

		budgetLimit: d("budget_limit_usd", "What may be spent in a budget's period; of a wallet, what was paid in.", "budget", "name"),
		budgetSpent: d("budget_spent_usd", "What was spent in a budget's period.", "budget", "name"),
		budgetLeft:  d("budget_left_usd", "What of a budget is neither spent nor reserved.", "budget", "name"),

		workers:     d("workers", "Workers that have not stopped: alive, or silent for too long.", "state"),
		actions:     d("reconciler_actions_total", "What the reconcilers have put right, and dispatched.", "action"),
		alerts:      d("alerts", "Open alerts.", "kind"),
		tasks:       d("queue_tasks", "Tasks in Redis: deliveries of jobs.", "queue", "state"),
		taskLatency: d("queue_latency_seconds", "The age of the oldest task that waits in a queue of Redis.", "queue"),
		paused:      d("queue_paused", "Whether a queue of Redis is paused: 1 or 0.", "queue"),
		waiting:     d("frontdoor_waiting_calls", "Calls of programs that wait at this monitor."),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {
	// Which there are is known once they are read.
}

// teller sends metrics.
type teller struct {
	descriptions
	to chan<- prometheus.Metric
}

func (t teller) send(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string) {
	metric, err := prometheus.NewConstMetric(d, kind, v, labels...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(d, err)
	}
	t.to <- metric
}

func (t teller) gauge(d *prometheus.Desc, v float64, labels ...string) {
	t.send(prometheus.GaugeValue, d, v, labels...)
}

func (t teller) count(d *prometheus.Desc, v int64, labels ...string) {
	t.send(prometheus.CounterValue, d, float64(v), labels...)
}

func (t teller) histogram(d *prometheus.Desc, n int64, sum float64, buckets map[float64]uint64, labels ...string) {
	metric, err := prometheus.NewConstHistogram(d, uint64(max(n, 0)), sum, buckets, labels...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(d, err)
	}
	t.to <- metric
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	r, t := m.read(), teller{m.desc, to}
	t.gauge(t.up, oneIf(r.postgres), "postgres")
	t.gauge(t.up, oneIf(r.redis), "redis")
	t.gauge(t.took, r.took.Seconds())
	if m.cfg.Waiting != nil {
		t.gauge(t.waiting, float64(m.cfg.Waiting()))
	}
	if r.postgres {
		t.ofJobs(r)
		t.ofCalls(r.calls)
		t.ofFleet(r)
		t.ofMoney(r)
	}
	if r.redis {
		t.ofRedis(r)
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func dollars(n billing.NanoUSD) float64 { return float64(n) / float64(billing.USD) }

func (t teller) ofJobs(r reading) {
	for _, u := range r.unfinished {
		t.gauge(t.jobs, float64(u.Jobs), u.Provider, string(u.Lane), string(u.State))
	}
	type queue struct {
		provider string
		lane     jobs.Lane
	}
	waits := map[queue]fleet.Ended{}
	for _, e := range r.ended {
		t.count(t.ended, e.Jobs, e.Provider, string(e.Lane), string(e.State))
		w := waits[queue{e.Provider, e.Lane}]
		w.Started, w.WaitSeconds = w.Started+e.Started, w.WaitSeconds+e.WaitSeconds
		if w.Waits == nil {
			w.Waits = make([]int64, len(e.Waits))
		}
		for i, n := range e.Waits {
			w.Waits[i] += n
		}
		waits[queue{e.Provider, e.Lane}] = w
	}
	for q, w := range waits {
		t.waits(t.queueWait, w.Waits, w.WaitSeconds, q.provider, string(q.lane))
	}
	for provider, w := range r.waits {
		t.waits(t.slotWait, w.Calls, w.Seconds, provider)
	}
}

// waits tells of a histogram by fleet.WaitBounds.
func (t teller) waits(d *prometheus.Desc, counts []int64, seconds float64, labels ...string) {
	buckets, sum := map[float64]uint64{}, int64(0)
	for i, bound := range fleet.WaitBounds() {
		sum += counts[i]
		buckets[bound] = uint64(max(sum, 0))
	}
	t.histogram(d, sum+counts[len(counts)-1], seconds, buckets, labels...)
}

// The bounds of latencies are those of the schema's buckets, 2^i - 1 ms, from 31 ms to about
// 9 minutes.
const leastBound, mostBound = 5, 19

func (t teller) ofCalls(c fleet.CallTotals) {
	for k, m := range c.Models {
		for outcome, n := range map[string]int64{"succeeded": m.Succeeded, "failed_unbilled": m.FailedUnbilled, "failed_billed": m.FailedBilled, "unknown": m.Unknown} {
			t.count(t.calls, n, k.Provider, k.Model, outcome)
		}
		t.count(t.limited, m.RateLimited, k.Provider, k.Model)
		t.count(t.refused, m.Refused, k.Provider, k.Model)
		t.count(t.tokens, m.InputTokens, k.Provider, k.Model, "input")
		t.count(t.tokens, m.OutputTokens, k.Provider, k.Model, "output")
		t.send(prometheus.CounterValue, t.cost, dollars(m.Cost), k.Provider, k.Model, "false")
		t.send(prometheus.CounterValue, t.cost, dollars(m.Simulated), k.Provider, k.Model, "true")
		t.count(t.unpriced, m.Unpriced, k.Provider, k.Model)
	}
	for k, n := range c.Reasons {
		t.count(t.reasons, n, k.Provider, k.Reason)
	}
	for provider, l := range c.Latencies {
		buckets, sum, all := map[float64]uint64{}, int64(0), int64(0)
		for _, i := range slices.Sorted(maps.Keys(l.Calls)) {
			all += l.Calls[i]
		}
		for i := 0; i <= mostBound; i++ {
			sum += l.Calls[i]
			if i >= leastBound {
				buckets[(math.Exp2(float64(i))-1)/1000] = uint64(max(sum, 0))
			}
		}
		t.histogram(t.duration, all, float64(l.Milliseconds)/1000, buckets, provider)
	}
}

func (t teller) ofFleet(r reading) {
	for _, p := range r.fleet.Providers {
		for _, s := range []fleet.Status{fleet.Available, fleet.Degraded, fleet.Unavailable} {
			t.gauge(t.status, oneIf(p.Status == s), p.Name, string(s))
		}
		for _, s := range []fleet.BreakerState{fleet.BreakerClosed, fleet.BreakerHalfOpen, fleet.BreakerOpen} {
			t.gauge(t.breaker, oneIf(p.Breaker.State == s), p.Name, string(s))
		}
	}
	alive := r.fleet.Alive()
	t.gauge(t.workers, float64(alive), "alive")
	t.gauge(t.workers, float64(len(r.fleet.Workers)-alive), "silent")
	for action, n := range r.actions {
		t.count(t.actions, n, action)
	}
	open := map[string]int{}
	for _, kind := range jobs.AlertKinds() {
		open[kind] = 0
	}
	for _, a := range r.alerts {
		open[a.Kind]++
	}
	for kind, n := range open {
		t.gauge(t.alerts, float64(n), kind)
	}
}

func (t teller) ofMoney(r reading) {
	for _, b := range r.budgets {
		id, name := strconv.FormatInt(b.ID, 10), string(b.Period)+", "+b.Scope.String()
		if b.Wallet {
			name = b.String()
		}
		t.gauge(t.budgetLimit, dollars(b.Limit), id, name)
		t.gauge(t.budgetSpent, dollars(b.Spent), id, name)
		t.gauge(t.budgetLeft, dollars(b.Left()), id, name)
	}
}

func (t teller) ofRedis(r reading) {
	for provider, p := range r.pressure {
		t.gauge(t.limiterWait, p.Wait, provider)
		t.gauge(t.blocked, p.Blocked, provider)
		for dimension, limit := range p.Limits {
			t.gauge(t.limit, limit, provider, dimension)
		}
		for dimension, share := range p.Used {
			t.gauge(t.limitUsed, share, provider, dimension)
		}
	}
	for _, q := range r.queues {
		for state, n := range map[string]int{
			"pending": q.Pending, "active": q.Active, "scheduled": q.Scheduled, "retry": q.Retry, "archived": q.Archived, "completed": q.Completed,
		} {
			t.gauge(t.tasks, float64(n), q.Queue, state)
		}
		t.gauge(t.taskLatency, q.Latency.Seconds(), q.Queue)
		t.gauge(t.paused, oneIf(q.Paused), q.Queue)
	}
}

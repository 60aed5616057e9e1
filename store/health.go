package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
	"oneflow/providers"
)

// standing is a provider before it is judged.
type standing struct {
	fleet.Health
	layers      fleet.ProviderLimits
	concurrency int
}

// standings reads what is set and known of each provider, and the time that it is.
func (s *Store) standings(ctx context.Context) (list []standing, now time.Time, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT now(), name, kind, concurrency, status, reason, changed_by, changed_at,
			breaker, breaker_reason, breaker_at, breaker_override, breaker_changed_by,
			CASE WHEN blocked_until > now() THEN blocked_until END, blocked_reason, out_of_money_at, metrics_since,
			limits_configured, limits_from_file, limits_learned, limits_learned_at, limits_pinned, limits_pinned_by, limits_pinned_at, key_ends,
			coalesce((SELECT jsonb_object_agg(model, limits) FROM provider_models WHERE provider = name), '{}'),
			(SELECT count(*) FROM workers
				WHERE stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => $1) AND name = ANY (workers.providers))
		FROM providers
		ORDER BY name`, fleet.Silence.Seconds())
	if err != nil {
		return nil, now, err
	}
	list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (standing, error) {
		var p standing
		var since time.Time
		var breaker, blocked, money, metrics, learned, pinned *time.Time
		b, l := &p.Breaker, &p.layers
		err := row.Scan(&now, &p.Name, &p.Kind, &p.concurrency, &p.Status, &p.Reason, &p.By, &since,
			&b.State, &b.Reason, &breaker, &b.Held, &b.By,
			&blocked, &p.BlockedReason, &money, &metrics,
			&l.Configured, &l.Written, &l.Learned, &learned, &l.Pinned, &l.PinnedBy, &pinned, &p.Keys,
			&p.ModelLimits, &p.Workers)
		if p.By != "" {
			p.Since = since
		}
		if blocked == nil {
			p.BlockedReason = ""
		}
		b.Since, p.BlockedUntil, p.OutOfMoneyAt, p.MetricsSince = timeOrZero(breaker), timeOrZero(blocked), timeOrZero(money), timeOrZero(metrics)
		l.Provider, l.LearnedAt, l.PinnedAt, l.BlockedUntil, l.BlockedReason = p.Name, timeOrZero(learned), timeOrZero(pinned), p.BlockedUntil, p.BlockedReason
		p.Limits = l.InForce()
		if len(p.ModelLimits) > 0 {
			p.Limits = l.Common()
		}
		return p, err
	})
	return list, now, err
}

// ProviderLimits returns the limits of all providers that are known, by name.
func (s *Store) ProviderLimits(ctx context.Context) ([]fleet.ProviderLimits, error) {
	known, _, err := s.standings(ctx)
	if err != nil {
		return nil, fmt.Errorf("read limits: %w", err)
	}
	list := make([]fleet.ProviderLimits, len(known))
	for i, k := range known {
		list[i] = k.layers
	}
	return list, nil
}

// Standings returns each provider that is known with its state, without figures.
func (s *Store) Standings(ctx context.Context) ([]fleet.Health, error) {
	list, _, err := s.judged(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of providers: %w", err)
	}
	return list, nil
}

// judged reads each provider's state, and the time that it is.
func (s *Store) judged(ctx context.Context) (list []fleet.Health, now time.Time, err error) {
	known, now, err := s.standings(ctx)
	if err != nil {
		return nil, now, err
	}
	recent, err := s.recent(ctx)
	if err != nil {
		return nil, now, err
	}
	list = make([]fleet.Health, len(known))
	for i, k := range known {
		list[i] = k.Health
		list[i].Judge(recent[k.Name], now)
	}
	return list, now, nil
}

// Health returns each provider that is known with its state, and the figures of
// its models over a window.
func (s *Store) Health(ctx context.Context, window time.Duration) ([]fleet.Health, error) {
	list, now, err := s.judged(ctx)
	if err != nil {
		return nil, fmt.Errorf("read health: %w", err)
	}
	figures, err := s.modelFigures(ctx, window)
	if err != nil {
		return nil, fmt.Errorf("read health: %w", err)
	}
	place := map[string]*fleet.Health{}
	for i := range list {
		h := &list[i]
		h.From, h.Models = now.Add(-window), []fleet.Figures{}
		if h.MetricsSince.After(h.From) {
			h.From = h.MetricsSince
		}
		place[h.Name] = h
	}
	for _, f := range figures {
		if h, ok := place[f.Provider]; ok {
			h.Models = append(h.Models, f)
		}
	}
	return list, nil
}

// BreakerMoves returns the last moves of circuit breakers, the newest first: of a provider,
// or of each where it is empty.
func (s *Store) BreakerMoves(ctx context.Context, provider string, limit int) (list []fleet.BreakerMove, err error) {
	err = collect(ctx, s, &list, `
		SELECT provider, at, state, held, reason, held_by AS by
		FROM breaker_moves
		WHERE $1 = '' OR provider = $1
		ORDER BY id DESC
		LIMIT $2`, provider, limit)
	if err != nil {
		return nil, fmt.Errorf("read the moves of breakers: %w", err)
	}
	return list, nil
}

// recent is the traffic of the time that a provider is judged by, from the
// roll-up.
func (s *Store) recent(ctx context.Context) (map[string]fleet.Traffic, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, saturated(sum(requests)), saturated(sum(succeeded)), saturated(sum(rate_limited)), saturated(sum(refused))
		FROM provider_metrics
		JOIN providers ON name = provider
		WHERE minute > date_trunc('minute', now()) - make_interval(mins => $1)
		AND minute >= coalesce(metrics_since, '-infinity')
		GROUP BY provider`, int(fleet.Recent.Minutes()))
	if err != nil {
		return nil, err
	}
	out := map[string]fleet.Traffic{}
	var name string
	var t fleet.Traffic
	_, err = pgx.ForEachRow(rows, []any{&name, &t.Requests, &t.Succeeded, &t.RateLimited, &t.Refused}, func() error {
		out[name] = t
		return nil
	})
	return out, err
}

// modelFigures sums up the calls of each model from the roll-ups, so that it takes as long for a day of a
// million calls as for one of a few. What is older than an hour is there by the hour; calls from
// before a person let the figures begin anew are left out.
func (s *Store) modelFigures(ctx context.Context, window time.Duration) ([]fleet.Figures, error) {
	const from = `
		JOIN providers p ON p.name = provider
		WHERE minute > date_trunc('minute', now()) - make_interval(secs => $1)
		AND minute >= coalesce(p.metrics_since, '-infinity')`
	rows, err := s.pool.Query(ctx, `
		SELECT f.*, coalesce(e.error_kind, ''), e.finished_at
		FROM (
			SELECT provider, model, saturated(sum(requests)) AS requests, saturated(sum(succeeded)), saturated(sum(rate_limited)), saturated(sum(refused)), saturated(sum(unknown)),
				saturated(sum(input_tokens)), saturated(sum(output_tokens)), saturated(sum(cost_nano)), saturated(sum(simulated_nano)), saturated(sum(unpriced)),
				max(latency_ms_max), max(p.metrics_since) AS since
			FROM provider_metrics `+from+`
			GROUP BY provider, model
			HAVING sum(requests) > 0
			ORDER BY provider, sum(requests) DESC, model
			LIMIT 1000
		) f
		LEFT JOIN LATERAL (
			SELECT c.error_kind, c.finished_at
			FROM calls c
			WHERE c.provider = f.provider AND c.model = f.model AND c.error_kind <> ''
			AND c.finished_at >= greatest(now() - make_interval(secs => $1), f.since)
			ORDER BY c.finished_at DESC
			LIMIT 1
		) e ON true
		ORDER BY f.provider, f.requests DESC, f.model`, window.Seconds())
	if err != nil {
		return nil, err
	}
	type key struct{ provider, model string }
	place, highest := map[key]int{}, []int64{}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.Figures, error) {
		var f fleet.Figures
		var high int64
		var since, failed *time.Time
		err := row.Scan(&f.Provider, &f.Model, &f.Requests, &f.Succeeded, &f.RateLimited, &f.Refused, &f.Unknown, &f.InputTokens, &f.OutputTokens,
			(*int64)(&f.Cost), (*int64)(&f.Simulated), &f.Unpriced, &high, &since, &f.LastError, &failed)
		f.LastErrorAt = timeOrZero(failed)
		place[key{f.Provider, f.Model}] = len(highest)
		highest = append(highest, high)
		return f, err
	})
	if err != nil {
		return nil, err
	}
	rows, err = s.pool.Query(ctx, `
		SELECT provider, model, bucket, saturated(sum(succeeded))
		FROM provider_latencies `+from+`
		GROUP BY provider, model, bucket
		HAVING sum(succeeded) > 0`, window.Seconds())
	if err != nil {
		return nil, err
	}
	latencies := make([]histogram, len(list))
	var of key
	var bucket int
	var calls int64
	_, err = pgx.ForEachRow(rows, []any{&of.provider, &of.model, &bucket, &calls}, func() error {
		if i, ok := place[of]; ok {
			latencies[i] = latencies[i].with(bucket, calls)
		}
		return nil
	})
	for i, h := range latencies {
		f := &list[i]
		f.Mean, f.P50, f.P95, f.P99 = h.mean(), h.percentile(0.50, highest[i]), h.percentile(0.95, highest[i]), h.percentile(0.99, highest[i])
	}
	return list, err
}

// Latencies implements the FleetStore of package monitor.
func (s *Store) Latencies(ctx context.Context, window, step time.Duration) (map[string][]fleet.LatencyPoint, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, floor(extract(epoch FROM s.last - date_bin(s.step, minute, s.last)) / extract(epoch FROM s.step))::int AS ago, s.last, bucket, saturated(sum(succeeded))
		FROM provider_latencies
		JOIN providers p ON p.name = provider
		CROSS JOIN (
			SELECT x.step, date_bin(x.step, now(), 'epoch') AS last
			FROM (SELECT make_interval(secs => $2) AS step) x
		) s
		WHERE minute >= s.last - make_interval(secs => $1) + s.step
		AND minute >= coalesce(p.metrics_since, '-infinity')
		GROUP BY 1, 2, 3, 4
		HAVING sum(succeeded) > 0`, window.Seconds(), step.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read latencies: %w", err)
	}
	n := int(window / step)
	counts := map[string][]histogram{}
	var provider string
	var ago, bucket int
	var last time.Time
	var calls int64
	_, err = pgx.ForEachRow(rows, []any{&provider, &ago, &last, &bucket, &calls}, func() error {
		if counts[provider] == nil {
			counts[provider] = make([]histogram, n)
		}
		if i := n - 1 - ago; i >= 0 && i < n {
			counts[provider][i] = counts[provider][i].with(bucket, calls)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read latencies: %w", err)
	}
	out := map[string][]fleet.LatencyPoint{}
	for provider, list := range counts {
		for i, h := range list {
			p := fleet.LatencyPoint{At: last.Add(-time.Duration(n-1-i) * step), P50: h.percentile(0.50, math.MaxInt64), P95: h.percentile(0.95, math.MaxInt64)}
			for _, calls := range h {
				p.Calls += calls
			}
			out[provider] = append(out[provider], p)
		}
	}
	return out, nil
}

// TaskFigures returns the figures of each provider's calls for a task over a window, its models
// together, from the ledger.
func (s *Store) TaskFigures(ctx context.Context, task providers.Task, window time.Duration) (map[string]fleet.Figures, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT a.provider, count(*), count(*) FILTER (WHERE a.state = 'succeeded'),
			count(*) FILTER (WHERE `+isRateLimited+`), count(*) FILTER (WHERE `+isRefused+`), count(*) FILTER (WHERE a.state = 'unknown'),
			saturated(sum(a.input_tokens)), saturated(sum(a.output_tokens)),
			saturated(coalesce(sum(a.cost_nano) FILTER (WHERE NOT a.simulated), 0)),
			saturated(coalesce(sum(a.cost_nano) FILTER (WHERE a.simulated), 0)), count(*) FILTER (WHERE a.cost_nano IS NULL),
			saturated(coalesce(avg(a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0)),
			coalesce(percentile_disc(0.50) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0),
			coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0),
			coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0)
		FROM calls a
		JOIN providers p ON p.name = a.provider
		WHERE a.finished_at >= now() - make_interval(secs => $1)
		AND a.finished_at >= coalesce(p.metrics_since, '-infinity')
		AND EXISTS (SELECT FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id WHERE cj.call_id = a.id AND j.task = $2)
		GROUP BY a.provider`, window.Seconds(), string(task))
	if err != nil {
		return nil, fmt.Errorf("read figures of %s: %w", task, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f fleet.Figures, err error) {
		err = row.Scan(&f.Provider, &f.Requests, &f.Succeeded, &f.RateLimited, &f.Refused, &f.Unknown,
			&f.InputTokens, &f.OutputTokens, (*int64)(&f.Cost), (*int64)(&f.Simulated), &f.Unpriced, &f.Mean, &f.P50, &f.P95, &f.P99)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("read figures of %s: %w", task, err)
	}
	out := make(map[string]fleet.Figures, len(list))
	for _, f := range list {
		out[f.Provider] = f
	}
	return out, nil
}

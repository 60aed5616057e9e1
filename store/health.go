package store

import (
	"context"
	"fmt"
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
// its models over a window, from the ledger.
func (s *Store) Health(ctx context.Context, window time.Duration) ([]fleet.Health, error) {
	list, now, err := s.judged(ctx)
	if err != nil {
		return nil, fmt.Errorf("read health: %w", err)
	}
	figures, err := s.figures(ctx, window, "")
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

// TaskFigures returns the figures of each provider's calls for a task over a
// window, its models together.
func (s *Store) TaskFigures(ctx context.Context, task providers.Task, window time.Duration) (map[string]fleet.Figures, error) {
	list, err := s.figures(ctx, window, task)
	if err != nil {
		return nil, fmt.Errorf("read figures of %s: %w", task, err)
	}
	out := make(map[string]fleet.Figures, len(list))
	for _, f := range list {
		out[f.Provider] = f
	}
	return out, nil
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

// figures sums the ledger up, by provider and model; with a task, by provider and
// for that task. Calls from before a person let the figures begin anew are left
// out.
func (s *Store) figures(ctx context.Context, window time.Duration, task providers.Task) ([]fleet.Figures, error) {
	const from = `
		FROM calls a
		JOIN providers p ON p.name = a.provider
		WHERE a.finished_at >= now() - make_interval(secs => $1)
		AND a.finished_at >= coalesce(p.metrics_since, '-infinity')
		AND ($2 = '' OR EXISTS (SELECT FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id WHERE cj.call_id = a.id AND j.task = $2))`
	const model = `CASE WHEN $2 = '' THEN a.model ELSE '' END AS model`
	rows, err := s.pool.Query(ctx, `
		SELECT a.provider, `+model+`, count(*), count(*) FILTER (WHERE a.state = 'succeeded'),
			count(*) FILTER (WHERE `+isRateLimited+`), count(*) FILTER (WHERE `+isRefused+`), count(*) FILTER (WHERE a.state = 'unknown'),
			saturated(sum(a.input_tokens)), saturated(sum(a.output_tokens)),
			saturated(coalesce(sum(a.cost_nano) FILTER (WHERE NOT a.simulated), 0)),
			saturated(coalesce(sum(a.cost_nano) FILTER (WHERE a.simulated), 0)), count(*) FILTER (WHERE a.cost_nano IS NULL),
			saturated(coalesce(avg(a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0)),
			coalesce(percentile_disc(0.50) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0),
			coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0),
			coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY a.latency_ms) FILTER (WHERE a.state = 'succeeded'), 0)
		`+from+`
		GROUP BY 1, 2
		ORDER BY 1, count(*) DESC, 2
		LIMIT 1000`, window.Seconds(), string(task))
	if err != nil {
		return nil, err
	}
	type key struct{ provider, model string }
	place := map[key]int{}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (fleet.Figures, error) {
		var f fleet.Figures
		err := row.Scan(&f.Provider, &f.Model, &f.Requests, &f.Succeeded, &f.RateLimited, &f.Refused, &f.Unknown,
			&f.InputTokens, &f.OutputTokens, (*int64)(&f.Cost), (*int64)(&f.Simulated), &f.Unpriced, &f.Mean, &f.P50, &f.P95, &f.P99)
		place[key{f.Provider, f.Model}] = len(place)
		return f, err
	})
	if err != nil {
		return nil, err
	}
	rows, err = s.pool.Query(ctx, `
		SELECT DISTINCT ON (provider, model) provider, model, error_kind, at
		FROM (
			SELECT a.provider, `+model+`, a.error_kind, max(a.finished_at) AS at
			`+from+` AND a.error_kind <> ''
			GROUP BY 1, 2, 3
		) latest
		ORDER BY provider, model, at DESC`, window.Seconds(), string(task))
	if err != nil {
		return nil, err
	}
	var of key
	var kind string
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&of.provider, &of.model, &kind, &at}, func() error {
		if i, ok := place[of]; ok {
			list[i].LastError, list[i].LastErrorAt = kind, at
		}
		return nil
	})
	return list, err
}

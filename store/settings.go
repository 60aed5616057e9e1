package store

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
	"oneflow/jobs"
	"oneflow/providers"
)

// Settings returns what is stored of each provider, and the chains that operators
// have set, by task. It is cheap enough to be asked each second. A provider whose account is out of money is unavailable for
// ten minutes after it said so last.
func (s *Store) Settings(ctx context.Context) (map[string]fleet.Stored, map[providers.Task][]string, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT name,
			CASE WHEN out_of_money THEN 'unavailable' ELSE status END,
			CASE WHEN out_of_money AND status <> 'unavailable' THEN 'its account is out of money' ELSE reason END,
			CASE WHEN out_of_money AND status <> 'unavailable' THEN '' ELSE changed_by END,
			limits_configured, limits_from_file, limits_learned, limits_pinned,
			CASE WHEN blocked_until > now() THEN blocked_until END,
			breaker_override
		FROM (
			SELECT *, coalesce(out_of_money_at > now() - make_interval(secs => $1), false) AS out_of_money
			FROM providers
		) p`, fleet.OutOfMoney.Seconds())
	if err != nil {
		return nil, nil, fmt.Errorf("read settings: %w", err)
	}
	settings := map[string]fleet.Stored{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var name string
		var set fleet.Stored
		var blocked *time.Time
		err := row.Scan(&name, &set.Status, &set.Reason, &set.By, &set.Configured, &set.Written, &set.Learned, &set.Pinned,
			&blocked, &set.Breaker)
		set.BlockedUntil = timeOrZero(blocked)
		settings[name] = set
		return struct{}{}, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read settings: %w", err)
	}
	scopes, err := s.scopes(ctx)
	if err != nil {
		return nil, nil, err
	}
	for name, list := range scopes {
		set := settings[name]
		set.Scopes = list
		settings[name] = set
	}
	chains, err := s.Chains(ctx)
	if err != nil {
		return nil, nil, err
	}
	order := make(map[providers.Task][]string, len(chains))
	for _, c := range chains {
		order[c.Task] = c.Providers
	}
	return settings, order, nil
}

// Learn records what a worker learned about a provider. It fails with
// ErrUnknownProvider.
func (s *Store) Learn(ctx context.Context, provider string, l fleet.Learned) error {
	learned := map[providers.Dimension]int64{}
	for _, d := range providers.Dimensions() {
		if n := l.Limits.Of(d); n > 0 {
			learned[d] = n
		}
	}
	var blocked *time.Time
	if !l.BlockedUntil.IsZero() {
		blocked = &l.BlockedUntil
	}
	if l.Scope != "" {
		return s.learnScope(ctx, provider, l, learned, blocked)
	}
	return s.change(ctx, "learn", provider, `
		UPDATE providers
		SET limits_learned = limits_learned || $2::jsonb,
			limits_learned_at = CASE WHEN $2::jsonb = '{}' THEN limits_learned_at ELSE now() END,
			blocked_reason = CASE WHEN $3::timestamptz > coalesce(blocked_until, '-infinity') THEN $6 ELSE blocked_reason END,
			blocked_until = greatest(blocked_until, $3),
			out_of_money_at = CASE WHEN $4 THEN now() ELSE out_of_money_at END,
			breaker_at = CASE WHEN $5 NOT IN ('', breaker) THEN now() ELSE breaker_at END,
			breaker_reason = CASE WHEN $5 = '' THEN breaker_reason ELSE $6 END,
			breaker = coalesce(nullif($5, ''), breaker)
		WHERE name = $1`, learned, blocked, l.OutOfMoney, string(l.Breaker), l.Reason)
}

// AddProvider stores a provider that no worker has served yet, with its limits. One
// that is stored stays as it is.
func (s *Store) AddProvider(ctx context.Context, p fleet.Configured) error {
	err := again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			INSERT INTO providers (name, kind, simulated, limits_configured, limits_from_file, concurrency, dispatch_window, by_model)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (name) DO NOTHING`,
			p.Name, p.Kind, p.Simulated, p.Limits, texts(p.Written), p.Concurrency, cmp.Or(p.Window, jobs.Window(p.Limits.RPM)), p.Class != nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("add provider %s: %w", p.Name, err)
	}
	return nil
}

// SetLimits pins dimensions of the limits of one of a provider's scopes, or of its own for an
// empty scope, 0 being no limit; those that are pinned already and not named stay. by is
// who did it. It fails with ErrUnknownProvider.
func (s *Store) SetLimits(ctx context.Context, provider, scope string, pins map[providers.Dimension]int64, by string) error {
	if scope != "" {
		return s.pinScope(ctx, provider, scope, pins, by)
	}
	return s.change(ctx, "set limits", provider, `
		UPDATE providers
		SET limits_pinned = limits_pinned || $2::jsonb, limits_pinned_by = $3, limits_pinned_at = now()
		WHERE name = $1`, pins, by)
}

// ResetLimits forgets what was pinned and learned, a block included: what is
// configured holds until something is learned anew. A class is that of the models for which
// it does so; empty: for all. It fails with ErrUnknownProvider.
func (s *Store) ResetLimits(ctx context.Context, provider, class, by string) error {
	if class != "" {
		return s.resetScope(ctx, provider, class)
	}
	return s.change(ctx, "reset limits", provider, `
		WITH scopes AS (DELETE FROM limit_scopes WHERE provider = $1)
		UPDATE providers
		SET limits_pinned = '{}', limits_pinned_by = $2, limits_pinned_at = now(),
			limits_learned = '{}', limits_learned_at = NULL,
			blocked_until = NULL, blocked_reason = ''
		WHERE name = $1`, by)
}

// SetStatus says that a provider is available or not, and why. Available takes
// back what was learned about its account and a block too. It fails with
// ErrUnknownProvider.
func (s *Store) SetStatus(ctx context.Context, provider string, status fleet.Status, reason, by string) error {
	return s.change(ctx, "set the status", provider, `
		WITH scopes AS (UPDATE limit_scopes SET blocked_until = NULL WHERE provider = $1 AND $2 = 'available')
		UPDATE providers
		SET status = $2, reason = $3, changed_by = $4, changed_at = now(),
			out_of_money_at = CASE WHEN $2 = 'available' THEN NULL ELSE out_of_money_at END,
			blocked_until = CASE WHEN $2 = 'available' THEN NULL ELSE blocked_until END
		WHERE name = $1`, string(status), reason, by)
}

// ForceBreaker holds a provider's breaker open or closed; empty lets it work by
// itself. It fails with ErrUnknownProvider.
func (s *Store) ForceBreaker(ctx context.Context, provider string, order fleet.BreakerState, by string) error {
	return s.change(ctx, "force the breaker", provider, `
		UPDATE providers
		SET breaker_override = $2, breaker_changed_by = $3
		WHERE name = $1`, string(order), by)
}

// ResetMetrics lets the figures of a provider begin anew; the ledger stays. An
// empty name means all. It fails with ErrUnknownProvider.
func (s *Store) ResetMetrics(ctx context.Context, provider string) error {
	if provider == "" {
		err := again(ctx, func() error {
			_, err := s.pool.Exec(ctx, `UPDATE providers SET metrics_since = now()`)
			return err
		})
		if err != nil {
			return fmt.Errorf("reset metrics: %w", err)
		}
		return nil
	}
	return s.change(ctx, "reset metrics", provider, `UPDATE providers SET metrics_since = now() WHERE name = $1`)
}

// change runs an UPDATE of one provider, whose name is its first argument.
func (s *Store) change(ctx context.Context, what, provider, sql string, args ...any) error {
	err := again(ctx, func() error {
		tag, err := s.pool.Exec(ctx, sql, append([]any{provider}, args...)...)
		if err == nil && tag.RowsAffected() == 0 {
			return fleet.ErrUnknownProvider
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s of provider %q: %w", what, provider, err)
	}
	return nil
}

// Sent sums up the ledger of a provider's last day.
type Sent struct {
	// BlockedUntil is until when it asked to be left alone; zero if it did not.
	BlockedUntil time.Time
	// LastCall is the time of the last call; zero: none in the last day.
	LastCall time.Time
	// Running counts the calls under way.
	Running int64
	// Hours counts the calls that were begun in the last hour, in the one before
	// it, and so on.
	Hours [24]int64
}

// Sent tells what a Redis that has lost its memory has forgotten about a provider or, where
// scope is not empty, one of its scopes: there, calls of the class with other keys count too.
func (s *Store) Sent(ctx context.Context, provider, scope string) (out Sent, err error) {
	// By the minutes in which calls ended: one that began less than a day ago ended
	// then, too, and one that began before counts for as long as it took more.
	var hour int
	var n, running int64
	var last time.Time
	var blocked *time.Time
	p := pipeline()
	p.Queue(`
		SELECT floor(extract(epoch FROM greatest(now() - started_at, '0')) / 3600)::int AS hour, count(*), max(started_at), count(*)
		FROM calls
		WHERE provider = $1 AND state = 'running' AND starts_with(model, $2)
		GROUP BY hour
		UNION ALL
		SELECT floor(extract(epoch FROM now() - minute) / 3600)::int AS hour, saturated(sum(requests)), max(last_started_at), 0
		FROM provider_metrics
		WHERE provider = $1 AND minute > now() - interval '24 hours' AND starts_with(model, $2)
		GROUP BY hour`, provider, strings.TrimSuffix(providers.ClassOfScope(scope), providers.OtherModels)).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&hour, &n, &last, &running}, func() error {
			if hour < len(out.Hours) {
				out.Hours[hour] = jobs.Sum(out.Hours[hour], n)
			}
			if last.After(out.LastCall) {
				out.LastCall = last
			}
			out.Running += running
			return nil
		})
		return err
	})
	p.Queue(`
		SELECT max(blocked_until)
		FROM (
			SELECT blocked_until FROM providers WHERE name = $1 AND $2 = ''
			UNION ALL
			SELECT blocked_until FROM limit_scopes WHERE provider = $1 AND scope = $2
		) x`, provider, scope).QueryRow(func(row pgx.Row) error { return row.Scan(&blocked) })
	if err := s.pool.SendBatch(ctx, p).Close(); err != nil {
		return out, fmt.Errorf("look at what was sent to provider %s: %w", provider, err)
	}
	out.BlockedUntil = timeOrZero(blocked)
	return out, nil
}

// Chains returns the chains that operators have set.
func (s *Store) Chains(ctx context.Context) ([]fleet.Chain, error) {
	rows, err := s.pool.Query(ctx, `SELECT task, providers, changed_by, changed_at FROM chains ORDER BY task`)
	if err != nil {
		return nil, fmt.Errorf("read chains: %w", err)
	}
	chains, err := pgx.CollectRows(rows, pgx.RowToStructByName[fleet.Chain])
	if err != nil {
		return nil, fmt.Errorf("read chains: %w", err)
	}
	return chains, nil
}

// SetChain sets the providers to ask for a task, in order; none takes it back, so
// that the configured chain holds.
func (s *Store) SetChain(ctx context.Context, task providers.Task, chain []string, by string) error {
	err := again(ctx, func() error {
		if len(chain) == 0 {
			_, err := s.pool.Exec(ctx, `DELETE FROM chains WHERE task = $1`, task)
			return err
		}
		_, err := s.pool.Exec(ctx, `
			INSERT INTO chains (task, providers, changed_by)
			VALUES ($1, $2, $3)
			ON CONFLICT (task) DO UPDATE
			SET providers = excluded.providers, changed_by = excluded.changed_by, changed_at = now()`, task, chain, by)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the chain of %s: %w", task, err)
	}
	return nil
}

// texts is a list of names as Postgres takes it: never null.
func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

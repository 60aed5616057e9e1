package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/fleet"
	"oneflow/providers"
)

// scopes returns what is stored of the scopes of all providers.
func (s *Store) scopes(ctx context.Context) (map[string][]fleet.ScopeLimits, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT provider, scope, limits_learned, limits_pinned, limits_pinned_by, limits_pinned_at, CASE WHEN blocked_until > now() THEN blocked_until END, blocked_reason
		FROM limit_scopes
		ORDER BY provider, scope`)
	if err != nil {
		return nil, fmt.Errorf("read the limits of scopes: %w", err)
	}
	all := map[string][]fleet.ScopeLimits{}
	var provider string
	var pinned, blocked *time.Time
	var one fleet.ScopeLimits
	_, err = pgx.ForEachRow(rows, []any{&provider, &one.Scope, &one.Learned, &one.Pinned, &one.PinnedBy, &pinned, &blocked, &one.BlockedReason}, func() error {
		one.PinnedAt, one.BlockedUntil = timeOrZero(pinned), timeOrZero(blocked)
		if len(one.Pinned) == 0 {
			one.Pinned = nil
		}
		all[provider] = append(all[provider], one)
		one = fleet.ScopeLimits{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the limits of scopes: %w", err)
	}
	return all, nil
}

// maxScopes bounds the scopes that are kept of one provider: what is beyond is learned by
// each worker for itself.
const maxScopes = 1000

func (s *Store) learnScope(ctx context.Context, provider string, l fleet.Learned, learned map[providers.Dimension]int64, blocked *time.Time) error {
	return s.change(ctx, "learn", provider, `
		WITH known AS (
			SELECT name
			FROM providers
			WHERE name = $1
		), written AS (
			INSERT INTO limit_scopes AS s (provider, scope, limits_learned, limits_learned_at, blocked_until, blocked_reason)
			SELECT name, $2, $3::jsonb, CASE WHEN $3::jsonb <> '{}' THEN now() END, $4::timestamptz, CASE WHEN $4::timestamptz IS NULL THEN '' ELSE $5 END
			FROM known
			WHERE (SELECT count(*) FROM limit_scopes x WHERE x.provider = $1) < $6
			OR EXISTS (SELECT FROM limit_scopes x WHERE x.provider = $1 AND x.scope = $2)
			ON CONFLICT (provider, scope) DO UPDATE
			SET limits_learned = s.limits_learned || excluded.limits_learned,
				limits_learned_at = coalesce(excluded.limits_learned_at, s.limits_learned_at),
				blocked_reason = CASE WHEN excluded.blocked_until > coalesce(s.blocked_until, '-infinity') THEN excluded.blocked_reason ELSE s.blocked_reason END,
				blocked_until = greatest(s.blocked_until, excluded.blocked_until)
		)
		SELECT FROM known`, l.Scope, learned, blocked, l.Reason, maxScopes)
}

// pinScope pins limits of a scope; those that are pinned already and not named stay.
func (s *Store) pinScope(ctx context.Context, provider, scope string, pins map[providers.Dimension]int64, by string) error {
	return s.change(ctx, "set limits", provider, `
		WITH known AS (
			SELECT name
			FROM providers
			WHERE name = $1
		), written AS (
			INSERT INTO limit_scopes AS s (provider, scope, limits_pinned, limits_pinned_by, limits_pinned_at)
			SELECT name, $2, $3::jsonb, $4, now()
			FROM known
			ON CONFLICT (provider, scope) DO UPDATE
			SET limits_pinned = s.limits_pinned || excluded.limits_pinned, limits_pinned_by = excluded.limits_pinned_by, limits_pinned_at = now()
		)
		SELECT FROM known`, scope, pins, by)
}

// resetScope forgets what was pinned and learned of a class of models, with each key.
func (s *Store) resetScope(ctx context.Context, provider, class string) error {
	return s.change(ctx, "reset limits", provider, `
		WITH scopes AS (DELETE FROM limit_scopes WHERE provider = $1 AND (scope = $2 OR starts_with(scope, $2 || '@')))
		SELECT FROM providers WHERE name = $1`, class)
}

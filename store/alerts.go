package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

const boundColumns = `provider, model, percent, coalesce(stopped_at, '0001-01-01 00:00:00Z') AS stopped_at, reserved_nano AS reserved,
	cost_nano AS cost, changed_by AS by`

// Bounds implements worker.MoneyStore.
func (s *Store) Bounds(ctx context.Context) ([]billing.Bound, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+boundColumns+` FROM bounds ORDER BY provider, model`)
	if err != nil {
		return nil, fmt.Errorf("read the bounds of models: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[billing.Bound])
	if err != nil {
		return nil, fmt.Errorf("read the bounds of models: %w", err)
	}
	return list, nil
}

// RaiseBound implements billing.BudgetStore.
func (s *Store) RaiseBound(ctx context.Context, b billing.Bound) error {
	err := s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO bounds (provider, model, percent, changed_by, changed_at)
			VALUES ($1, $2, $3, $4, now())
			ON CONFLICT (provider, model) DO UPDATE
			SET percent = excluded.percent, stopped_at = NULL, changed_by = excluded.changed_by, changed_at = excluded.changed_at`,
			b.Provider, b.Model, b.Percent, b.By)
		if err != nil {
			return err
		}
		return wake(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("raise the bound of %s at %s: %w", b.Model, b.Provider, err)
	}
	return nil
}

// WrongLedgers implements worker.MoneyStore. One statement sees a wallet and its ledger at
// one moment, and they change in one commit.
func (s *Store) WrongLedgers(ctx context.Context) ([]billing.LedgerError, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT b.account, b.limit_nano - b.spent_nano AS balance, saturated(coalesce(l.sum, 0)) AS sum
		FROM budgets b
		LEFT JOIN (SELECT account, sum(amount_nano) AS sum FROM ledger_entries GROUP BY account) l ON l.account = b.account
		WHERE b.wallet AND b.limit_nano - b.spent_nano <> coalesce(l.sum, 0)
		ORDER BY b.account`)
	if err != nil {
		return nil, fmt.Errorf("compare wallets with their ledgers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[billing.LedgerError])
	if err != nil {
		return nil, fmt.Errorf("compare wallets with their ledgers: %w", err)
	}
	return list, nil
}

// HourlyCost implements worker.MoneyStore.
func (s *Store) HourlyCost(ctx context.Context) (h billing.HourlyCost, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT count(*), saturated(coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY cost), 0)),
			(SELECT saturated(coalesce(sum(cost_nano), 0)) FROM provider_metrics WHERE minute > now() - interval '1 hour')
		FROM (
			SELECT sum(cost_nano) AS cost
			FROM spending
			WHERE NOT simulated AND hour >= now() - interval '7 days' AND hour < date_trunc('hour', now() - interval '1 hour')
			GROUP BY hour
			HAVING sum(cost_nano) > 0
		) h`).Scan(&h.Hours, &h.Usual, &h.Last)
	if err != nil {
		return h, fmt.Errorf("compare what the last hour cost: %w", err)
	}
	return h, nil
}

// RaiseAlerts implements worker.MoneyStore.
func (s *Store) RaiseAlerts(ctx context.Context, kinds []string, now []jobs.Alert, webhook string) (opened, over []jobs.Alert, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		opened, over = nil, nil
		rows, err := tx.Query(ctx, `SELECT `+alertColumns+` FROM alerts WHERE closed_at IS NULL AND kind = ANY ($1) ORDER BY id FOR UPDATE`, kinds)
		if err != nil {
			return err
		}
		open, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Alert])
		if err != nil {
			return err
		}
		for _, o := range open {
			i := slices.IndexFunc(now, func(a jobs.Alert) bool { return a.Kind == o.Kind && a.Subject == o.Subject })
			if i >= 0 && now[i].Level <= o.Level {
				continue
			}
			err := tx.QueryRow(ctx, `UPDATE alerts SET closed_at = now(), graver = $2 WHERE id = $1 RETURNING closed_at`, o.ID, i >= 0).Scan(&o.ClosedAt)
			if err != nil {
				return err
			}
			if i < 0 {
				over = append(over, o)
			}
		}
		for _, a := range now {
			err := tx.QueryRow(ctx, `
				INSERT INTO alerts (kind, subject, level, text)
				VALUES ($1, $2, $3, $4)
				ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO NOTHING
				RETURNING id, opened_at`, a.Kind, a.Subject, a.Level, a.Text).Scan(&a.ID, &a.OpenedAt)
			switch {
			case err == nil:
				opened = append(opened, a)
			case err != pgx.ErrNoRows: //nolint:errorlint // of this very call
				return err
			}
		}
		return tellOfAlerts(ctx, tx, webhook, opened, over)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("raise alerts: %w", err)
	}
	return opened, over, nil
}

// tellOfAlerts adds the events of alerts that were opened, and that are over.
func tellOfAlerts(ctx context.Context, tx pgx.Tx, webhook string, opened, over []jobs.Alert) error {
	if webhook == "" {
		return nil
	}
	for kind, list := range map[string][]jobs.Alert{"alert.opened": opened, "alert.closed": over} {
		for _, a := range list {
			if err := addWebhook(ctx, tx, webhook, kind, a.Kind+" "+a.Subject, a); err != nil {
				return err
			}
		}
	}
	return nil
}

const alertColumns = `id, kind, subject, level, text, opened_at, coalesce(closed_at, '0001-01-01 00:00:00Z') AS closed_at`

// Alerts returns the newest alerts first: those that are open, or all.
func (s *Store) Alerts(ctx context.Context, all bool, limit int) ([]jobs.Alert, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+alertColumns+`
		FROM alerts
		WHERE $1 OR closed_at IS NULL
		ORDER BY opened_at DESC, id DESC
		LIMIT $2`, all, limit)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobs.Alert])
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	return list, nil
}

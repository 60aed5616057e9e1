package store

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/billing"
	"oneflow/jobs"
)

var _ billing.BudgetStore = (*Store)(nil)

// SetBudget implements billing.BudgetStore. Calls wait while it sums up what was spent
// in the present period, so that none is left out; those under way reserve in it from
// now on.
func (s *Store) SetBudget(ctx context.Context, b billing.Budget) (set billing.Budget, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		// Whoever begins a call holds a lock on this table until its row is committed, and
		// whoever comes after this commit sees the budget.
		if _, err := tx.Exec(ctx, `LOCK TABLE calls IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		var id int64
		var made bool
		err := tx.QueryRow(ctx, `
			INSERT INTO budgets AS b (account, provider, model, batch_id, simulated, wallet, period, timezone, limit_nano, blocks,
				changed_by, tag, began_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '-infinity')
			ON CONFLICT (account, provider, model, batch_id, tag, period, wallet, simulated) DO UPDATE
			SET timezone = excluded.timezone, limit_nano = excluded.limit_nano, blocks = excluded.blocks,
				changed_by = excluded.changed_by, changed_at = now(), stopped_until = NULL
			RETURNING id, xmax = 0`,
			b.Account, b.Provider, b.Model, b.Batch, b.Simulated, b.Wallet, b.Period, b.Zone, b.Limit, b.Blocks, b.By, b.Tag).Scan(&id, &made)
		if err != nil {
			return err
		}
		// A wallet counts from its beginning; what another budget counts follows from
		// the ledger of calls, also after its time zone was changed.
		if !b.Wallet {
			if _, err := tx.Exec(ctx, countSQL, id); err != nil {
				return err
			}
		}
		if err := wake(ctx, tx); err != nil {
			return err
		}
		set, err = s.budget(ctx, tx, id)
		return err
	})
	if err != nil {
		return set, fmt.Errorf("set the %s: %w", b, err)
	}
	return set, nil
}

// countSQL makes the sums of the budget $1 those of the calls that it holds for, and
// has those under way reserve in it. What was counted before stays, also where the jobs
// of the calls have been removed since.
const countSQL = `
	WITH b AS (
		SELECT b.*, ` + budgetBegan + ` AS period_began
		FROM budgets b
		WHERE b.id = $1
	), matched AS (
		SELECT c.id, c.state, c.reserved_nano, c.cost_nano, b.period_began
		FROM b
		JOIN calls c ON c.simulated = b.simulated
			AND (c.state = 'running' OR c.finished_at >= b.period_began)
			AND c.started_at >= b.period_began
			AND b.provider IN ('', c.provider)
			AND b.model IN ('', c.model)
		WHERE b.account = '' AND b.batch_id = '' AND b.tag = ''
		OR EXISTS (SELECT FROM charges h WHERE h.call_id = c.id AND h.budget_id = b.id)
		OR EXISTS (
			SELECT
			FROM call_jobs cj
			JOIN jobs j ON j.id = cj.job_id
			WHERE cj.call_id = c.id AND b.account IN ('', j.account) AND b.batch_id IN ('', j.batch_id) AND ` + tagged + `)
	), gone AS (
		DELETE FROM charges h
		WHERE h.budget_id = $1 AND h.call_id NOT IN (SELECT id FROM matched)
	), counted AS (
		INSERT INTO charges (call_id, budget_id, wallet, began_at, reserved_nano, spent_nano)
		SELECT id, $1, false, period_began, CASE WHEN state = 'running' THEN coalesce(reserved_nano, 0) ELSE 0 END, coalesce(cost_nano, 0)
		FROM matched
		ON CONFLICT (call_id, budget_id) DO UPDATE SET began_at = excluded.began_at
	)
	UPDATE budgets b
	SET began_at = ` + budgetBegan + `,
		spent_nano = saturated(b.forgotten_nano + m.spent),
		reserved_nano = saturated(m.reserved)
	FROM (
		SELECT coalesce(sum(cost_nano), 0) AS spent, coalesce(sum(reserved_nano) FILTER (WHERE state = 'running'), 0) AS reserved
		FROM matched
	) m
	WHERE b.id = $1`

// wake has what waits for money dispatched anew, at once.
func wake(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		UPDATE job_states s
		SET gen = s.gen + 1, not_before = NULL, wait_reason = ''
		FROM (
			SELECT job_id
			FROM job_states
			WHERE job_id IN (SELECT job_id FROM job_queue WHERE worker_id IS NULL AND not_before > now())
			AND state = 'queued' AND (starts_with(wait_reason, 'budget: ') OR starts_with(wait_reason, 'bound: '))
			ORDER BY job_id
			FOR NO KEY UPDATE SKIP LOCKED
		) waiting
		WHERE s.job_id = waiting.job_id`)
	return err
}

func (s *Store) budget(ctx context.Context, tx pgx.Tx, id int64) (billing.Budget, error) {
	rows, err := tx.Query(ctx, `SELECT `+budgetColumns+` FROM budgets b WHERE id = $1`, id)
	if err != nil {
		return billing.Budget{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanBudget)
}

// RemoveBudget implements billing.BudgetStore.
func (s *Store) RemoveBudget(ctx context.Context, id int64) error {
	err := s.begin(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM budgets WHERE id = $1 AND NOT wallet`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return billing.ErrNoBudget
		}
		return wake(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("remove the budget %d: %w", id, err)
	}
	return nil
}

// Budgets implements billing.BudgetStore.
func (s *Store) Budgets(ctx context.Context) ([]billing.Budget, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+budgetColumns+`
		FROM budgets b
		ORDER BY wallet, account, provider, model, batch_id, tag, array_position('{hour,day,week,month,total}', period), id`)
	if err != nil {
		return nil, fmt.Errorf("read budgets: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanBudget)
	if err != nil {
		return nil, fmt.Errorf("read budgets: %w", err)
	}
	return list, nil
}

// Deposit implements billing.BudgetStore. A deposit and its row in the ledger are one
// commit; the wallet's lock keeps two withdrawals from taking the same money.
func (s *Store) Deposit(ctx context.Context, account string, amount billing.NanoUSD, note, by string) (wallet billing.Budget, err error) {
	return s.DepositOnce(ctx, jobs.NewID(), account, amount, note, by)
}

// DepositOnce implements billing.BudgetStore.
func (s *Store) DepositOnce(ctx context.Context, key uuid.UUID, account string, amount billing.NanoUSD, note, by string) (wallet billing.Budget, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		// As in SetBudget: from its first deposit on, no call of the account passes by.
		if _, err := tx.Exec(ctx, `LOCK TABLE calls IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO budgets (account, wallet, period, limit_nano, changed_by, began_at)
			VALUES ($1, true, 'total', 0, $2, '-infinity')
			ON CONFLICT DO NOTHING`, account, by)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT `+budgetColumns+` FROM budgets b WHERE account = $1 AND wallet FOR NO KEY UPDATE`, account)
		if err != nil {
			return err
		}
		if wallet, err = pgx.CollectExactlyOneRow(rows, scanBudget); err != nil {
			return err
		}
		if amount == 0 {
			return nil
		}
		// A repetition is not refused for what the first one left of the balance.
		var paid billing.NanoUSD
		var to string
		switch err := tx.QueryRow(ctx, `SELECT account, amount_nano FROM ledger_entries WHERE key = $1`, key).Scan(&to, &paid); {
		case err == nil && (to != account || paid != amount):
			return billing.ErrOtherDeposit
		case err == nil:
			return nil
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		if amount < 0 && wallet.Left()+amount < 0 {
			return fmt.Errorf("%w: %s is free of %s", billing.ErrOverdrawn, max(wallet.Left(), 0).Exact(), (wallet.Limit - wallet.Spent).Exact())
		}
		if amount > billing.MaxPaidIn-wallet.Limit {
			return fmt.Errorf("%w: %s were paid in, and at most %s may be in all", billing.ErrBadOrder, wallet.Limit.Human(), billing.MaxPaidIn.Human())
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO ledger_entries (key, account, amount_nano, note, entered_by)
			VALUES ($1, $2, $3, $4, $5)`, key, account, amount, sanitise(note), by)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE budgets
			SET limit_nano = limit_nano + $2, changed_by = $3, changed_at = now(), stopped_until = NULL
			WHERE id = $1`, wallet.ID, amount, by)
		if err != nil {
			return err
		}
		wallet.Limit += amount
		wallet.By = by
		return wake(ctx, tx)
	})
	if err != nil {
		return wallet, fmt.Errorf("the wallet of account %s: %w", account, err)
	}
	return wallet, nil
}

// SetCard implements billing.BudgetStore. Calls under way are charged by the card that
// they began with.
func (s *Store) SetCard(ctx context.Context, account string, card *billing.Card, by string) (wallet billing.Budget, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			UPDATE budgets b
			SET card = $2, changed_by = $3, changed_at = now(), stopped_until = NULL
			WHERE account = $1 AND wallet
			RETURNING `+budgetColumns, account, card, by)
		if err != nil {
			return err
		}
		if wallet, err = pgx.CollectExactlyOneRow(rows, scanBudget); errors.Is(err, pgx.ErrNoRows) {
			return billing.ErrNoWallet
		} else if err != nil {
			return err
		}
		return wake(ctx, tx)
	})
	if err != nil {
		return wallet, fmt.Errorf("the wallet of account %s: %w", account, err)
	}
	return wallet, nil
}

// Statement returns the newest rows of an account's ledger, the newest first. It fails
// with billing.ErrNoWallet.
func (s *Store) Statement(ctx context.Context, account string, limit int) ([]billing.Entry, error) {
	return s.StatementBefore(ctx, account, math.MaxInt64, limit)
}

// StatementBefore implements billing.BudgetStore.
func (s *Store) StatementBefore(ctx context.Context, account string, before int64, limit int) ([]billing.Entry, error) {
	var there bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM budgets WHERE account = $1 AND wallet)`, account).Scan(&there)
	if err == nil && !there {
		err = billing.ErrNoWallet
	}
	if err != nil {
		return nil, fmt.Errorf("the wallet of account %s: %w", account, err)
	}
	rows, err := s.pool.Query(ctx, `
		SELECT e.id, e.at, e.amount_nano AS amount, sum(e.amount_nano) OVER (ORDER BY e.id)::bigint AS balance,
			coalesce(e.call_id::text, '') AS call, c.cost_nano AS cost, e.note, e.entered_by AS by
		FROM ledger_entries e
		LEFT JOIN calls c ON c.id = e.call_id
		WHERE e.account = $1 AND e.id < $3
		ORDER BY e.id DESC
		LIMIT $2`, account, limit, before)
	if err != nil {
		return nil, fmt.Errorf("the wallet of account %s: %w", account, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[billing.Entry])
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("the wallet of account %s: %w", account, err)
	}
	return list, nil
}

package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"oneflow/billing"
)

// Funds returns what an account has for new jobs; limited is false where it has no
// wallet.
func (s *Store) Funds(ctx context.Context, account string) (f billing.Funds, limited bool, err error) {
	f.Account = account
	err = s.pool.QueryRow(ctx, `
		SELECT limit_nano - spent_nano, reserved_nano, card
		FROM budgets
		WHERE wallet AND account = $1`, account).Scan(&f.Balance, &f.Reserved, &f.Card)
	if errors.Is(err, pgx.ErrNoRows) {
		return f, false, nil
	}
	if err == nil {
		err = s.pool.QueryRow(ctx, `
			SELECT saturated(coalesce(sum(j.least_nano), 0))
			FROM job_queue q
			JOIN jobs j ON j.id = q.job_id
			WHERE q.account = $1 AND q.worker_id IS NULL`, account).Scan(&f.Waiting)
	}
	if err != nil {
		return f, false, fmt.Errorf("the funds of account %s: %w", account, err)
	}
	return f, true, nil
}

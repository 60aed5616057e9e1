package store

import "context"

// The bounds of a budget's period, for tests with a clock of their own.
const (
	BudgetBegan = budgetBegan
	BudgetEnds  = budgetEnds
)

// TellStatistics has the idle server processes of the Store tell at once what they have read, which they do
// once a second at most.
func (s *Store) TellStatistics(ctx context.Context) error {
	s.beginsOn.close()
	s.succeedOn.close()
	for _, c := range s.pool.AcquireAllIdle(ctx) {
		_, err := c.Exec(ctx, `SELECT pg_stat_force_next_flush()`)
		c.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

package store

import (
	"context"
	"fmt"
)

// Warm implements worker.PresenceStore. Of no jobs the statements and their triggers do nothing.
func (s *Store) Warm(ctx context.Context) error {
	if _, err := s.claimMany(ctx, nil); err != nil {
		return err
	}
	p := pipeline()
	p.Queue(takeSQL, append(beginColumns(nil), []string{}, false, []int{}, []string{})...)
	p.Queue(beginSQL, append(beginColumns(nil), []string{}, false, []string{})...)
	if err := s.beginsOn.send(ctx, p); err != nil {
		return fmt.Errorf("begin calls: %w", err)
	}
	_, err := s.succeedMany(ctx, nil)
	return err
}

// Package sleep waits. time.Sleep cannot be interrupted, and a program that waits
// here can be stopped.
//
// It may import nothing of ours.
package sleep

import (
	"context"
	"time"
)

// For waits for d, or until ctx ends, whose error it returns then. It does not wait
// where d is not positive.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

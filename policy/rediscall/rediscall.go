// Package rediscall asks Redis within a bounded time, for the limiter and the breaker:
// where Redis cannot be asked, calls to providers stop, and nobody waits for the
// client's own time-outs and retries. It imports nothing of OneFlow.
package rediscall

import (
	"context"
	"time"
)

// Timeout is the time that Redis may take to answer before it counts as unavailable.
const Timeout = 2 * time.Second

// UnavailableError says that Redis cannot be asked, or does not know what it must.
type UnavailableError struct{ Err error }

// Error says why.
func (e *UnavailableError) Error() string { return "Redis cannot be asked: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Do returns what ask returns, and waits for it no longer than Timeout. It fails with
// *UnavailableError, or with ctx's error where ctx has ended; ask may go on then.
func Do[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	type answer struct {
		out T
		err error
	}
	limit, cancel := context.WithTimeout(ctx, Timeout)
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		out, err := ask(limit)
		done <- answer{out, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-limit.Done():
		select {
		case a = <-done: // the end of ask ends limit, too
		default:
			a.err = limit.Err()
		}
	}
	switch {
	case a.err == nil:
		return a.out, nil
	case ctx.Err() != nil:
		return a.out, ctx.Err()
	}
	return a.out, &UnavailableError{a.err}
}

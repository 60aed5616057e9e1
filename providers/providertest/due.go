package providertest

import (
	"context"
	"sync"
)

// Due returns a context whose deadline passes when end is called, and not by a clock: a busy
// machine may take longer than any short time before a call has been sent.
func Due(ctx context.Context) (due context.Context, end func()) {
	d := dueContext{Context: ctx, done: make(chan struct{})}
	end = sync.OnceFunc(func() { close(d.done) })
	context.AfterFunc(ctx, end)
	return d, end
}

type dueContext struct {
	context.Context //nolint:containedctx // it is one
	done            chan struct{}
}

// Done implements context.Context.
func (d dueContext) Done() <-chan struct{} { return d.done }

// Err implements context.Context.
func (d dueContext) Err() error {
	select {
	case <-d.done:
		if err := d.Context.Err(); err != nil {
			return err
		}
		return context.DeadlineExceeded
	default:
		return nil
	}
}

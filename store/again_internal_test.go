package store

import (
	"context"
	"errors"
	"net"
	"testing"

	"oneflow/jobs"
)

// Whoever is interrupted is told so, whatever the connection says of it; a refusal stays one.
func TestAnInterruptionIsToldAsOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err         error
		interrupted bool
	}{
		"a connection that was closed for it": {&net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}, true},
		"its own error":                       {context.Canceled, true},
		"a refusal":                           {jobs.ErrBatchCancelled, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			err := again(ctx, func() error {
				cancel()
				return c.err
			})
			if !errors.Is(err, c.err) || errors.Is(err, context.Canceled) != c.interrupted {
				t.Errorf("%v, want it to be an interruption: %t", err, c.interrupted)
			}
		})
	}
}

package wire_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func TestABodyIsReadUpToItsLimit(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]error{0: nil, 1: nil, 5000: nil, 9999: nil, 10_000: nil, 10_001: wire.ErrTooLarge, 1 << 20: wire.ErrTooLarge} {
		data, err := wire.ReadBody(t.Context(), io.NopCloser(iotest.HalfReader(strings.NewReader(strings.Repeat("x", n)))), 10_000, time.Minute)
		if !errors.Is(err, want) || len(data) != min(n, 10_000) {
			t.Errorf("%d bytes: read %d, error %v", n, len(data), err)
		}
	}
}

func TestABodyThatBreaksOffIsToldFromOneThatEnds(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	data, err := wire.ReadBody(t.Context(), io.NopCloser(broken), 100, time.Minute)
	if string(data) != "half" || !errors.Is(err, wire.ErrTruncated) {
		t.Errorf("got %q, %v", data, err)
	}
	other := errors.New("other")
	if _, err := wire.ReadBody(t.Context(), io.NopCloser(iotest.ErrReader(other)), 100, 0); !errors.Is(err, other) {
		t.Errorf("got %v", err)
	}
}

func TestABodyThatStandsStillIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() {
			// A trickle that keeps moving is read on; then nothing more comes.
			for range 5 {
				<-time.After(9 * time.Second)
				_, _ = io.WriteString(w, "x")
			}
		}()
		start := time.Now()
		data, err := wire.ReadBody(t.Context(), r, 100, 10*time.Second)
		if string(data) != "xxxxx" || !errors.Is(err, wire.ErrIdle) || time.Since(start) != 55*time.Second {
			t.Errorf("got %q, %v after %s", data, err, time.Since(start))
		}
		e := wire.Failure("mine", err, true)
		if e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown {
			t.Errorf("got %s, %s", e.Kind, e.Billing)
		}
	})
}

func TestTheContextEndsReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := wire.ReadBody(ctx, r, 100, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

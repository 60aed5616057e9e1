package sleep_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"oneflow/internal/sleep"
)

func TestASleepLastsItsTimeOrUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := sleep.For(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("slept %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := sleep.For(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("slept %v of an hour: %v", time.Since(began), err)
		}
		began = time.Now()
		if err := sleep.For(t.Context(), -time.Second); err != nil || time.Since(began) != 0 {
			t.Errorf("slept %v of less than nothing: %v", time.Since(began), err)
		}
	})
}

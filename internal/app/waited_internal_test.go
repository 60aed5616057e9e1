package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"oneflow/fleet"
)

func TestWaitsForSlotsAreToldOnceAlsoAfterAnOutageAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told, away := map[string]fleet.LimiterWaits{}, true
		w := &waited{log: zerolog.Nop(), add: func(_ context.Context, calls map[string]fleet.LimiterWaits) error {
			if away {
				return errors.New("away")
			}
			for p, c := range calls {
				told[p] = told[p].Plus(c)
			}
			return nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.run(ctx) }()
		w.note("openai", 0)
		w.note("openai", 7*time.Second)
		<-time.After(waitedEvery + time.Second)
		synctest.Wait()
		away = false
		w.note("openai", 7*time.Second)
		<-time.After(waitedEvery)
		synctest.Wait()
		if c := told["openai"]; c.Calls[0] != 1 || c.Calls[fleet.WaitBucket(7*time.Second)] != 2 || c.Seconds != 14 {
			t.Errorf("after the outage: %+v", told)
		}
		w.note("mock", 24*time.Hour)
		stop()
		<-done
		if c := told["mock"]; c.Calls[len(fleet.WaitBounds())] != 1 || told["openai"].Seconds != 14 {
			t.Errorf("at the end: %+v", told)
		}
	})
}

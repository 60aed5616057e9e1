package worker

import (
	"errors"
	"testing"
	"time"
)

func TestATaskComesAgainByRedisClockWhateverThisMachineShows(t *testing.T) {
	t.Parallel()
	s := newServers(Config{}, nil)
	s.ahead.Store(int64(10 * time.Minute))
	for _, c := range []struct {
		err  error
		want time.Duration
	}{{&requeue{after: 5 * time.Second}, 5*time.Second - 10*time.Minute}, {errors.New("boom"), shortWait - 10*time.Minute}} {
		if got := s.retryDelay(0, c.err, nil); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestAClockThatIsBehindPutsNothingOff(t *testing.T) {
	t.Parallel()
	theirs := time.Now()
	for ours, want := range map[time.Duration]time.Duration{-10 * time.Minute: 0, 0: 0, 900 * time.Millisecond: 0, 10 * time.Minute: 10 * time.Minute} {
		if got := aheadOf(theirs, theirs.Add(ours)); got != want {
			t.Errorf("%s: %s, want %s", ours, got, want)
		}
	}
}

package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"oneflow/fleet"
	"oneflow/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a LiveStore that may be away, and knows openai unless it is told
// otherwise.
type memory struct {
	mu       sync.Mutex
	away     bool
	settings map[string]fleet.Stored
	chains   map[providers.Task][]string
	learned  []fleet.Learned
	unknown  bool // openai
	added    []fleet.Configured
}

var errAway = errors.New("away")

func (m *memory) Settings(context.Context) (map[string]fleet.Stored, map[providers.Task][]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, nil, errAway
	}
	return m.settings, m.chains, nil
}

func (m *memory) Learn(_ context.Context, _ string, l fleet.Learned) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	if m.unknown {
		return fleet.ErrUnknownProvider
	}
	m.learned = append(m.learned, l)
	return nil
}

func (m *memory) AddProvider(_ context.Context, p fleet.Configured) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	m.unknown, m.added = false, append(m.added, p)
	return nil
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func TestWhatPeopleSetHoldsWithinASecondAndOutlivesPostgres(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &memory{away: true}
		var log bytes.Buffer
		configured := providers.Limits{RPM: 60, TPM: 9000}
		c := fleet.NewLiveSettings(t.Context(), fleet.LiveConfig{
			Store: store, Log: zerolog.New(&log), Config: fleet.Config{
				Providers: map[string]fleet.Configured{"openai": {Name: "openai", Limits: configured}},
				Chains:    map[providers.Task][]string{providers.Text: {"openai"}},
			},
		})
		defer c.Close()
		check := func(what string, limits providers.Limits, status fleet.Status, chain ...string) {
			t.Helper()
			got := c.Settings("openai")
			if diff := cmp.Diff(limits, got.Limits); diff != "" || got.Status != status {
				t.Errorf("%s: %q, limits (-want +got):\n%s", what, got.Status, diff)
			}
			if diff := cmp.Diff(chain, c.Chain(providers.Text)); diff != "" {
				t.Errorf("%s: chain (-want +got):\n%s", what, diff)
			}
		}
		check("before the first poll", configured, fleet.Available, "openai")
		pass(10 * time.Second)
		check("while Postgres is away", configured, fleet.Available, "openai")

		inForce := providers.Limits{RPM: 5, TPM: 9000}
		set := fleet.Stored{Status: fleet.Unavailable, LimitLayers: fleet.LimitLayers{Learned: providers.Limits{RPM: 5}}}
		store.set(func(m *memory) {
			m.away, m.settings = false, map[string]fleet.Stored{"openai": set}
			m.chains = map[providers.Task][]string{providers.Text: {"mock", "openai"}}
		})
		pass(time.Second + time.Millisecond)
		check("a second later", inForce, fleet.Unavailable, "mock", "openai")
		store.set(func(m *memory) { m.away = true })
		pass(time.Minute)
		check("a minute without Postgres", inForce, fleet.Unavailable, "mock", "openai")
		if n := strings.Count(log.String(), "settings not read"); n != 2 {
			t.Errorf("two outages were logged %d times:\n%s", n, log.String())
		}
		// What is taken back is as configured again.
		store.set(func(m *memory) { m.away, m.chains = false, nil })
		pass(2 * time.Second)
		if got := c.Chain(providers.Text); len(got) != 1 || got[0] != "openai" {
			t.Errorf("chain after it was reset: %q", got)
		}
	})
}

func TestWhatIsLearnedIsMergedAndWrittenOnceItCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &memory{away: true}
		c := fleet.NewLiveSettings(t.Context(), fleet.LiveConfig{Store: store, Log: zerolog.Nop()})
		early, late := time.Now().Add(time.Second), time.Now().Add(time.Hour)
		c.Learn("openai", fleet.Learned{Limits: providers.Limits{RPM: 500, TPM: 7}, BlockedUntil: late, Breaker: fleet.BreakerOpen, Reason: "old"})
		pass(5 * time.Second)
		c.Learn("openai", fleet.Learned{Limits: providers.Limits{RPM: 400}, BlockedUntil: early, OutOfMoney: true})
		c.Learn("openai", fleet.Learned{Breaker: fleet.BreakerHalfOpen, Reason: "new"})
		pass(time.Minute)
		store.set(func(m *memory) { m.away = false })
		pass(time.Minute)
		want := []fleet.Learned{{
			Limits: providers.Limits{RPM: 400, TPM: 7}, BlockedUntil: late, OutOfMoney: true, Breaker: fleet.BreakerHalfOpen, Reason: "new",
		}}
		if diff := cmp.Diff(want, store.learned); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		// However much is learned, it is written once a second, and the last at the end.
		for range 1000 {
			c.Learn("openai", fleet.Learned{Limits: providers.Limits{RPM: 1}})
			pass(time.Millisecond)
		}
		c.Learn("openai", fleet.Learned{Limits: providers.Limits{RPM: 77}})
		c.Close()
		if n := len(store.learned); n > 4 || store.learned[n-1].Limits.RPM != 77 {
			t.Errorf("written %d times, at last %+v", n, store.learned[n-1])
		}
	})
}

func TestALiftedBlockIsForgottenAndOneThatEndsIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := func(blocked time.Duration, concurrent int64) func(*memory) {
			s := fleet.Stored{LimitLayers: fleet.LimitLayers{Learned: providers.Limits{Concurrent: concurrent}}}
			if blocked > 0 {
				s.BlockedUntil = time.Now().Add(blocked)
			}
			return func(m *memory) { m.settings = map[string]fleet.Stored{"openai": s} }
		}
		store := &memory{}
		store.set(at(time.Hour, 3))
		c := fleet.NewLiveSettings(t.Context(), fleet.LiveConfig{Store: store, Log: zerolog.Nop()})
		defer c.Close()
		var lifted atomic.Int64
		c.OnUnblock(func(provider string, _ []string) {
			if provider == "openai" {
				lifted.Add(1)
			}
		})
		for i, step := range []struct {
			change func(*memory)
			want   int64
		}{
			{at(2*time.Hour, 3), 0}, // for longer
			{at(2*time.Hour, 2), 0}, // a refusal showed that it is less
			{at(0, 2), 1},           // by hand, before its time
			{at(3*time.Second, 2), 1},
		} {
			store.set(step.change)
			pass(2 * time.Second)
			if n := lifted.Load(); n != step.want {
				t.Errorf("step %d: lifted %d times, want %d", i, n, step.want)
			}
		}
		pass(2 * time.Second)
		store.set(at(0, 2)) // it has ended by itself
		pass(2 * time.Second)
		if lifted.Load() != 1 {
			t.Errorf("a block that had ended was lifted")
		}
		store.set(at(0, 5))
		pass(2 * time.Second)
		if lifted.Load() != 2 {
			t.Error("more calls at once, and it was not told")
		}
	})
}

func TestAConfiguredLimitHoldsWhateverTheRowSays(t *testing.T) {
	t.Parallel()
	const rpm, tpm, concurrent = providers.DimensionRPM, providers.DimensionTPM, providers.DimensionConcurrent
	own := fleet.Configured{Name: "openai", Limits: providers.Limits{RPM: 60, TPM: 9000}, Written: []providers.Dimension{tpm}}
	for name, c := range map[string]struct {
		row  fleet.LimitLayers
		want providers.Limits
	}{
		"no limits":            {fleet.LimitLayers{}, providers.Limits{RPM: 60, TPM: 9000}},
		"higher ones":          {fleet.LimitLayers{Configured: providers.Limits{RPM: 600, TPM: 10_000}, Written: []providers.Dimension{rpm, tpm}}, providers.Limits{RPM: 60, TPM: 9000}},
		"lower ones":           {fleet.LimitLayers{Configured: providers.Limits{RPM: 6, TPM: 900}}, providers.Limits{RPM: 6, TPM: 900}},
		"one more":             {fleet.LimitLayers{Configured: providers.Limits{Concurrent: 3}, Written: []providers.Dimension{concurrent}}, providers.Limits{RPM: 60, TPM: 9000, Concurrent: 3}},
		"a higher one learned": {fleet.LimitLayers{Learned: providers.Limits{RPM: 500, TPM: 40_000}}, providers.Limits{RPM: 500, TPM: 9000}},
		"a lower one learned":  {fleet.LimitLayers{Learned: providers.Limits{RPM: 5, TPM: 40}}, providers.Limits{RPM: 5, TPM: 40}},
		"a pin":                {fleet.LimitLayers{Pinned: map[providers.Dimension]int64{rpm: 500, tpm: 0}}, providers.Limits{RPM: 500}},
	} {
		cfg := fleet.Config{Providers: map[string]fleet.Configured{"openai": own}}
		got := cfg.Settings(map[string]fleet.Stored{"openai": {LimitLayers: c.row}})["openai"].Limits
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("a row with %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatIsLearnedAboutAProviderThatNoWorkerRegisteredIsStoredWithItsLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &memory{unknown: true}
		own := fleet.Configured{Name: "openai", Limits: providers.Limits{RPM: 60}}
		c := fleet.NewLiveSettings(t.Context(), fleet.LiveConfig{
			Store: store, Log: zerolog.Nop(), Config: fleet.Config{Providers: map[string]fleet.Configured{"openai": own}},
		})
		c.Learn("openai", fleet.Learned{OutOfMoney: true})
		c.Close()
		if diff := cmp.Diff([]fleet.Configured{own}, store.added); diff != "" || len(store.learned) != 1 {
			t.Errorf("learned %+v, added (-want +got):\n%s", store.learned, diff)
		}
	})
}

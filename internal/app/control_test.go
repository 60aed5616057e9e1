package app_test

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

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a ControlStore that may be away.
type memory struct {
	mu       sync.Mutex
	away     bool
	settings map[string]providers.Settings
	chains   map[providers.Task][]string
	learned  []providers.Learned
}

var errAway = errors.New("away")

func (m *memory) Settings(context.Context) (map[string]providers.Settings, map[providers.Task][]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, nil, errAway
	}
	return m.settings, m.chains, nil
}

func (m *memory) Learn(_ context.Context, _ string, l providers.Learned) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	m.learned = append(m.learned, l)
	return nil
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(text), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestWhatPeopleSetHoldsWithinASecondAndOutlivesPostgres(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &memory{away: true}
		var log bytes.Buffer
		c := app.NewControl(t.Context(), app.ControlConfig{
			Store: store, Config: parse(t, "providers: {openai: {limits: {tpm: 9000}}}\nchains: {text: [openai]}"), Log: zerolog.New(&log),
		})
		defer c.Close()
		check := func(what string, limits providers.Limits, status providers.Status, chain ...string) {
			t.Helper()
			got := c.Settings("openai")
			if diff := cmp.Diff(limits, got.Limits); diff != "" || got.Status != status {
				t.Errorf("%s: %q, limits (-want +got):\n%s", what, got.Status, diff)
			}
			if diff := cmp.Diff(chain, c.Chain(providers.Text)); diff != "" {
				t.Errorf("%s: chain (-want +got):\n%s", what, diff)
			}
		}
		configured := providers.Limits{RPM: 60, TPM: 9000}
		check("before the first poll", configured, providers.Available, "openai")
		pass(10 * time.Second)
		check("while Postgres is away", configured, providers.Available, "openai")

		set := providers.Settings{Status: providers.Unavailable, Limits: providers.Limits{RPM: 5}}
		store.set(func(m *memory) {
			m.away, m.settings = false, map[string]providers.Settings{"openai": set}
			m.chains = map[providers.Task][]string{providers.Text: {"mock", "openai"}}
		})
		pass(time.Second + time.Millisecond)
		check("a second later", set.Limits, providers.Unavailable, "mock", "openai")
		store.set(func(m *memory) { m.away = true })
		pass(time.Minute)
		check("a minute without Postgres", set.Limits, providers.Unavailable, "mock", "openai")
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
		c := app.NewControl(t.Context(), app.ControlConfig{Store: store, Config: parse(t, ""), Log: zerolog.Nop()})
		early, late := time.Now().Add(time.Second), time.Now().Add(time.Hour)
		c.Learn("openai", providers.Learned{Limits: providers.Limits{RPM: 500, TPM: 7}, BlockedUntil: late, Breaker: providers.BreakerOpen, Reason: "old"})
		pass(5 * time.Second)
		c.Learn("openai", providers.Learned{Limits: providers.Limits{RPM: 400}, BlockedUntil: early, OutOfMoney: true})
		c.Learn("openai", providers.Learned{Breaker: providers.BreakerHalfOpen, Reason: "new"})
		pass(time.Minute)
		store.set(func(m *memory) { m.away = false })
		pass(time.Minute)
		want := []providers.Learned{{
			Limits: providers.Limits{RPM: 400, TPM: 7}, BlockedUntil: late, OutOfMoney: true, Breaker: providers.BreakerHalfOpen, Reason: "new",
		}}
		if diff := cmp.Diff(want, store.learned); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		// However much is learned, it is written once a second, and the last at the end.
		for range 1000 {
			c.Learn("openai", providers.Learned{Limits: providers.Limits{RPM: 1}})
			pass(time.Millisecond)
		}
		c.Learn("openai", providers.Learned{Limits: providers.Limits{RPM: 77}})
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
			s := providers.Settings{Limits: providers.Limits{Concurrent: concurrent}}
			if blocked > 0 {
				s.BlockedUntil = time.Now().Add(blocked)
			}
			return func(m *memory) { m.settings = map[string]providers.Settings{"openai": s} }
		}
		store := &memory{}
		store.set(at(time.Hour, 3))
		c := app.NewControl(t.Context(), app.ControlConfig{Store: store, Config: parse(t, ""), Log: zerolog.Nop()})
		defer c.Close()
		var lifted atomic.Int64
		c.OnUnblock(func(provider string) {
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

func TestAModelIsTranslatedForTheNextProvider(t *testing.T) {
	t.Parallel()
	m := app.NewModels(parse(t, `
providers:
  second: {kind: openai}
  claude: {kind: anthropic, models: {text: claude-sonnet-5}}
  vllm: {kind: openai, base_url: "http://localhost:1/v1", compatible: true, models: {text: llama}}
  bare: {kind: openai, base_url: "http://localhost:2/v1", compatible: true}
`))
	for _, c := range []struct {
		to          string
		task        providers.Task
		from, model string
		want        string // empty: it cannot
	}{
		{"openai", providers.Text, "openai", "gpt-4o", "gpt-4o"},
		{"second", providers.Text, "openai", "gpt-4o", "gpt-4o"},
		{"anthropic", providers.Text, "openai", "gpt-4o", "claude-sonnet-4-6"},
		{"anthropic", providers.Text, "openai", "something-new", "claude-haiku-4-5"},
		{"claude", providers.Text, "openai", "something-new", "claude-sonnet-5"},
		{"vllm", providers.Text, "openai", "gpt-4o", "llama"},
		{"bare", providers.Text, "openai", "gpt-4o", ""},
		{"openai", providers.Text, "vllm", "llama", "gpt-5.4-mini"},
		{"openai", providers.Image, "stability", "core", "gpt-image-1-mini"},
		{"elevenlabs", providers.Audio, "openai", "tts-1-hd", "eleven_multilingual_v2"},
		{"stability", providers.Text, "openai", "gpt-4o", ""},
		{"none", providers.Text, "openai", "gpt-4o", ""},
	} {
		got, ok := m.At(c.to, c.task, c.from, c.model)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s of %s at %s: got %q, %v, want %q", c.model, c.from, c.to, got, ok, c.want)
		}
	}
	if err := m.Check("stability", providers.Request{Task: providers.Image, Prompt: "p", N: 2}); err == nil {
		t.Error("stability takes n")
	}
}

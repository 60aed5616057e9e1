package fleet

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"oneflow/internal/sleep"
	"oneflow/providers"
)

// LiveStore keeps what operators order and workers learn.
type LiveStore interface {
	// Settings returns what is stored of each provider, and the chains that
	// operators have set.
	Settings(ctx context.Context) (map[string]Stored, map[providers.Task][]string, error)
	// Learn records what was learned about a provider. It fails with
	// ErrUnknownProvider.
	Learn(ctx context.Context, provider string, l Learned) error
	// AddProvider stores a provider that is not stored yet.
	AddProvider(ctx context.Context, p Configured) error
}

// LiveConfig configures a LiveSettings.
type LiveConfig struct {
	// Store is polled, and told what was learned. It is needed.
	Store LiveStore
	// Config holds until the first poll has succeeded, and for what nobody set.
	Config Config
	Log    zerolog.Logger
	// Every is the interval of polls, and the shortest between writes. Default: 1 s.
	Every time.Duration
}

const (
	pollEvery = time.Second
	// storeTimeout bounds one poll or one write.
	storeTimeout = 5 * time.Second
	// maxWriteBackoff is the longest wait before what was learned is written again.
	maxWriteBackoff = 30 * time.Second
)

// LiveSettings follows what operators order while a worker runs (limits, chains, and
// which providers are used) and writes what the worker learns. While Postgres is
// away the last that was known holds. It is safe for concurrent use, and reading
// it never waits.
type LiveSettings struct {
	cfg    LiveConfig
	now    atomic.Pointer[inForce]
	stop   context.CancelFunc
	loops  sync.WaitGroup
	wakeUp chan struct{}
	// unblock holds the function that OnUnblock has set; nil: none.
	unblock atomic.Pointer[func(provider string, scopes []string)]

	mu      sync.Mutex
	pending map[[2]string]Learned // not written yet, by provider and scope
}

// inForce holds the settings in force. It is never changed.
type inForce struct {
	settings map[string]Settings
	chains   map[providers.Task][]string
}

// NewLiveSettings polls once, so that orders hold from the first job on, and goes on in
// the background until Close. A poll that fails is logged and leaves the
// configuration in force.
func NewLiveSettings(ctx context.Context, cfg LiveConfig) *LiveSettings {
	if cfg.Every <= 0 {
		cfg.Every = pollEvery
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &LiveSettings{cfg: cfg, stop: stop, wakeUp: make(chan struct{}, 1), pending: map[[2]string]Learned{}}
	c.now.Store(c.compose(nil, nil))
	ok := c.poll(ctx, true)
	c.loops.Go(func() { c.keepPolling(life, ok) })
	c.loops.Go(func() { c.keepWriting(life) })
	return c
}

// Close stops polling and writes what was learned last, within 5 s.
func (c *LiveSettings) Close() {
	c.stop()
	c.loops.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	c.write(ctx)
}

// OnUnblock has do called, with the provider's scopes, when an operator has lifted a
// provider's block or a scope's, or given it more calls at once: the refusals of before
// count no longer. It must not wait long.
func (c *LiveSettings) OnUnblock(do func(provider string, scopes []string)) { c.unblock.Store(&do) }

// Settings returns what holds for a provider.
func (c *LiveSettings) Settings(provider string) Settings { return c.now.Load().settings[provider] }

// Chain returns the providers to ask for a task, in order; nil where there is none.
// It must not be changed.
func (c *LiveSettings) Chain(task providers.Task) []string { return c.now.Load().chains[task] }

// Learn takes what was learned about a provider. It does not wait: it is written
// in the background, together with what else is learned until then.
func (c *LiveSettings) Learn(provider string, l Learned) {
	c.mu.Lock()
	of := [2]string{provider, l.Scope}
	c.pending[of] = c.pending[of].merge(l)
	c.mu.Unlock()
	select {
	case c.wakeUp <- struct{}{}:
	default:
	}
}

// compose lays what is stored over the configuration.
func (c *LiveSettings) compose(stored map[string]Stored, chains map[providers.Task][]string) *inForce {
	now := &inForce{settings: c.cfg.Config.Settings(stored), chains: map[providers.Task][]string{}}
	maps.Copy(now.chains, c.cfg.Config.Chains)
	maps.Copy(now.chains, chains)
	return now
}

func (c *LiveSettings) keepPolling(ctx context.Context, ok bool) {
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ok = c.poll(ctx, ok)
		}
	}
}

// poll reads what holds now and reports whether that worked. worked is whether it
// did the last time: a long outage is logged once.
func (c *LiveSettings) poll(ctx context.Context, worked bool) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stored, chains, err := c.cfg.Store.Settings(ctx)
	if err != nil {
		if worked && ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Msg("settings not read: the last known ones stay in force")
		}
		return false
	}
	now := c.compose(stored, chains)
	before := c.now.Swap(now)
	for name, s := range now.settings {
		if do := c.unblock.Load(); do != nil && unblocked(before.settings[name], s) {
			(*do)(name, before.settings[name].Scopes())
		}
	}
	if !worked {
		c.cfg.Log.Info().Msg("settings are read again")
	}
	return true
}

// unblocked reports whether an operator lifted what refusals have brought about:
// workers themselves only ever block for longer.
func unblocked(before, now Settings) bool {
	for name, scope := range before.scopes {
		if scope.BlockedUntil.After(time.Now()) && now.scopes[name].BlockedUntil.IsZero() {
			return true
		}
	}
	return before.BlockedUntil.After(time.Now()) && now.BlockedUntil.IsZero() ||
		before.Limits.Concurrent > 0 && (now.Limits.Concurrent > before.Limits.Concurrent || now.Limits.Concurrent == 0)
}

// keepWriting writes what was learned, at most once in a while, and later and
// later while that fails.
func (c *LiveSettings) keepWriting(ctx context.Context) {
	for wait := c.cfg.Every; ; {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeUp:
		}
		if c.write(ctx) {
			wait = c.cfg.Every
		} else {
			wait = min(2*wait, maxWriteBackoff)
			select {
			case c.wakeUp <- struct{}{}:
			default:
			}
		}
		if sleep.For(ctx, wait) != nil {
			return
		}
	}
}

// write writes what was learned, and reports whether all of it is written. What
// is not is kept, under what has been learned since.
func (c *LiveSettings) write(ctx context.Context) (ok bool) {
	c.mu.Lock()
	news := c.pending
	c.pending = map[[2]string]Learned{}
	c.mu.Unlock()
	ok = true
	for of, l := range news {
		name := of[0]
		l.Scope = of[1]
		err := c.writeOne(ctx, name, l)
		if err == nil {
			continue
		}
		ok = false
		c.mu.Lock()
		c.pending[of] = l.merge(c.pending[of])
		c.mu.Unlock()
		if ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Str("provider", name).Msg("what was learned about a provider is not written yet")
		}
	}
	return ok
}

// writeOne writes what was learned about one provider. One that jobs only fall
// back to is not registered by a worker: its row is added first, with its limits.
func (c *LiveSettings) writeOne(ctx context.Context, name string, l Learned) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := c.cfg.Store.Learn(ctx, name, l)
	own, ok := c.cfg.Config.Providers[name]
	if !ok || !errors.Is(err, ErrUnknownProvider) {
		return err
	}
	if err := c.cfg.Store.AddProvider(ctx, own); err != nil {
		return err
	}
	return c.cfg.Store.Learn(ctx, name, l)
}

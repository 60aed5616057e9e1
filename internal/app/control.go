package app

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/providers"
	"oneflow/worker"
)

// ControlStore keeps what people set and workers learn. store.Store is one.
type ControlStore interface {
	// Settings returns what is known of each provider, and the chains that
	// people have set.
	Settings(ctx context.Context) (map[string]providers.Settings, map[providers.Task][]string, error)
	// Learn records what was learned about a provider.
	Learn(ctx context.Context, provider string, l providers.Learned) error
}

// ControlConfig is what a Control is made of.
type ControlConfig struct {
	// Store is polled, and told what was learned. It is needed.
	Store ControlStore
	// Config holds until the first poll has succeeded, and for what nobody set.
	Config config.Config
	Log    zerolog.Logger
	// Every is how often the store is polled, and how often at most it is told.
	// Default: 1 s.
	Every time.Duration
}

const (
	controlEvery = time.Second
	// controlTimeout is how long one poll or one write may take.
	controlTimeout = 5 * time.Second
	// controlBackoff is the longest wait before what was learned is written again.
	controlBackoff = 30 * time.Second
)

// Control is how people steer a worker while it runs: limits, chains, and which
// providers to leave alone. While Postgres is away the last that was known holds.
// It is safe for concurrent use, and reading it never waits.
type Control struct {
	cfg    ControlConfig
	now    atomic.Pointer[settled]
	stop   context.CancelFunc
	loops  sync.WaitGroup
	wakeUp chan struct{}
	// unblock is what OnUnblock has set; nil: nothing.
	unblock atomic.Pointer[func(provider string)]

	mu     sync.Mutex
	untold map[string]providers.Learned // by provider
}

// settled is what holds now. It is never changed.
type settled struct {
	settings map[string]providers.Settings
	chains   map[providers.Task][]string
}

// NewControl polls once, so that what people have set holds from the first job on,
// and goes on in the background until Close. A poll that fails is logged and
// leaves the configuration in force.
func NewControl(ctx context.Context, cfg ControlConfig) *Control {
	if cfg.Every <= 0 {
		cfg.Every = controlEvery
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Control{cfg: cfg, stop: stop, wakeUp: make(chan struct{}, 1), untold: map[string]providers.Learned{}}
	c.now.Store(c.configured())
	ok := c.poll(ctx, true)
	c.loops.Go(func() { c.keepPolling(life, ok) })
	c.loops.Go(func() { c.keepTelling(life) })
	return c
}

// Close stops polling and writes what was learned last, within 5 s.
func (c *Control) Close() {
	c.stop()
	c.loops.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	c.tell(ctx)
}

// OnUnblock has do called when a person has lifted a provider's block, or given it
// more calls at once: the refusals of before count no longer. It must not wait long.
func (c *Control) OnUnblock(do func(provider string)) { c.unblock.Store(&do) }

// Settings is what holds for a provider: what is configured, where nothing is
// known.
func (c *Control) Settings(provider string) providers.Settings {
	return c.now.Load().settings[provider]
}

// Chain is the providers to ask for a task, in order; nil where there is none.
// It must not be changed.
func (c *Control) Chain(task providers.Task) []string { return c.now.Load().chains[task] }

// Learn takes what was learned about a provider. It does not wait: it is written
// in the background, together with what else is learned until then.
func (c *Control) Learn(provider string, l providers.Learned) {
	c.mu.Lock()
	c.untold[provider] = merged(c.untold[provider], l)
	c.mu.Unlock()
	select {
	case c.wakeUp <- struct{}{}:
	default:
	}
}

// merged is what a and then b say.
func merged(a, b providers.Learned) providers.Learned {
	for _, d := range providers.Dimensions() {
		if n := b.Limits.Of(d); n > 0 {
			a.Limits = a.Limits.With(d, n)
		}
	}
	if b.BlockedUntil.After(a.BlockedUntil) {
		a.BlockedUntil = b.BlockedUntil
	}
	a.OutOfMoney = a.OutOfMoney || b.OutOfMoney
	if b.Breaker != "" {
		a.Breaker = b.Breaker
	}
	if b.Reason != "" {
		a.Reason = b.Reason
	}
	return a
}

// configured is what holds where nothing else is known.
func (c *Control) configured() *settled {
	s := &settled{settings: map[string]providers.Settings{}, chains: map[providers.Task][]string{}}
	for name, p := range c.cfg.Config.Providers {
		limits, _ := limitsOf(p)
		s.settings[name] = providers.Settings{Status: providers.Available, Limits: limits}
	}
	for task, chain := range c.cfg.Config.Chains {
		s.chains[providers.Task(task)] = chain
	}
	return s
}

func (c *Control) keepPolling(ctx context.Context, ok bool) {
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

// poll reads what holds now and tells whether that worked. was is whether it
// worked the last time: a long outage is logged once.
func (c *Control) poll(ctx context.Context, was bool) bool {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	settings, chains, err := c.cfg.Store.Settings(ctx)
	if err != nil {
		if was && ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Msg("settings not read: the last known ones stay in force")
		}
		return false
	}
	now := c.configured()
	maps.Copy(now.settings, settings)
	maps.Copy(now.chains, chains)
	before := c.now.Swap(now)
	for name, s := range now.settings {
		if do := c.unblock.Load(); do != nil && unblocked(before.settings[name], s) {
			(*do)(name)
		}
	}
	if !was {
		c.cfg.Log.Info().Msg("settings are read again")
	}
	return true
}

// unblocked tells whether what refusals have brought about was lifted by hand:
// workers themselves only ever block for longer.
func unblocked(before, now providers.Settings) bool {
	return before.BlockedUntil.After(time.Now()) && now.BlockedUntil.IsZero() ||
		before.Limits.Concurrent > 0 && (now.Limits.Concurrent > before.Limits.Concurrent || now.Limits.Concurrent == 0)
}

// keepTelling writes what was learned, at most once in a while, and later and
// later while that fails.
func (c *Control) keepTelling(ctx context.Context) {
	for wait := c.cfg.Every; ; {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeUp:
		}
		if c.tell(ctx) {
			wait = c.cfg.Every
		} else {
			wait = min(2*wait, controlBackoff)
			select {
			case c.wakeUp <- struct{}{}:
			default:
			}
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// tell writes what was learned. What could not be written is kept, under what has
// been learned since.
func (c *Control) tell(ctx context.Context) (ok bool) {
	c.mu.Lock()
	news := c.untold
	c.untold = map[string]providers.Learned{}
	c.mu.Unlock()
	ok = true
	for name, l := range news {
		err := c.tellOne(ctx, name, l)
		if err == nil {
			continue
		}
		ok = false
		c.mu.Lock()
		c.untold[name] = merged(l, c.untold[name])
		c.mu.Unlock()
		if ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Str("provider", name).Msg("what was learned about a provider is not written yet")
		}
	}
	return ok
}

func (c *Control) tellOne(ctx context.Context, name string, l providers.Learned) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	return c.cfg.Store.Learn(ctx, name, l)
}

// Served is what is registered of the configured providers of those names.
func Served(cfg config.Config, names []string) []worker.Served {
	served := make([]worker.Served, len(names))
	for i, name := range names {
		p := cfg.Providers[name]
		served[i] = worker.Served{
			Name: name, Kind: p.Kind, Concurrency: p.Concurrency, Min: p.MinConcurrency, Max: p.MaxConcurrency,
			Window: p.DispatchWindow, Latency: time.Duration(p.Latency),
		}
		served[i].Limits, served[i].Written = limitsOf(p)
	}
	return served
}

// limitsOf returns a provider's configured limits, and which of them the file sets.
func limitsOf(p config.Provider) (limits providers.Limits, written []providers.Dimension) {
	byName, names := p.LimitsByName()
	for name, n := range byName {
		limits = limits.With(providers.Dimension(name), n)
	}
	for _, name := range names {
		written = append(written, providers.Dimension(name))
	}
	return limits, written
}

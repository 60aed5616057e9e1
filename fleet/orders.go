package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
)

// ErrUnknownProvider is returned for a provider that is neither configured nor
// stored.
var ErrUnknownProvider = errors.New("no such provider")

// OrderError is returned for an order that is wrong as it was given: nothing has
// changed, and the error names what is wrong.
type OrderError struct{ Err error }

// Error implements error.
func (e *OrderError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *OrderError) Unwrap() error { return e.Err }

func refuse(format string, args ...any) error { return &OrderError{fmt.Errorf(format, args...)} }

// OrderStore keeps operators' orders, each with the actor and the time. All but
// AddProvider and SetChain fail with ErrUnknownProvider.
type OrderStore interface {
	// AddProvider stores a provider that is not stored yet, with its limits. One
	// that is stored stays as it is.
	AddProvider(ctx context.Context, p Configured) error
	// SetLimits pins limits of one of a provider's scopes, or of its own for an empty scope, 0
	// being no limit; pins of other dimensions stay.
	SetLimits(ctx context.Context, provider, scope string, pins map[providers.Dimension]int64, actor string) error
	// ResetLimits forgets what was pinned and learned, a block included: of a class of models,
	// or of all for an empty class.
	ResetLimits(ctx context.Context, provider, class, actor string) error
	// SetStatus makes a provider Available or Unavailable. Available takes back a
	// block and a lack of money too.
	SetStatus(ctx context.Context, provider string, status Status, reason, actor string) error
	// ForceBreaker holds a breaker open or closed; empty lets it work by itself.
	ForceBreaker(ctx context.Context, provider string, order BreakerState, actor string) error
	// ResetMetrics lets the figures of a provider, or of all for an empty name,
	// begin anew.
	ResetMetrics(ctx context.Context, provider string) error
	// SetChain sets the providers to ask for a task; none takes the chain back.
	SetChain(ctx context.Context, task providers.Task, chain []string, actor string) error
	// Settings returns what is stored of each provider.
	Settings(ctx context.Context) (map[string]Stored, map[providers.Task][]string, error)
}

// Orders takes operators' orders: it checks them, and stores them for the workers,
// which obey within a second. A wrong order fails with an *OrderError. An actor is
// who gives the order, such as ada@host.
type Orders struct {
	store OrderStore
	cfg   Config
}

// NewOrders makes Orders. cfg is the configuration of whoever takes the orders: a
// provider that is configured there need not have been served yet.
func NewOrders(store OrderStore, cfg Config) *Orders { return &Orders{store: store, cfg: cfg} }

const (
	// maxLimit bounds a limit: more is none, and 0 says so.
	maxLimit = 1_000_000_000_000
	// maxReason is the longest reason, in bytes.
	maxReason = 500
)

// SetLimits pins limits of a provider, 0 being no limit, for all its calls together; those
// that are pinned already and not named stay. Where a model is named, they are pinned for
// calls of its class of models, with each key.
func (o *Orders) SetLimits(ctx context.Context, actor, provider, model string, pins map[providers.Dimension]int64) error {
	if len(pins) == 0 {
		return refuse("no limit is given: name one, such as rpm 500")
	}
	for d, n := range pins {
		if !slices.Contains(providers.Dimensions(), d) {
			return refuse("%.40q is no limit; there are %v", d, providers.Dimensions())
		}
		if n < 0 || n > maxLimit {
			return refuse("%s %d: must be from 0 (no limit) to %d", d, n, int64(maxLimit))
		}
	}
	class, err := o.class(provider, model)
	if err != nil {
		return err
	}
	return o.change(ctx, provider, func() error { return o.store.SetLimits(ctx, provider, class, pins, printable(actor)) })
}

// ResetLimits forgets what was pinned and learned, a block included: what is
// configured holds until something is learned anew. Where a model is named, it does so for
// its class of models.
func (o *Orders) ResetLimits(ctx context.Context, actor, provider, model string) error {
	class, err := o.class(provider, model)
	if err != nil {
		return err
	}
	return o.change(ctx, provider, func() error { return o.store.ResetLimits(ctx, provider, class, printable(actor)) })
}

// maxModel is the longest name of a model, in bytes.
const maxModel = 256

// class returns the class of a model that is limited by itself; empty where none is named.
func (o *Orders) class(provider, model string) (string, error) {
	if model == "" {
		return "", nil
	}
	if len(model) > maxModel || strings.ContainsAny(model, "@ ,{}") {
		return "", refuse("%.60q is no name of a model", model)
	}
	p, ok := o.cfg.Providers[provider]
	switch {
	case !ok:
		return "", refuse("%.60q: is not configured here, so nobody can tell which of its models are counted together", provider)
	case p.Class == nil:
		return "", refuse("%s counts the calls of all its models together: pin its limits without a model, or give models limits of their own by model_limits in the configuration", provider)
	}
	return p.Class(model), nil
}

// Disable takes a provider out of use: jobs go to the next of their chain, or wait.
// The reason has 1 to 500 bytes.
func (o *Orders) Disable(ctx context.Context, actor, provider, reason string) error {
	if reason = strings.TrimSpace(reason); reason == "" || len(reason) > maxReason {
		return refuse("reason: must have 1 to %d bytes, got %d", maxReason, len(reason))
	}
	return o.change(ctx, provider, func() error {
		return o.store.SetStatus(ctx, provider, Unavailable, printable(reason), printable(actor))
	})
}

// Enable puts a provider back into use; a block and a lack of money are forgotten.
func (o *Orders) Enable(ctx context.Context, actor, provider string) error {
	return o.change(ctx, provider, func() error { return o.store.SetStatus(ctx, provider, Available, "", printable(actor)) })
}

// ForceBreaker holds a provider's breaker open or closed; empty lets it work by
// itself again.
func (o *Orders) ForceBreaker(ctx context.Context, actor, provider string, state BreakerState) error {
	if !slices.Contains([]BreakerState{"", BreakerOpen, BreakerClosed}, state) {
		return refuse("a breaker is held %s or %s, or works by itself; got %.40q", BreakerOpen, BreakerClosed, state)
	}
	return o.change(ctx, provider, func() error { return o.store.ForceBreaker(ctx, provider, state, printable(actor)) })
}

// ResetMetrics lets the figures of a provider begin anew; the ledger stays.
func (o *Orders) ResetMetrics(ctx context.Context, provider string) error {
	if provider == "" {
		return refuse("no provider is named")
	}
	return o.change(ctx, provider, func() error { return o.store.ResetMetrics(ctx, provider) })
}

// ResetAllMetrics lets the figures of all providers begin anew.
func (o *Orders) ResetAllMetrics(ctx context.Context) error { return o.store.ResetMetrics(ctx, "") }

// SetChain sets the providers to ask for a task, in order.
func (o *Orders) SetChain(ctx context.Context, actor string, task providers.Task, chain []string) error {
	if err := o.cfg.checkChain(task, chain); err != nil {
		return &OrderError{err}
	}
	return o.store.SetChain(ctx, task, chain, printable(actor))
}

// ResetChain goes back to the configured chain of a task.
func (o *Orders) ResetChain(ctx context.Context, actor string, task providers.Task) error {
	return o.store.SetChain(ctx, task, nil, printable(actor))
}

// change carries an order out on a provider that is configured or stored.
func (o *Orders) change(ctx context.Context, provider string, do func() error) error {
	if p, ok := o.cfg.Providers[provider]; ok {
		if err := o.store.AddProvider(ctx, p); err != nil {
			return err
		}
	}
	err := do()
	if !errors.Is(err, ErrUnknownProvider) {
		return err
	}
	stored, _, err := o.store.Settings(ctx)
	if err != nil {
		return err
	}
	names := o.cfg.names()
	for name := range stored {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return refuse("%.60q: there is %w; there are %s", provider, ErrUnknownProvider, strings.Join(names, ", "))
}

// Chain is the order in which providers are asked for a task.
type Chain struct {
	Task      providers.Task
	Providers []string
	// ChangedBy is the operator who set it, and ChangedAt when; without them it is
	// the configured one.
	ChangedBy string
	ChangedAt time.Time
}

// ChainsInForce returns the chain of each task that has one: the one that an
// operator set, else the configured one.
func (c Config) ChainsInForce(set []Chain) []Chain {
	var list []Chain
	for _, task := range providers.Tasks() {
		chain := Chain{Task: task, Providers: c.Chains[task]}
		if i := slices.IndexFunc(set, func(s Chain) bool { return s.Task == task }); i >= 0 {
			chain = set[i]
		}
		if chain.Providers != nil {
			list = append(list, chain)
		}
	}
	return list
}

// printable replaces what would move a terminal's cursor or a table's columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

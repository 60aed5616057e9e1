package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
	"oneflow/providers/wire"
)

// KeyChecker asks a provider whether it takes a key, at no cost.
type KeyChecker interface {
	CheckKey(ctx context.Context, secret string) error
}

// OpenKeys opens the API keys. The caller closes them. Rotation and trouble with
// the file are logged; keys are never shown beyond their last four characters.
func OpenKeys(getenv func(string) string, cfg config.Config, log zerolog.Logger) (*keys.Store, error) {
	return keys.Open(keys.Config{
		Path:      cfg.Keys,
		Getenv:    getenv,
		Providers: cfg.KeyNames(),
		OnReload: func(all []keys.Entry) {
			log.Info().Int("keys", len(all)).Msg("the key file has changed: calls from now on use its keys")
		},
		OnError: func(err error) {
			log.Error().Err(err).Msg("the key file was not taken: the keys of before stay in use")
		},
	})
}

// Usable returns the configured providers that can be called: those with a key,
// and those that need none.
func Usable(cfg config.Config, store *keys.Store) (usable, keyless []string) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		if hasKey(cfg, name, store) {
			usable = append(usable, name)
		} else {
			keyless = append(keyless, name)
		}
	}
	return usable, keyless
}

// hasKey reports whether a provider has a key now, or needs none. Without a store,
// nobody looks.
func hasKey(cfg config.Config, name string, store *keys.Store) bool {
	p := cfg.Providers[name]
	if !p.NeedsKey() || store == nil {
		return true
	}
	return slices.ContainsFunc(places(p), func(deployment string) bool { return store.Has(keyName(store, name, deployment)) })
}

// keyEnds returns how the usable keys of a provider end, four characters of each at most.
func keyEnds(cfg config.Config, name string, store *keys.Store) (ends []string) {
	if store == nil || !cfg.Providers[name].NeedsKey() {
		return nil
	}
	for _, deployment := range places(cfg.Providers[name]) {
		for _, k := range usableKeys(store, name, deployment) {
			if !slices.Contains(ends, k.End()) {
				ends = append(ends, k.End())
			}
		}
	}
	return ends
}

// clients makes the providers of those names.
func clients(cfg config.Config, names []string, store *keys.Store) (list []providers.Provider, closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() error {
		var err error
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	for _, name := range names {
		c, err := newClient(cfg, name, store)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		if closer, ok := c.(interface{ Close() error }); ok {
			closers = append(closers, closer.Close)
		}
		list = append(list, c)
	}
	return list, closeAll, nil
}

// newClient makes the client of one configured provider, with all of its deployments.
func newClient(cfg config.Config, name string, store *keys.Store) (providers.Provider, error) {
	if len(cfg.Providers[name].Deployments) > 0 {
		return newDeployed(cfg, name, store)
	}
	return ClientAt(cfg, name, "", store)
}

// ClientAt makes the client of one deployment of a configured provider; of a provider that
// is one place where deployment is empty.
func ClientAt(cfg config.Config, name, deployment string, store *keys.Store) (providers.Provider, error) {
	p, ok := cfg.Providers[name]
	if !ok {
		return nil, fmt.Errorf("provider %q: is not configured; there are %s", name, strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", "))
	}
	c, err := client(cfg, p.At(deployment), name, deployment, store)
	if err != nil {
		return nil, fmt.Errorf("providers.%s: %w", name, err)
	}
	return c, nil
}

func client(cfg config.Config, p config.Provider, name, deployment string, store *keys.Store) (providers.Provider, error) {
	kind := p.Capabilities()
	d, ok := kinds.Of(kind)
	if !ok {
		return nil, fmt.Errorf("kind: there is none of the name %q; there are %s", kind, strings.Join(kinds.Names(), ", "))
	}
	c := providers.ClientConfig{
		Name: name, BaseURL: p.Address(), KeyHeader: p.KeyHeader, Models: map[providers.Task]string{}, Preset: p.Known(),
		Organization: p.Organization, Project: p.Project, Betas: p.Betas, MaxTokens: p.MaxTokens, Voice: p.Voice,
	}
	for task, model := range p.Models {
		c.Models[providers.Task(task)] = model
	}
	if d.Local {
		if m := p.Mock; m != nil {
			c.Simulation = providers.Simulation{
				Latency: time.Duration(m.Latency), ErrorRate: m.ErrorRate, RPM: m.RPM, MaxConcurrent: m.MaxConcurrent, CallLog: m.CallLog,
			}
		}
		return d.New(c)
	}
	address := c.BaseURL
	if address == "" {
		address = d.BaseURL
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	proxy, err := wire.Proxy(cmp.Or(p.Proxy, cfg.Proxy), os.Getenv)
	if err != nil {
		return nil, err
	}
	roots, err := wire.Roots(cmp.Or(p.CAFile, cfg.CAFile))
	if err != nil {
		return nil, err
	}
	c.Client = wire.NewClient(wire.Config{Concurrency: max(p.Concurrency, 256), Proxy: proxy, RootCAs: roots})
	c.Client.Transport = &onlyHost{base: base, headers: p.Headers, next: c.Client.Transport}
	c.Key = keySource(store, name, deployment, base.String())
	if !p.NeedsKey() {
		c.Key = optional(c.Key)
	}
	made, err := d.New(c)
	if err != nil {
		return nil, err
	}
	return &keyed{Provider: made, keys: store}, nil
}

// optional lets a compatible server do without a key.
func optional(source func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		secret, err := source(ctx)
		if errors.Is(err, keys.ErrNoKey) {
			return "", nil
		}
		return secret, err
	}
}

// keyed pauses a key that was refused, and not the provider's others.
type keyed struct {
	providers.Provider
	keys *keys.Store
}

// keyPause is for how long a key that was refused is left alone, unless the key file changes
// first: a vendor's fault may look like a refusal, and to ask again costs nothing.
const keyPause = 5 * time.Minute

// Generate implements providers.Provider.
func (k *keyed) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	return k.tracked(ctx, func(ctx context.Context) (providers.Response, error) { return k.Provider.Generate(ctx, req) })
}

// Resume implements providers.Resumer: what was ordered with a key is looked for with
// that key, as long as there is such a key.
func (k *keyed) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	if key, rest, ok := strings.Cut(handle, orderKeyEnd); ok {
		ctx, handle = providers.WithScope(ctx, providers.ScopeName("", "", key)), rest
	}
	return k.tracked(ctx, func(ctx context.Context) (providers.Response, error) {
		return providers.Resume(ctx, k.Provider, req, handle)
	})
}

// orderKeyEnd ends the id of the key that stands before the vendor's handle of an order.
const orderKeyEnd = "|"

func (k *keyed) tracked(ctx context.Context, call func(context.Context) (providers.Response, error)) (providers.Response, error) {
	ctx, used := keys.Track(ctx)
	ctx = providers.MapOrders(ctx, func(handle string) string {
		if id := used.Key().ID(); id != "" && handle != "" {
			return id + orderKeyEnd + handle
		}
		return handle
	})
	res, err := call(ctx)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind.Reaction() == providers.Pause && e.Sent {
		k.refused(used.Key(), e)
	}
	return res, err
}

// refused leaves a key alone: one that is wrong always, and one whose account has no credit or
// is shut out only while there are others. Without others it is the provider that is left alone.
func (k *keyed) refused(key keys.Key, failure *providers.Error) {
	others := slices.ContainsFunc(k.keys.Usable(key.Provider()), func(other keys.Key) bool { return other.ID() != key.ID() })
	if !others && failure.Kind != providers.Unauthorised {
		return
	}
	k.keys.Pause(key, "the provider refused it", k.keys.Now().Add(max(keyPause, failure.RetryAfter)))
	if others {
		failure.RefusedKey = key.String()
	}
}

// CheckKey implements KeyChecker.
func (k *keyed) CheckKey(ctx context.Context, secret string) error {
	if c, ok := k.Provider.(KeyChecker); ok {
		return c.CheckKey(ctx, secret)
	}
	return nil
}

// ShutdownDates asks the provider when it shuts its models down, at no cost: days by
// names of models. It returns none where the provider does not tell.
func ShutdownDates(ctx context.Context, client providers.Provider, secret string) (map[string]string, error) {
	if k, ok := client.(*keyed); ok {
		client = k.Provider
	}
	lister, ok := client.(interface {
		ShutdownDates(ctx context.Context, secret string) (map[string]string, error)
	})
	if !ok {
		return nil, nil
	}
	return lister.ShutdownDates(ctx, secret)
}

// onlyHost refuses every request to another place than the provider's own, so
// that a key cannot leave it, whatever a client does.
type onlyHost struct {
	base    *url.URL
	headers map[string]string // are added
	next    http.RoundTripper
}

// errOtherHost reports that a client wanted to call another place.
var errOtherHost = errors.New("refused to send a request to another host than the provider's")

// RoundTrip implements http.RoundTripper.
func (o *onlyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != o.base.Scheme || r.URL.Host != o.base.Host {
		return nil, errOtherHost
	}
	if len(o.headers) > 0 {
		r = r.Clone(r.Context())
		for name, value := range o.headers {
			r.Header.Set(name, value)
		}
	}
	return o.next.RoundTrip(r)
}

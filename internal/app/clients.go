package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/keys"
	"oneflow/providers/mock"
	"oneflow/providers/openai"
	"oneflow/providers/stability"
	"oneflow/providers/wire"
)

// KeyChecker asks a provider whether it takes a key, at no cost.
type KeyChecker interface {
	CheckKey(ctx context.Context, secret string) error
}

// OpenKeys opens the API keys. The caller closes them. Rotation and trouble with
// the file are logged; keys are never shown beyond their last four characters.
func OpenKeys(getenv func(string) string, path string, log zerolog.Logger) (*keys.Store, error) {
	return keys.Open(keys.Config{
		Path:   path,
		Getenv: getenv,
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
		p := cfg.Providers[name]
		if _, err := store.Pick(name); errors.Is(err, keys.ErrNoKey) && p.Kind != "mock" && !p.Compatible {
			keyless = append(keyless, name)
		} else {
			usable = append(usable, name)
		}
	}
	return usable, keyless
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
		c, err := Client(cfg, name, store)
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

// Client makes the client of one configured provider.
func Client(cfg config.Config, name string, store *keys.Store) (providers.Provider, error) {
	p, ok := cfg.Providers[name]
	if !ok {
		return nil, fmt.Errorf("provider %q: is not configured; there are %s", name, strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", "))
	}
	c, err := client(p, name, store)
	if err != nil {
		return nil, fmt.Errorf("providers.%s: %w", name, err)
	}
	return c, nil
}

func client(p config.Provider, name string, store *keys.Store) (providers.Provider, error) {
	if p.Kind == "mock" {
		return mock.New(mock.Config{
			Name: name, Latency: time.Duration(p.Mock.Latency), ErrorRate: p.Mock.ErrorRate,
			RPM: p.Mock.RPM, MaxConcurrent: p.Mock.MaxConcurrent, CallLog: p.Mock.CallLog,
		})
	}
	base, err := url.Parse(baseURL(p))
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	h := wire.NewClient(wire.Config{Concurrency: p.Workers()})
	h.Transport = &onlyHost{base: base, next: h.Transport}
	key := store.Source(name, base.String())
	if p.Compatible {
		key = optional(key)
	}
	models := make(map[providers.Task]string, len(p.Models))
	for task, model := range p.Models {
		models[providers.Task(task)] = model
	}
	var c providers.Provider
	switch p.Kind {
	case "openai":
		c, err = openai.New(openai.Config{
			Name: name, BaseURL: p.BaseURL, Compatible: p.Compatible, Client: h, Key: key, KeyHeader: p.KeyHeader, Models: models,
		})
	case "anthropic":
		c, err = anthropic.New(anthropic.Config{Name: name, BaseURL: p.BaseURL, Client: h, Key: key, Models: models})
	case "stability":
		c, err = stability.New(stability.Config{Name: name, BaseURL: p.BaseURL, Client: h, Key: key, Models: models})
	case "elevenlabs":
		c, err = elevenlabs.New(elevenlabs.Config{Name: name, BaseURL: p.BaseURL, Client: h, Key: key, Models: models})
	default:
		return nil, fmt.Errorf("no client for kind %q", p.Kind)
	}
	if err != nil {
		return nil, err
	}
	return &keyed{Provider: c, keys: store}, nil
}

// baseURL is where a provider's calls go.
func baseURL(p config.Provider) string {
	if p.BaseURL != "" {
		return p.BaseURL
	}
	switch p.Kind {
	case "openai":
		return openai.DefaultBaseURL
	case "anthropic":
		return anthropic.DefaultBaseURL
	case "stability":
		return stability.DefaultBaseURL
	case "elevenlabs":
		return elevenlabs.DefaultBaseURL
	}
	return ""
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

// Generate implements providers.Provider.
func (k *keyed) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	ctx, used := keys.Track(ctx)
	res, err := k.Provider.Generate(ctx, req)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind == providers.Unauthorised && e.Status == http.StatusUnauthorized {
		k.keys.Pause(used.Key(), "the provider refused it", time.Time{})
	}
	return res, err
}

// CheckKey implements KeyChecker.
func (k *keyed) CheckKey(ctx context.Context, secret string) error {
	if c, ok := k.Provider.(KeyChecker); ok {
		return c.CheckKey(ctx, secret)
	}
	return nil
}

// onlyHost refuses every request to another place than the provider's own, so
// that a key cannot leave it, whatever a client does.
type onlyHost struct {
	base *url.URL
	next http.RoundTripper
}

// errOtherHost tells that a client wanted to call another place.
var errOtherHost = errors.New("refused to send a request to another host than the provider's")

// RoundTrip implements http.RoundTripper.
func (o *onlyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != o.base.Scheme || r.URL.Host != o.base.Host {
		return nil, errOtherHost
	}
	return o.next.RoundTrip(r)
}

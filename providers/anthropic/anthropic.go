// Package anthropic makes generation calls to Anthropic: text, by /v1/messages.
//
// It is a small client of our own for this endpoint. Anthropic's official one is
// what its tests hold it against: what it sends, and what it reads.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package anthropic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// defaultBaseURL is Anthropic's own address.
	defaultBaseURL = "https://api.anthropic.com"
	// maxTokens caps an answer where neither the request nor Config
	// does: the API takes no request without a cap.
	maxTokens = 4096

	// version is the API's version that the client speaks.
	version = "2023-06-01"
)

// Config says how to reach Anthropic.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is the address under which /v1/messages stands; a /v1 at its end is taken off. The
	// default is defaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// MaxTokens caps an answer where the request does not. Default: 4096.
	MaxTokens int64
	// Models are the models to use where a request names none, in place of
	// those of its Descriptor.
	Models map[providers.Task]string
	// Betas are the names of beta features to ask for with each call.
	Betas []string
}

// Provider calls Anthropic. It is a providers.Provider.
type Provider struct {
	config Config
	base   string
	caps   providers.Capabilities
	caller wire.Caller
}

// New checks config and returns its provider.
func New(config Config) (*Provider, error) {
	switch {
	case config.Name == "":
		return nil, errors.New("anthropic: Name: must not be empty")
	case config.Client == nil:
		return nil, fmt.Errorf("anthropic: %s: Client: must not be nil", config.Name)
	case config.Key == nil:
		return nil, fmt.Errorf("anthropic: %s: Key: Anthropic needs an API key", config.Name)
	case config.MaxTokens < 0:
		return nil, fmt.Errorf("anthropic: %s: MaxTokens: must be positive, got %d", config.Name, config.MaxTokens)
	}
	base, err := wire.BaseURL(config.BaseURL, defaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("anthropic: %s: %w", config.Name, err)
	}
	if config.MaxTokens == 0 {
		config.MaxTokens = maxTokens
	}
	config.Models, config.Betas = maps.Clone(config.Models), slices.Clone(config.Betas)
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules()}
	return &Provider{config: config, base: strings.TrimSuffix(base, "/v1"), caps: capabilities(), caller: caller}, nil
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate makes one generation call. Where the answer holds calls of tools that
// were passed in Extra and no text, the response's Text is empty and its Raw
// holds them.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	if req.Model == "" {
		req.Model = p.config.Models[req.Task]
	}
	if req.Model == "" {
		req.Model = p.caps.Tasks[req.Task].DefaultModel
	}
	if p.caps.Check(req) != nil { // its text may repeat the request
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "unsupported_option")
	}
	res, failure := p.generate(ctx, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

func (p *Provider) generate(ctx context.Context, req providers.Request) (providers.Response, *providers.Error) {
	secret, failure := wire.Key(ctx, p.config.Name, p.config.Key)
	if failure != nil {
		return providers.Response{}, failure
	}
	body, err := p.body(req)
	named, _, errNamed := p.caps.Named(req)
	if err != nil || errNamed != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.send(ctx, http.MethodPost, "/v1/messages", secret, body, wire.Texts(req))
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.read(a, named)
}

// body makes the body that is sent for a request.
func (p *Provider) body(req providers.Request) ([]byte, error) {
	if req.Body != nil {
		return req.BodyFor()
	}
	fields := p.fields(req)
	if err := wire.Merge(fields, req.Extra); err != nil {
		return nil, err
	}
	return wire.JSON(fields)
}

// CheckKey reports, with a nil error, that secret is a key that works, by listing a
// model, which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	ask := func(key string) (wire.Answer, *providers.Error) {
		return p.send(ctx, http.MethodGet, "/v1/models?limit=1", key, nil, nil)
	}
	return p.caller.CheckKey(ctx, secret, ask, func(a wire.Answer) bool {
		var list struct {
			Data []json.RawMessage `json:"data"`
		}
		return wire.Decode(a.Body, &list) == nil && list.Data != nil
	})
}

// send makes one HTTP call.
func (p *Provider) send(ctx context.Context, method, path, secret string, body []byte, texts []string) (wire.Answer, *providers.Error) {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Anthropic-Version", version)
	r.Header.Set("X-Api-Key", secret)
	for _, beta := range p.config.Betas {
		r.Header.Add("Anthropic-Beta", beta)
	}
	return p.caller.Send(ctx, r, wire.MaxAnswer, append(texts, secret)...)
}

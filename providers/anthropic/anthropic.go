// Package anthropic makes generation calls to Anthropic: text, by /v1/messages.
//
// The official client builds and sends the requests. Its retries and its tracing,
// which can hold prompts, are off, its settings and profiles from the environment
// are never read, and neither its errors, which repeat whole bodies, nor its
// reading of bodies are used: what came back is judged here from the raw answer.
//
// It may import oneflow/providers, oneflow/providers/wire and Anthropic's client.
package anthropic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// DefaultBaseURL is Anthropic's own address.
	DefaultBaseURL = "https://api.anthropic.com"
	// DefaultMaxTokens caps an answer where neither the request nor Config
	// does: the API takes no request without a cap.
	DefaultMaxTokens = 4096

	vendor = wire.Anthropic
)

// Config says how to reach Anthropic.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is where /v1/messages hangs; a /v1 at its end is taken off. The
	// default is DefaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// MaxTokens caps an answer where the request does not. The default is
	// DefaultMaxTokens.
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
	base, err := wire.BaseURL(config.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("anthropic: %s: %w", config.Name, err)
	}
	if config.MaxTokens == 0 {
		config.MaxTokens = DefaultMaxTokens
	}
	config.Models, config.Betas = maps.Clone(config.Models), slices.Clone(config.Betas)
	return &Provider{config: config, base: strings.TrimSuffix(base, "/v1"), caps: capabilities()}, nil
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
		return providers.Response{}, p.unsent(providers.InvalidRequest, "unsupported_option")
	}
	secret, err := wire.Key(ctx, p.config.Name, p.config.Key)
	if err != nil {
		return providers.Response{}, err
	}
	client := anthropic.Client{Options: p.options(secret)}
	a, err := p.send(ctx, func(ctx context.Context, sending option.RequestOption) error {
		return client.Post(ctx, "v1/messages", p.params(req), nil, sending)
	})
	if err != nil {
		return providers.Response{}, err
	}
	return p.read(a, req.Model)
}

// CheckKey tells whether secret is a key that works, by listing a model, which is
// free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	key, err := wire.Key(ctx, p.config.Name, func(context.Context) (string, error) { return secret, nil })
	if err != nil {
		return err
	}
	client := anthropic.Client{Options: p.options(key)}
	a, err := p.send(ctx, func(ctx context.Context, sending option.RequestOption) error {
		return client.Get(ctx, "v1/models?limit=1", nil, nil, sending)
	})
	if err != nil {
		return err
	}
	if !isObject(a.Body) {
		failure := a.Malformed(vendor, p.config.Name, wire.ErrNotJSON)
		failure.Billing = providers.Unbilled
		return failure
	}
	return nil
}

// options are the settings of the official client for one call. The environment
// is not among them: a client that is not made by NewClient does not read it. Nor
// is a time limit, without which the client's methods for messages refuse more
// than about 21,000 tokens: ctx bounds the call.
func (p *Provider) options(secret string) []option.RequestOption {
	options := []option.RequestOption{
		option.WithoutEnvironmentDefaults(),
		option.WithoutOpenTelemetry(),
		option.WithOpenTelemetryPropagation(false),
		option.WithBaseURL(p.base),
		option.WithMaxRetries(0),
		option.WithAPIKey(secret),
	}
	for _, beta := range p.config.Betas {
		options = append(options, option.WithHeaderAdd("anthropic-beta", beta))
	}
	return options
}

// unsent is the failure of a call that was not made.
func (p *Provider) unsent(kind providers.Kind, code string) *providers.Error {
	return &providers.Error{Provider: p.config.Name, Kind: kind, Billing: providers.Unbilled, Code: code}
}

// send makes one HTTP call through the official client: run calls one of its
// methods with the option it is given. Its error is always a *providers.Error.
func (p *Provider) send(ctx context.Context, run func(context.Context, option.RequestOption) error) (wire.Answer, error) {
	x := &exchange{client: p.config.Client, provider: p.config.Name}
	_ = run(ctx, option.WithHTTPClient(x)) // its text may hold anything; what counts is in x
	switch {
	case x.made:
		return x.answer, x.failure
	case ctx.Err() != nil:
		return wire.Answer{}, wire.Failure(p.config.Name, ctx.Err(), false)
	default: // the official client could not write the request
		return wire.Answer{}, p.unsent(providers.InvalidRequest, "request_not_encodable")
	}
}

// exchange is the HTTP client that the official one is given for one call. It
// keeps what came back and hands on an empty success, so that the official client
// neither reads bodies without bound nor makes errors of them.
type exchange struct {
	client   *http.Client
	provider string

	made    bool
	answer  wire.Answer
	failure error
}

// Do sends req, once in the life of an exchange.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	if x.made {
		return nil, wire.ErrNotRepeated
	}
	x.made = true
	x.answer, x.failure = wire.Call(req.Context(), x.client, vendor, x.provider, req)
	if x.failure != nil {
		return nil, x.failure
	}
	return &http.Response{
		Status: "204 No Content", StatusCode: http.StatusNoContent,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: req,
	}, nil
}

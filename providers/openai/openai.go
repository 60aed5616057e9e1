// Package openai makes generation calls to OpenAI and to every server that
// speaks its protocol: text by /chat/completions, pictures by
// /images/generations, sound by /audio/speech and, with compatible servers only,
// film by the asynchronous /videos.
//
// The official client builds and sends the requests. Its retries are off, its
// settings from the environment are never read, and neither its errors nor its
// reading of bodies are used: what came back is judged here from the raw answer.
//
// It may import oneflow/providers, oneflow/providers/wire and OpenAI's client.
package openai

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openai/openai-go/v3/option"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// DefaultBaseURL is OpenAI's own address.
const DefaultBaseURL = "https://api.openai.com/v1/"

// Config says how to reach one server.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is where /chat/completions hangs, such as
	// "http://localhost:8000/v1". A query in it, such as Azure's api-version, is
	// sent with each call. The default is DefaultBaseURL.
	BaseURL string
	// Compatible tells that this is not OpenAI itself but a server that speaks
	// its protocol, such as vLLM, Ollama, OpenRouter or Azure. It needs a
	// BaseURL and no key, is sent max_tokens in place of max_completion_tokens,
	// and may make film.
	Compatible bool
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required, except that a
	// compatible server may go without. An empty key is not sent.
	Key func(ctx context.Context) (string, error)
	// KeyHeader carries the bare key in place of "Authorization: Bearer", such
	// as Azure's "api-key". Empty for Bearer.
	KeyHeader string
	// Organization and Project choose whom OpenAI charges. Empty for the key's
	// own. They are never taken from the environment.
	Organization string
	Project      string
	// Models are the models to use where a request names none, in place of
	// those of its Descriptor, which are OpenAI's own. A
	// compatible server has no other default.
	Models map[providers.Task]string
	// VideosAsJSON sends requests for film as JSON, which OpenRouter wants, in
	// place of multipart forms, which vLLM wants.
	VideosAsJSON bool
	// PollEvery is the time to the first look at a film that is being made; it
	// grows by half with each look, up to 15 s. The default is 2 s.
	PollEvery time.Duration
	// Guarded fetches pictures from the addresses that an answer names. The
	// default is wire.GuardedClient, which calls public addresses only, and a
	// compatible server itself.
	Guarded *http.Client
	// IdleTimeout is how long an answer may stand still while it is read. The
	// default is wire.IdleTimeout.
	IdleTimeout time.Duration
}

// Provider calls one server. It is a providers.Provider.
type Provider struct {
	config Config
	base   string
	query  url.Values
	caps   providers.Capabilities
}

// New checks config and returns its provider.
func New(config Config) (*Provider, error) {
	if config.Name == "" {
		return nil, errors.New("openai: Name: must not be empty")
	}
	if config.Client == nil {
		return nil, fmt.Errorf("openai: %s: Client: must not be nil", config.Name)
	}
	if config.Key == nil && !config.Compatible {
		return nil, fmt.Errorf("openai: %s: Key: OpenAI needs an API key", config.Name)
	}
	if config.BaseURL == "" && config.Compatible {
		return nil, fmt.Errorf("openai: %s: BaseURL: a compatible server needs one, such as http://localhost:8000/v1", config.Name)
	}
	address, rest, _ := strings.Cut(config.BaseURL, "?")
	base, err := wire.BaseURL(address, DefaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("openai: %s: %w", config.Name, err)
	}
	query, err := url.ParseQuery(rest)
	if err != nil { // its text repeats the query, which may hold a key
		return nil, fmt.Errorf("openai: %s: base URL: cannot read what follows its ?", config.Name)
	}
	if config.PollEvery < 0 {
		return nil, fmt.Errorf("openai: %s: PollEvery: must be positive, got %s", config.Name, config.PollEvery)
	}
	if config.PollEvery == 0 {
		config.PollEvery = 2 * time.Second
	}
	if config.IdleTimeout < 0 {
		return nil, fmt.Errorf("openai: %s: IdleTimeout: must be positive, got %s", config.Name, config.IdleTimeout)
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = wire.IdleTimeout
	}
	if config.Guarded == nil {
		config.Guarded = wire.GuardedClient(wire.GuardConfig{Allow: hosts(base, config.Compatible)})
	}
	config.Models = maps.Clone(config.Models)
	caps := capabilities()
	if config.Compatible {
		caps = compatibleCapabilities()
	}
	return &Provider{config: config, base: base, query: query, caps: caps}, nil
}

// hosts lists the host and port of a compatible server, which the guard lets pass.
func hosts(base string, compatible bool) []string {
	u, err := url.Parse(base)
	switch {
	case err != nil || !compatible:
		return nil
	case u.Port() != "":
		return []string{u.Host}
	case u.Scheme == "http":
		return []string{net.JoinHostPort(u.Hostname(), "80")}
	default:
		return []string{net.JoinHostPort(u.Hostname(), "443")}
	}
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate makes one generation call. Where the answer holds calls of tools that
// were passed in Extra and no text, the response's Text is empty and its Raw
// holds them.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	model := p.model(req)
	if err := p.refuse(req, model); err != nil {
		return providers.Response{}, err
	}
	secret, err := p.key(ctx)
	if err != nil {
		return providers.Response{}, err
	}
	var res providers.Response
	var failure *providers.Error
	switch req.Task {
	case providers.Text:
		res, failure = p.text(ctx, secret, model, req)
	case providers.Image:
		res, failure = p.image(ctx, secret, model, req)
	case providers.Audio:
		res, failure = p.speech(ctx, secret, model, req)
	case providers.Video:
		res, failure = p.video(ctx, secret, model, req)
	}
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

// CheckKey tells whether secret is a key that works, by listing the models,
// which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	key, err := p.usable(ctx, secret, nil)
	if err != nil {
		return err
	}
	a, failure := p.get(ctx, key, "models", "application/json", wire.MaxAnswer)
	if failure != nil {
		return failure
	}
	if !isObject(a.Body) {
		return p.unusable(a, wire.ErrNotJSON, providers.Usage{})
	}
	return nil
}

// model is the model that req is for.
func (p *Provider) model(req providers.Request) string {
	switch {
	case req.Model != "":
		return req.Model
	case p.config.Models[req.Task] != "" || p.config.Compatible:
		return p.config.Models[req.Task]
	default:
		return p.caps.Tasks[req.Task].DefaultModel
	}
}

// refuse returns an error where req cannot be sent as it is.
func (p *Provider) refuse(req providers.Request, model string) error {
	req.Model = model
	var code string
	switch {
	case p.caps.Check(req) != nil:
		code = "unsupported_option" // its text may repeat the request
	case model == "" && req.Task != providers.Video:
		code = "model_missing"
	default:
		return nil
	}
	return p.unsent(providers.InvalidRequest, code)
}

// key asks for the API key. It is empty where a compatible server needs none.
func (p *Provider) key(ctx context.Context) (string, error) {
	if p.config.Key == nil {
		return "", nil
	}
	secret, err := p.config.Key(ctx)
	return p.usable(ctx, secret, err)
}

// usable checks a key, and the error that it came with.
func (p *Provider) usable(ctx context.Context, secret string, err error) (string, error) {
	if err == nil && strings.TrimSpace(secret) == "" && p.config.Compatible {
		return "", nil
	}
	return wire.Key(ctx, p.config.Name, func(context.Context) (string, error) { return secret, err })
}

// unsent is the failure of a call that was not made.
func (p *Provider) unsent(kind providers.Kind, code string) *providers.Error {
	return &providers.Error{Provider: p.config.Name, Kind: kind, Billing: providers.Unbilled, Code: code}
}

// options are the settings of the official client for one call. The environment
// is not among them: services and clients that are not made by NewClient do not
// read it.
func (p *Provider) options(secret string) []option.RequestOption {
	options := []option.RequestOption{option.WithBaseURL(p.base), option.WithMaxRetries(0)}
	for name, values := range p.query {
		for _, value := range values {
			options = append(options, option.WithQueryAdd(name, value))
		}
	}
	if p.config.Organization != "" {
		options = append(options, option.WithOrganization(p.config.Organization))
	}
	if p.config.Project != "" {
		options = append(options, option.WithProject(p.config.Project))
	}
	switch {
	case secret == "":
	case p.config.KeyHeader != "" && !strings.EqualFold(p.config.KeyHeader, "Authorization"):
		options = append(options, option.WithHeader(p.config.KeyHeader, secret))
	default:
		options = append(options, option.WithAPIKey(secret))
	}
	return options
}

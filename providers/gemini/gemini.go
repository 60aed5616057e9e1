// Package gemini makes generation calls to Google's Gemini API: text, pictures and
// transcriptions by models/NAME:generateContent, vectors by :embedContent and
// :batchEmbedContents, and film by :predictLongRunning, whose operation it looks at until
// the film is made.
//
// It is a small client of our own, over providers/wire. Google's description of its
// API is the reference of its tests.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package gemini

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// defaultBaseURL is Google's own address.
	defaultBaseURL = "https://generativelanguage.googleapis.com"

	// version is the API's version that the client speaks.
	version = "/v1beta"

	// keyHeader carries the key.
	keyHeader = "X-Goog-Api-Key"
)

// Config says how to reach Google.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is the address under which /v1beta/models stands; a /v1beta at its end is taken off. The
	// default is defaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// Models are the models to use where a request names none, in place of those of
	// its Descriptor.
	Models map[providers.Task]string
	// MaxTokens caps an answer where the request does not; 0: the model's own cap.
	MaxTokens int64
	// PollEvery is the time to the first look at a film that is being made; it
	// grows by half with each look, up to 15 s. The default is 5 s.
	PollEvery time.Duration
	// Guarded fetches what an answer names an address of that is not Google's own. The
	// default is wire.PublicClient, which calls public addresses only.
	Guarded *http.Client
}

// Provider calls Google. It is a providers.Provider.
type Provider struct {
	config Config
	base   string // with the version
	caps   providers.Capabilities
	caller wire.Caller
}

// New checks config and returns its provider.
func New(config Config) (*Provider, error) {
	switch {
	case config.Name == "":
		return nil, errors.New("gemini: Name: must not be empty")
	case config.Client == nil:
		return nil, fmt.Errorf("gemini: %s: Client: must not be nil", config.Name)
	case config.Key == nil:
		return nil, fmt.Errorf("gemini: %s: Key: Google needs an API key", config.Name)
	}
	base, err := wire.BaseURL(config.BaseURL, defaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("gemini: %s: %w", config.Name, err)
	}
	if config.PollEvery < 0 {
		return nil, fmt.Errorf("gemini: %s: PollEvery: must be positive, got %s", config.Name, config.PollEvery)
	}
	if config.PollEvery == 0 {
		config.PollEvery = 5 * time.Second
	}
	if config.Guarded == nil {
		config.Guarded = wire.PublicClient(wire.PublicConfig{})
	}
	config.Models = maps.Clone(config.Models)
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules()}
	return &Provider{config: config, base: strings.TrimSuffix(base, version) + version, caps: capabilities(), caller: caller}, nil
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate makes one generation call. Where the answer holds calls of tools and no text,
// the response's Text is empty and its Raw holds them.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	req.Model = p.model(req)
	if p.caps.Check(req) != nil { // its text may repeat the request
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "unsupported_option")
	}
	req.Model = strings.TrimPrefix(req.Model, prefix)
	res, failure := p.generate(ctx, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

// model is the model that req is for.
func (p *Provider) model(req providers.Request) string {
	return cmp.Or(req.Model, p.config.Models[req.Task], p.caps.Tasks[req.Task].DefaultModel)
}

func (p *Provider) generate(ctx context.Context, req providers.Request) (providers.Response, *providers.Error) {
	secret, failure := wire.Key(ctx, p.config.Name, p.config.Key)
	if failure != nil {
		return providers.Response{}, failure
	}
	switch {
	case req.Body != nil:
		return p.own(ctx, secret, req)
	case req.Task == providers.Embedding:
		return p.embed(ctx, secret, req)
	case req.Task == providers.Video:
		return p.film(ctx, secret, req)
	}
	if req.MaxTokens == 0 && req.Task == providers.Text {
		req.MaxTokens = p.config.MaxTokens
	}
	made, err := fields(req)
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.post(ctx, secret, generate, made, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.read(a, req)
}

// own sends a body as it was given.
func (p *Provider) own(ctx context.Context, secret string, req providers.Request) (providers.Response, *providers.Error) {
	e, _ := p.caps.Endpoint(req.Endpoint)
	named, _, err := p.caps.Named(req)
	body, errBody := bodyFor(req)
	if err != nil || errBody != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	_, method, _ := strings.Cut(e.Path, providers.ModelInPath)
	a, failure := p.post(ctx, secret, method, body, req)
	switch {
	case failure != nil:
		return providers.Response{}, failure
	case e.Task == providers.Embedding:
		return p.readVectors(a, req.Model)
	}
	return p.read(a, named)
}

// post calls a method of the request's model.
func (p *Provider) post(ctx context.Context, secret, method string, body any, req providers.Request) (wire.Answer, *providers.Error) {
	raw, ok := body.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = wire.JSON(body); err != nil {
			return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
		}
	}
	return p.send(ctx, http.MethodPost, "/models/"+url.PathEscape(req.Model)+method, secret, raw, wire.Texts(req))
}

// CheckKey reports, with a nil error, that secret is a key that works, by listing a
// model, which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	ask := func(key string) (wire.Answer, *providers.Error) {
		return p.send(ctx, http.MethodGet, "/models?pageSize=1", key, nil, nil)
	}
	return p.caller.CheckKey(ctx, secret, ask, func(a wire.Answer) bool {
		var list struct {
			Models []json.RawMessage `json:"models"`
		}
		return wire.Decode(a.Body, &list) == nil && list.Models != nil
	})
}

// send makes one HTTP call. The key goes in a header: in the address, where Google
// takes it too, proxies would write it down.
func (p *Provider) send(ctx context.Context, method, path, secret string, body []byte, texts []string) (wire.Answer, *providers.Error) {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set(keyHeader, secret)
	return p.caller.Send(ctx, r, wire.MaxAnswer, append(texts, secret)...)
}

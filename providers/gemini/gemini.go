// Package gemini makes generation calls to Google's Gemini API: text and pictures,
// by models/NAME:generateContent.
//
// It is a small client of our own, over providers/wire. Google's description of its
// API is the reference of its tests.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package gemini

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// defaultBaseURL is Google's own address.
	defaultBaseURL = "https://generativelanguage.googleapis.com"

	// version is the API's version that the client speaks.
	version = "/v1beta"
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
	config.Models = maps.Clone(config.Models)
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules()}
	return &Provider{config: config, base: strings.TrimSuffix(base, version) + version, caps: capabilities(), caller: caller}, nil
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
	req.Model = strings.TrimPrefix(req.Model, "models/")
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
	body, err := wire.JSON(fields(req))
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	path := "/models/" + url.PathEscape(req.Model) + ":generateContent"
	a, failure := p.send(ctx, http.MethodPost, path, secret, body, wire.Texts(req))
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.read(a, req)
}

// CheckKey reports, with a nil error, that secret is a key that works, by listing a
// model, which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	key, failure := wire.Key(ctx, p.config.Name, wire.Given(secret))
	if failure != nil {
		return failure
	}
	a, failure := p.send(ctx, http.MethodGet, "/models?pageSize=1", key, nil, nil)
	if failure != nil {
		return failure
	}
	var list struct {
		Models []json.RawMessage `json:"models"`
	}
	if wire.Decode(a.Body, &list) != nil || list.Models == nil {
		failure := p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
		failure.Billing = providers.Unbilled
		return failure
	}
	return nil
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
	r.Header.Set("X-Goog-Api-Key", secret)
	return p.caller.Send(ctx, r, wire.MaxAnswer, append(texts, secret)...)
}

// Package stability makes pictures with Stability's v2beta generate operations:
// core, ultra and the sd3 family. The model of a request names the operation.
//
// It is a small client of our own: there is no official one for Go.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package stability

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// defaultBaseURL is Stability's own address.
	defaultBaseURL = "https://api.stability.ai"

	// timeout is the time that Stability shuts out a key that was too fast. Its answer
	// says so in words only.
	timeout = time.Minute
)

// Config says how to reach Stability.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is the address under which /v2beta and /v1 stand. The default is defaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// Models are the models to use where a request names none, in place of those
	// of its Descriptor.
	Models map[providers.Task]string
}

// Provider calls Stability. It is a providers.Provider.
type Provider struct {
	config Config
	base   string
	caps   providers.Capabilities
	caller wire.Caller
}

// New checks config and returns its provider.
func New(config Config) (*Provider, error) {
	if config.Name == "" {
		return nil, errors.New("stability: Name: must not be empty")
	}
	if config.Client == nil {
		return nil, fmt.Errorf("stability: %s: Client: must not be nil", config.Name)
	}
	if config.Key == nil {
		return nil, fmt.Errorf("stability: %s: Key: Stability needs an API key", config.Name)
	}
	base, err := wire.BaseURL(config.BaseURL, defaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("stability: %s: %w", config.Name, err)
	}
	caps := capabilities()
	for task, model := range config.Models {
		if err := caps.Check(providers.Request{Task: task, Model: model, Prompt: "any"}); err != nil {
			return nil, fmt.Errorf("stability: %s: Models: %w", config.Name, err)
		}
	}
	config.Models = maps.Clone(config.Models)
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules()}
	return &Provider{config: config, base: base, caps: caps, caller: caller}, nil
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate makes one picture. A picture that Stability blurred for its content is
// a failure of kind providers.Moderated, though it comes as a success; it is
// charged, since Stability charges each generation that succeeds, and only a
// refusal (HTTP 403) says that it was not.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	req.Model = p.model(req)
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
	key, failure := wire.Key(ctx, p.config.Name, p.config.Key)
	if failure != nil {
		return providers.Response{}, failure
	}
	r, err := p.request(ctx, key, req)
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.caller.Send(ctx, r, wire.MaxAnswer, append(wire.Texts(req), key)...)
	if failure != nil {
		return providers.Response{}, wire.Used(failure, usage(req.Model))
	}
	return p.read(a, req.Model)
}

// CheckKey reports, with a nil error, that secret is a key that works, by asking
// for the account's balance, which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	ask := func(key string) (wire.Answer, *providers.Error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/v1/user/balance", http.NoBody)
		if err != nil {
			return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Accept", "application/json")
		return p.caller.Send(ctx, req, wire.MaxAnswer, key)
	}
	return p.caller.CheckKey(ctx, secret, ask, func(a wire.Answer) bool {
		var balance struct {
			Credits *float64 `json:"credits"`
		}
		return wire.Decode(a.Body, &balance) == nil && balance.Credits != nil
	})
}

// rules say what Stability's own words mean.
func rules() []wire.Rule {
	return []wire.Rule{{Status: http.StatusTooManyRequests, Kind: providers.RateLimited, Wait: timeout}}
}

// read judges an answer that has a successful status: only a picture is one.
func (p *Provider) read(a wire.Answer, model string) (providers.Response, *providers.Error) {
	reason := wire.SanitiseCode(a.Header.Get("Finish-Reason"))
	switch {
	case reason == "CONTENT_FILTERED":
		failure := p.caller.Refused(a, reason, usage(model))
		failure.Body = nil // a blurred picture
		return providers.Response{}, failure
	case len(a.Body) == 0:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrEmpty, usage(model))
	case !providers.IsMedia("image", a.Body):
		return providers.Response{}, p.caller.Malformed(a, wire.ErrMediaType, usage(model))
	case reason != "" && reason != "SUCCESS":
		failure := p.caller.Unreadable(a, wire.ErrNoResult, usage(model))
		failure.Code = reason
		return providers.Response{}, failure
	}
	return providers.Response{
		Provider:     p.config.Name,
		Model:        model,
		Blobs:        []providers.Blob{{MIME: providers.MediaType(a.Body), Data: a.Body}},
		FinishReason: reason,
		RequestID:    wire.RequestID(a.Header),
		Status:       a.Status,
		Usage:        usage(model),
		Latency:      a.Latency,
		Limits:       wire.RateLimits(a.Header, a.At),
	}, nil
}

// model is the model that req is for.
func (p *Provider) model(req providers.Request) string {
	switch {
	case req.Model != "":
		return req.Model
	case p.config.Models[req.Task] != "":
		return p.config.Models[req.Task]
	default:
		return p.caps.Tasks[req.Task].DefaultModel
	}
}

// usage returns the charge for one picture: Stability reports no usage but charges a flat
// number of credits. Pictures are not counted beside them, or they would be
// charged twice. A model that is not known here is counted as a picture.
func usage(model string) providers.Usage {
	switch model {
	case "core":
		return providers.Usage{MilliCredits: 3000}
	case "ultra":
		return providers.Usage{MilliCredits: 8000}
	case "sd3.5-large":
		return providers.Usage{MilliCredits: 6500}
	case "sd3.5-large-turbo":
		return providers.Usage{MilliCredits: 4000}
	case "sd3.5-medium":
		return providers.Usage{MilliCredits: 3500}
	case "sd3.5-flash":
		return providers.Usage{MilliCredits: 2500}
	}
	return providers.Usage{Images: 1}
}

// operation is the last part of the address that makes pictures with model.
func operation(model string) string {
	if strings.HasPrefix(model, "sd3") {
		return "sd3"
	}
	return model
}

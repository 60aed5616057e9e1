// Package openai makes generation calls to OpenAI and to every server that
// speaks its protocol: text by /chat/completions, pictures by /images/generations,
// sound by /audio/speech, vectors by /embeddings, transcriptions by
// /audio/transcriptions and, with compatible servers only, film by the asynchronous
// /videos.
//
// It is a small client of our own for these endpoints. OpenAI's official one is
// what its tests hold it against: what it sends, and what it reads.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// defaultBaseURL is OpenAI's own address.
const defaultBaseURL = "https://api.openai.com/v1/"

// Config says how to reach one server.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is the address under which /chat/completions stands, such as
	// "http://localhost:8000/v1". A query in it, such as Azure's api-version, is
	// sent with each call. The default is defaultBaseURL.
	BaseURL string
	// Compatible reports whether this is not OpenAI itself but a server that speaks
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
	// Preset holds what differs at a server that is known by name.
	Preset providers.Preset
	// MaxTokens caps an answer where the request does not; 0: the server's own cap.
	MaxTokens int64
	// Voice is the voice to speak with where a request names none. The default is
	// defaultVoice.
	Voice string
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
	// default is wire.PublicClient, which calls public addresses only, and a
	// compatible server itself.
	Guarded *http.Client
	// IdleTimeout is the time that an answer may stand still while it is read. The
	// default is wire.IdleTimeout.
	IdleTimeout time.Duration
}

// Provider calls one server. It is a providers.Provider.
type Provider struct {
	config Config
	base   string
	query  string // with the ? before it
	caps   providers.Capabilities
	caller wire.Caller
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
	base, err := wire.BaseURL(address, defaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("openai: %s: %w", config.Name, err)
	}
	values, err := url.ParseQuery(rest)
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
		config.Guarded = wire.PublicClient(wire.PublicConfig{Allow: hosts(base, config.Compatible)})
	}
	config.Models = maps.Clone(config.Models)
	if config.Voice == "" {
		config.Voice = defaultVoice
	}
	caps := capabilities()
	if config.Compatible {
		caps = compatibleCapabilities()
	}
	caps = config.Preset.Narrow(caps)
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules(), Idle: config.IdleTimeout}
	p := &Provider{config: config, base: base, caps: caps, caller: caller}
	if len(values) > 0 {
		p.query = "?" + values.Encode()
	}
	return p, nil
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
	var res providers.Response
	secret, failure := p.key(ctx)
	if failure != nil {
		return res, failure
	}
	switch {
	case req.Body != nil:
		req.Model = model
		res, failure = p.own(ctx, secret, req)
	case req.Task == providers.Text:
		res, failure = p.text(ctx, secret, model, req)
	case req.Task == providers.Image:
		res, failure = p.image(ctx, secret, model, req)
	case req.Task == providers.Audio:
		res, failure = p.speech(ctx, secret, model, req)
	case req.Task == providers.Video:
		res, failure = p.video(ctx, secret, model, req)
	case req.Task == providers.Embedding:
		res, failure = p.embed(ctx, secret, model, req)
	case req.Task == providers.Transcription:
		res, failure = p.transcribe(ctx, secret, model, req)
	}
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

// CheckKey checks that secret is a key that works, by listing the models,
// which is free. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	key, failure := p.usable(ctx, secret, nil)
	if failure != nil {
		return failure
	}
	_, failure = p.list(ctx, key)
	if failure != nil {
		return failure
	}
	return nil
}

// ShutdownDates returns the days, such as "2027-01-14", on which models are or were
// shut down, by their names, as far as the server tells. Its error is always a
// *providers.Error.
func (p *Provider) ShutdownDates(ctx context.Context, secret string) (map[string]string, error) {
	key, failure := p.usable(ctx, secret, nil)
	if failure != nil {
		return nil, failure
	}
	models, failure := p.list(ctx, key)
	if failure != nil {
		return nil, failure
	}
	dates := map[string]string{}
	for _, raw := range models {
		var m struct {
			ID           wire.Text `json:"id"`
			ShutdownDate wire.Text `json:"shutdown_date"`
		}
		if json.Unmarshal(raw, &m) != nil {
			continue
		}
		if day, err := time.Parse(time.DateOnly, string(m.ShutdownDate)); err == nil {
			dates[string(m.ID)] = day.Format(time.DateOnly)
		}
	}
	return dates, nil
}

// list lists the models, which is free.
func (p *Provider) list(ctx context.Context, key string) ([]json.RawMessage, *providers.Error) {
	a, failure := p.get(ctx, key, "/models", "application/json", wire.MaxAnswer)
	if failure != nil {
		return nil, failure
	}
	// A list of models, and not any answer: a wrong base URL may answer with
	// something.
	var list struct {
		Data   []json.RawMessage `json:"data"`
		Models []json.RawMessage `json:"models"`
	}
	if wire.Decode(a.Body, &list) != nil || list.Data == nil && list.Models == nil {
		failure := p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
		failure.Billing = providers.Unbilled
		return nil, failure
	}
	return append(list.Data, list.Models...), nil
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
	return p.caller.Unsent(providers.InvalidRequest, code)
}

// key asks for the API key. It is empty where a compatible server needs none.
func (p *Provider) key(ctx context.Context) (string, *providers.Error) {
	if p.config.Key == nil {
		return "", nil
	}
	secret, err := p.config.Key(ctx)
	return p.usable(ctx, secret, err)
}

// usable checks a key, and the error that it came with.
func (p *Provider) usable(ctx context.Context, secret string, err error) (string, *providers.Error) {
	if err == nil && strings.TrimSpace(secret) == "" && p.config.Compatible {
		return "", nil
	}
	return wire.Key(ctx, p.config.Name, func(context.Context) (string, error) { return secret, err })
}

// post makes one HTTP call that costs.
func (p *Provider) post(
	ctx context.Context, secret, path, contentType string, body []byte, accept string, limit int64, req providers.Request,
) (wire.Answer, *providers.Error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path+p.query, bytes.NewReader(body))
	if err != nil {
		return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	r.Header.Set("Content-Type", contentType)
	p.sign(r, secret, accept)
	return p.caller.Send(ctx, r, limit, append(wire.Texts(req), secret)...)
}

// postJSON is post with fields, and what a request adds to them in OpenAI's words.
func (p *Provider) postJSON(
	ctx context.Context, secret, path string, fields map[string]any, accept string, limit int64, req providers.Request,
) (wire.Answer, *providers.Error) {
	err := wire.Merge(fields, req.Extra)
	var body []byte
	if err == nil {
		body, err = wire.JSON(fields)
	}
	if err != nil {
		return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	return p.post(ctx, secret, path, "application/json", body, accept, limit, req)
}

// get makes one HTTP call that only reads, below the base URL.
func (p *Provider) get(ctx context.Context, secret, path, accept string, limit int64) (wire.Answer, *providers.Error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path+p.query, http.NoBody)
	if err != nil {
		return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	p.sign(r, secret, accept)
	return p.caller.Send(ctx, r, limit, secret)
}

// sign sets the headers of a call: the key, and whom OpenAI charges.
func (p *Provider) sign(r *http.Request, secret, accept string) {
	r.Header.Set("Accept", accept)
	switch header := p.config.KeyHeader; {
	case secret == "":
	case header != "" && !strings.EqualFold(header, "Authorization"):
		r.Header.Set(header, secret)
	default:
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	if p.config.Organization != "" {
		r.Header.Set("OpenAI-Organization", p.config.Organization)
	}
	if p.config.Project != "" {
		r.Header.Set("OpenAI-Project", p.config.Project)
	}
}

// response has the fields of every successful answer.
func (p *Provider) response(a wire.Answer, requested, answered string, usage providers.Usage) providers.Response {
	if answered == "" {
		answered = requested
	}
	return providers.Response{
		Provider:  p.config.Name,
		Model:     answered,
		RequestID: wire.RequestID(a.Header),
		Status:    a.Status,
		Raw:       a.Body,
		Usage:     usage,
		Latency:   a.Latency,
		Limits:    wire.RateLimits(a.Header, a.At),
	}
}

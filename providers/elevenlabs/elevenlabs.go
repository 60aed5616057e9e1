// Package elevenlabs speaks texts with ElevenLabs' text to speech.
//
// It is a small client of our own: there is no official one for Go.
//
// It may import oneflow/providers and oneflow/providers/wire, nothing else of ours.
package elevenlabs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"oneflow/providers"
	"oneflow/providers/wire"
)

const (
	// DefaultBaseURL is ElevenLabs' own address.
	DefaultBaseURL = "https://api.elevenlabs.io"
	// DefaultVoice is the voice used where neither a request nor Config names
	// one: the one in ElevenLabs' own examples.
	DefaultVoice = "21m00Tcm4TlvDq8ikWAM"

	vendor = wire.ElevenLabs
)

// Config says how to reach ElevenLabs.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is where /v1 hangs, such as one of ElevenLabs' regional addresses.
	// The default is DefaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// Voice is the id of the voice to use where a request names none. The default
	// is DefaultVoice.
	Voice string
	// Models are the models to use where a request names none, in place of those
	// of its Descriptor.
	Models map[providers.Task]string
}

// Provider calls ElevenLabs. It is a providers.Provider.
type Provider struct {
	config Config
	base   string
	caps   providers.Capabilities
}

// New checks config and returns its provider.
func New(config Config) (*Provider, error) {
	if config.Name == "" {
		return nil, errors.New("elevenlabs: Name: must not be empty")
	}
	if config.Client == nil {
		return nil, fmt.Errorf("elevenlabs: %s: Client: must not be nil", config.Name)
	}
	if config.Key == nil {
		return nil, fmt.Errorf("elevenlabs: %s: Key: ElevenLabs needs an API key", config.Name)
	}
	base, err := wire.BaseURL(config.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("elevenlabs: %s: %w", config.Name, err)
	}
	if config.Voice == "" {
		config.Voice = DefaultVoice
	}
	caps := capabilities()
	if err := caps.Check(providers.Request{Task: providers.Audio, Prompt: "any", Voice: config.Voice}); err != nil {
		return nil, fmt.Errorf("elevenlabs: %s: Voice: %w", config.Name, err)
	}
	for task, model := range config.Models {
		if err := caps.Check(providers.Request{Task: task, Model: model, Prompt: "any"}); err != nil {
			return nil, fmt.Errorf("elevenlabs: %s: Models: %w", config.Name, err)
		}
	}
	config.Models = maps.Clone(config.Models)
	return &Provider{config: config, base: base, caps: caps}, nil
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate speaks one text.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	if p.caps.Check(req) != nil { // its text may repeat the request
		return providers.Response{}, p.unsent("unsupported_option")
	}
	req.Model, req.Voice, req.OutputFormat = p.model(req), p.voice(req), format(req.OutputFormat)
	key, err := wire.Key(ctx, p.config.Name, p.config.Key)
	if err != nil {
		return providers.Response{}, err
	}
	httpReq, err := p.request(ctx, key, req)
	if err != nil {
		return providers.Response{}, p.unsent("request_not_encodable")
	}
	a, err := wire.Call(ctx, p.config.Client, vendor, p.config.Name, httpReq)
	if err != nil {
		return providers.Response{}, err
	}
	return p.read(a, req)
}

// CheckKey tells whether secret is a key that works, by asking for the account,
// which is free. A key that may not read the account is one that works: only a
// known key can lack a permission. Its error is always a *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	key, err := wire.Key(ctx, p.config.Name, func(context.Context) (string, error) { return secret, nil })
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/v1/user", http.NoBody)
	if err != nil {
		return p.unsent("request_not_encodable")
	}
	req.Header.Set("Xi-Api-Key", key)
	req.Header.Set("Accept", "application/json")
	a, err := wire.Call(ctx, p.config.Client, vendor, p.config.Name, req)
	if failure, ok := errors.AsType[*providers.Error](err); ok && failure.Code == "missing_permissions" {
		return nil
	}
	if err != nil {
		return err
	}
	var account struct {
		Subscription json.RawMessage `json:"subscription"`
		UserID       string          `json:"user_id"`
	}
	if json.Unmarshal(a.Body, &account) != nil || account.UserID == "" && len(account.Subscription) == 0 {
		return a.Malformed(vendor, p.config.Name, wire.ErrNotJSON)
	}
	return nil
}

// read judges an answer that has a successful status: only sound is one.
func (p *Provider) read(a wire.Answer, req providers.Request) (providers.Response, error) {
	if len(a.Body) == 0 {
		return providers.Response{}, a.Malformed(vendor, p.config.Name, wire.ErrEmpty)
	}
	kind := mediaType(a, req.OutputFormat)
	if kind == "" {
		return providers.Response{}, a.Malformed(vendor, p.config.Name, wire.ErrMediaType)
	}
	return providers.Response{
		Provider:  p.config.Name,
		Model:     req.Model,
		Blobs:     []providers.Blob{{MIME: kind, Data: a.Body}},
		RequestID: wire.RequestID(a.Header),
		Status:    a.Status,
		Usage:     usage(a.Header, req.Prompt),
		Latency:   a.Latency,
		Limits:    wire.RateLimits(a.Header, a.At),
	}, nil
}

// mediaType is the type of the sound in an answer, empty where it is none. Bare
// samples carry no mark: they are believed where they were asked for, unless the
// answer says, or looks, otherwise.
func mediaType(a wire.Answer, format string) string {
	codec, _, _ := strings.Cut(format, "_")
	if bare := map[string]string{"pcm": "audio/pcm", "ulaw": "audio/basic", "alaw": "audio/x-alaw-basic"}[codec]; bare != "" {
		said, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
		if err == nil && !strings.HasPrefix(said, "audio/") && said != "application/octet-stream" || json.Valid(a.Body) {
			return ""
		}
		return bare
	}
	if wire.IsMedia("audio", a.Body) {
		return wire.MediaType(a.Body)
	}
	return ""
}

// usage is what one text costs. The list price is by the character of the text.
// The header character-cost is in credits, of which the cheaper models take half
// a one for a character: it counts only where it is more than the text, as for
// voices that cost extra.
func usage(h http.Header, text string) providers.Usage {
	characters := int64(utf8.RuneCountInString(text))
	if cost, err := strconv.ParseInt(h.Get("Character-Cost"), 10, 64); err == nil {
		characters = max(characters, cost)
	}
	return providers.Usage{Characters: characters}
}

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

func (p *Provider) voice(req providers.Request) string {
	if req.Voice != "" {
		return req.Voice
	}
	return p.config.Voice
}

// unsent is the failure of a call that was not made.
func (p *Provider) unsent(code string) *providers.Error {
	return &providers.Error{Provider: p.config.Name, Kind: providers.InvalidRequest, Billing: providers.Unbilled, Code: code}
}

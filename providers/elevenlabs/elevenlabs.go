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
	// defaultBaseURL is ElevenLabs' own address.
	defaultBaseURL = "https://api.elevenlabs.io"
	// defaultVoice is the voice used where neither a request nor Config names
	// one: the one in ElevenLabs' own examples.
	defaultVoice = "21m00Tcm4TlvDq8ikWAM"
)

// Config says how to reach ElevenLabs.
type Config struct {
	// Name is the configured name of the provider. Required.
	Name string
	// BaseURL is the address under which /v1 stands, such as one of ElevenLabs' regional addresses.
	// The default is defaultBaseURL.
	BaseURL string
	// Client sends the requests, best one of wire.NewClient. It must not follow
	// redirects, nor retry, nor cut calls short: ctx bounds them. Required.
	Client *http.Client
	// Key returns the API key, once for each call. Required.
	Key func(ctx context.Context) (string, error)
	// Voice is the id of the voice to use where a request names none. The default
	// is defaultVoice.
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
	caller wire.Caller
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
	base, err := wire.BaseURL(config.BaseURL, defaultBaseURL)
	if err != nil {
		return nil, fmt.Errorf("elevenlabs: %s: %w", config.Name, err)
	}
	if config.Voice == "" {
		config.Voice = defaultVoice
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
	caller := wire.Caller{Provider: config.Name, Client: config.Client, Rules: rules()}
	return &Provider{config: config, base: base, caps: caps, caller: caller}, nil
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate speaks one text.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	if p.caps.Check(req) != nil { // its text may repeat the request
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "unsupported_option")
	}
	req.Model, req.Voice, req.OutputFormat = p.model(req), p.voice(req), format(req.OutputFormat)
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
		return providers.Response{}, wire.Used(failure, usage(a.Header, req.Prompt))
	}
	return p.read(a, req)
}

// CheckKey reports, with a nil error, that secret is a key that works, by asking
// for the account, which is free. A key that may not read the account is one that
// works: only a known key can lack a permission. Its error is always a
// *providers.Error.
func (p *Provider) CheckKey(ctx context.Context, secret string) error {
	ask := func(key string) (wire.Answer, *providers.Error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/v1/user", http.NoBody)
		if err != nil {
			return wire.Answer{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
		}
		req.Header.Set("Xi-Api-Key", key)
		req.Header.Set("Accept", "application/json")
		return p.caller.Send(ctx, req, wire.MaxAnswer, key)
	}
	err := p.caller.CheckKey(ctx, secret, ask, func(a wire.Answer) bool {
		var account struct {
			Subscription json.RawMessage `json:"subscription"`
			UserID       wire.Text       `json:"user_id"`
		}
		return wire.Decode(a.Body, &account) == nil && (account.UserID != "" || len(account.Subscription) > 0)
	})
	if failure, ok := errors.AsType[*providers.Error](err); ok && failure.Code == "missing_permissions" {
		return nil
	}
	return err
}

// rules say what ElevenLabs' own words mean.
func rules() []wire.Rule {
	return []wire.Rule{
		{Words: "quota_exceeded", Kind: providers.OutOfMoney}, // sent as 400 or 401
		// What the account's plan does not hold concerns this request, not the account.
		{Words: "paid_plan_required output_format_not_allowed", Kind: providers.InvalidRequest},
		{Words: "content_against_policy content_moderated", Kind: providers.Moderated},
		{Words: "max_character_limit_exceeded text_too_long", Kind: providers.TooLarge},
		{Words: "voice_not_found", Kind: providers.NotFound},
		{Words: "too_many_concurrent_requests concurrent_limit_exceeded", Kind: providers.ConcurrencyLimit},
		{Words: "system_busy", Kind: providers.RateLimited},
		{Words: "detected_unusual_activity", Kind: providers.AccessDenied},
	}
}

// read judges an answer that has a successful status: only sound is one.
func (p *Provider) read(a wire.Answer, req providers.Request) (providers.Response, *providers.Error) {
	used := usage(a.Header, req.Prompt)
	if len(a.Body) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrEmpty, used)
	}
	kind := mediaType(a, req.OutputFormat)
	if kind == "" {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrMediaType, used)
	}
	return providers.Response{
		Provider:  p.config.Name,
		Model:     req.Model,
		Blobs:     []providers.Blob{{MIME: kind, Data: a.Body}},
		RequestID: wire.RequestID(a.Header),
		Status:    a.Status,
		Usage:     used,
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
	if providers.IsMedia("audio", a.Body) {
		return providers.MediaType(a.Body)
	}
	return ""
}

// usage returns the cost of one text: the credits that the header character-cost tells, of
// which models and voices count more or fewer a character, else its characters.
func usage(h http.Header, text string) providers.Usage {
	characters := int64(utf8.RuneCountInString(text))
	said := h.Get("Character-Cost")
	cost, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	switch {
	case said == "", err == nil && cost == 0:
		return providers.Usage{Characters: characters}
	case err != nil || cost < 0 || cost > dearest*max(characters, dearest):
		return wire.Implausible(providers.Usage{Characters: characters}, []byte(said))
	}
	return providers.Usage{MilliCredits: 1000 * cost}
}

// dearest is the most credits that a character is believed to cost.
const dearest = 100

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

package elevenlabs_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/wire"
)

const (
	canaryKey    = "sk_canary_key"
	canaryPrompt = "canary prompt: <hello> & “goodbye” 😀"
	mp3          = "\xff\xfb\x90\xc4the rest of a sound"
)

// seen is a request as the server got it.
type seen struct {
	Method, Path, Query, Key, Accept string
	Body                             map[string]any
}

// serve returns a provider whose server notes requests and answers with handle.
func serve(t *testing.T, handle http.HandlerFunc, change func(*elevenlabs.Config)) (*elevenlabs.Provider, *seen) {
	t.Helper()
	got := &seen{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*got = seen{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Key: r.Header.Get("xi-api-key"), Accept: r.Header.Get("Accept")}
		if r.Method == http.MethodPost {
			if r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", r.Header.Get("Content-Type"))
			}
			if err := json.NewDecoder(r.Body).Decode(&got.Body); err != nil {
				t.Errorf("no JSON: %v", err)
			}
		}
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := elevenlabs.Config{
		Name: "voices", BaseURL: server.URL, Client: client,
		Key: func(context.Context) (string, error) { return canaryKey, nil },
	}
	if change != nil {
		change(&config)
	}
	p, err := elevenlabs.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p, got
}

func answer(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// failure checks what holds for every failure and returns it.
func failure(t *testing.T, err error) *providers.Error {
	t.Helper()
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("got %v, which is no *providers.Error", err)
	}
	if strings.Contains(e.Error(), "canary") {
		t.Errorf("the text tells a secret: %s", e.Error())
	}
	if e.Provider != "voices" {
		t.Errorf("provider %q", e.Provider)
	}
	return e
}

func TestARequestHasAllThatWasAskedFor(t *testing.T) {
	t.Parallel()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		req   providers.Request
		voice string
		query string
		body  map[string]any
	}{
		"by default": {
			providers.Request{},
			elevenlabs.DefaultVoice, "output_format=mp3_44100_128",
			map[string]any{"text": canaryPrompt, "model_id": "eleven_multilingual_v2"},
		},
		"with all options": {
			providers.Request{
				Model: "eleven_flash_v2_5", Voice: "JBFqnCBsd6RMkjVDRZzb", OutputFormat: "mp3_22050_32", Seed: new(int64(0)), Speed: new(0.9),
				VoiceSettings: &providers.VoiceSettings{Stability: new(0.0), SimilarityBoost: new(0.75), Style: new(1.0), UseSpeakerBoost: new(false)},
				Extra: map[string]json.RawMessage{
					"language_code": raw(`"de"`), "previous_request_ids": raw(`["a","b"]`), "apply_text_normalization": raw(`"off"`), "enable_logging": raw(`false`),
				},
			},
			"JBFqnCBsd6RMkjVDRZzb", "enable_logging=false&output_format=mp3_22050_32",
			map[string]any{
				"text": canaryPrompt, "model_id": "eleven_flash_v2_5", "seed": 0.0,
				"voice_settings": map[string]any{"stability": 0.0, "similarity_boost": 0.75, "style": 1.0, "use_speaker_boost": false, "speed": 0.9},
				"language_code":  "de", "previous_request_ids": []any{"a", "b"}, "apply_text_normalization": "off",
			},
		},
		"speed alone": {
			providers.Request{Model: "eleven_turbo_v2_5", Speed: new(1.2), OutputFormat: "mp3"},
			elevenlabs.DefaultVoice, "output_format=mp3_44100_128",
			map[string]any{"text": canaryPrompt, "model_id": "eleven_turbo_v2_5", "voice_settings": map[string]any{"speed": 1.2}},
		},
		"settings alone": {
			providers.Request{Model: "eleven_v3", VoiceSettings: &providers.VoiceSettings{Stability: new(0.5)}},
			elevenlabs.DefaultVoice, "output_format=mp3_44100_128",
			map[string]any{"text": canaryPrompt, "model_id": "eleven_v3", "voice_settings": map[string]any{"stability": 0.5}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, got := serve(t, answer(200, map[string]string{
				"Content-Type": "audio/mpeg", "request-id": "req1", "character-cost": "40", "current-concurrent-requests": "1", "maximum-concurrent-requests": "5",
			}, mp3), nil)
			c.req.Task, c.req.Prompt = providers.Audio, canaryPrompt
			before := len(c.req.Extra)
			res, err := p.Generate(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			want := seen{Method: "POST", Path: "/v1/text-to-speech/" + c.voice, Query: c.query, Key: canaryKey, Accept: "audio/*", Body: c.body}
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("request (-want +got)\n%s", diff)
			}
			if len(c.req.Extra) != before {
				t.Error("the caller's request was changed")
			}
			if res.Latency <= 0 {
				t.Errorf("latency %s", res.Latency)
			}
			res.Latency = 0
			wantRes := providers.Response{
				Provider: "voices", Model: c.body["model_id"].(string), Blobs: []providers.Blob{{MIME: "audio/mpeg", Data: []byte(mp3)}},
				RequestID: "req1", Status: 200, Usage: providers.Usage{MilliCredits: 40_000},
				Limits: providers.RateLimits{Concurrent: &providers.RateLimit{Limit: 5, Remaining: 4}},
			}
			if diff := cmp.Diff(wantRes, res); diff != "" {
				t.Errorf("response (-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheCreditsThatTheHeaderTellsAreCountedElseTheCharacters(t *testing.T) {
	t.Parallel()
	characters := providers.Usage{Characters: 7}
	for header, want := range map[string]providers.Usage{
		"": characters, "3": {MilliCredits: 3000}, "14": {MilliCredits: 14_000}, "0": characters,
		"-5": characters, "many": characters, "99999999999999999999": characters, "1000000000": characters,
	} {
		p, _ := serve(t, answer(200, map[string]string{"character-cost": header}, mp3), nil)
		res, err := p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: "héllo 😀", Model: "eleven_flash_v2_5"})
		if err != nil || res.Usage.Implausible != (header == "-5" || header == "many" || len(header) > 5) {
			t.Errorf("character-cost %q: got %+v, %v", header, res.Usage, err)
		}
		if res.Usage.Implausible, res.Usage.Reported = false, ""; res.Usage != want {
			t.Errorf("character-cost %q: got %+v, want %+v", header, res.Usage, want)
		}
	}
}

func TestEachFormatIsRecognised(t *testing.T) {
	t.Parallel()
	samples := "\x00\x01\x02\x03\xff\xfe"
	for name, c := range map[string]struct{ format, sent, contentType, body, want string }{
		"mp3":             {"mp3", "mp3_44100_128", "audio/mpeg", mp3, "audio/mpeg"},
		"mp3 with a tag":  {"mp3_44100_192", "mp3_44100_192", "audio/mpeg", "ID3\x04" + samples, "audio/mpeg"},
		"opus":            {"opus", "opus_48000_96", "audio/ogg", "OggS" + samples, "audio/ogg"},
		"wav":             {"wav", "wav_24000", "audio/wav", "RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"},
		"pcm":             {"pcm", "pcm_24000", "audio/pcm", samples, "audio/pcm"},
		"pcm, named less": {"pcm_16000", "pcm_16000", "application/octet-stream", samples, "audio/pcm"},
		"pcm like mp3":    {"pcm_16000", "pcm_16000", "audio/pcm", mp3, "audio/pcm"},
		"μ-law":           {"ulaw_8000", "ulaw_8000", "audio/basic", samples, "audio/basic"},
		"A-law":           {"alaw_8000", "alaw_8000", "audio/alaw", samples, "audio/x-alaw-basic"},
	} {
		p, got := serve(t, answer(200, map[string]string{"Content-Type": c.contentType}, c.body), nil)
		res, err := p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: "p", OutputFormat: c.format})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Query != "output_format="+c.sent || res.Blobs[0].MIME != c.want || string(res.Blobs[0].Data) != c.body {
			t.Errorf("%s: query %s, blob %q", name, got.Query, res.Blobs)
		}
	}
}

func TestWhatIsNoSoundIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format string
		handle http.HandlerFunc
		cause  error
	}{
		"empty":               {"", answer(200, nil, ""), wire.ErrEmpty},
		"JSON":                {"", answer(200, map[string]string{"Content-Type": "audio/mpeg"}, `{"audio_base64":"canary prompt"}`), wire.ErrMediaType},
		"HTML":                {"", answer(200, nil, "<html>canary prompt</html>"), wire.ErrPage},
		"a picture":           {"", answer(200, nil, "\x89PNG\r\n\x1a\n"), wire.ErrMediaType},
		"samples, unasked":    {"", answer(200, map[string]string{"Content-Type": "audio/pcm"}, "\x00\x01\x02\x03"), wire.ErrMediaType},
		"JSON for samples":    {"pcm", answer(200, map[string]string{"Content-Type": "audio/pcm"}, `{"a":"canary prompt"}`), wire.ErrMediaType},
		"HTML for samples":    {"pcm", answer(200, map[string]string{"Content-Type": "text/html"}, "<html>"), wire.ErrPage},
		"truncated":           {"", answer(200, map[string]string{"Content-Length": "1000"}, mp3), wire.ErrTruncated},
		"larger than allowed": {"", answer(200, nil, mp3+strings.Repeat("x", 32<<20)), wire.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := serve(t, c.handle, nil)
			_, err := p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: canaryPrompt, OutputFormat: c.format})
			e := failure(t, err)
			kind, billing := providers.MalformedResponse, providers.Billed
			switch c.cause {
			case wire.ErrTruncated: //nolint:errorlint // the table names the errors themselves
				billing = providers.BillingUnknown
			case wire.ErrPage: // no answer of the API's
				kind, billing = providers.NotFound, providers.Unbilled
			case wire.ErrNoResult:
				kind = providers.Unreadable
			}
			if e.Kind != kind || e.Billing != billing || !e.Sent || !errors.Is(err, c.cause) {
				t.Errorf("got %+v", e)
			}
			if billing == providers.Billed && e.Usage == (providers.Usage{}) {
				t.Error("it does not say what it cost")
			}
		})
	}
}

func TestEachRefusalIsToldApart(t *testing.T) {
	t.Parallel()
	body := func(status string) string {
		return `{"detail":{"status":"` + status + `","message":"` + canaryKey + ` canary prompt"}}`
	}
	for name, c := range map[string]struct {
		status  int
		body    string
		kind    providers.Kind
		billing providers.Billing
	}{
		"quota under 401":   {401, body("quota_exceeded"), providers.OutOfMoney, providers.Unbilled},
		"quota under 400":   {400, body("quota_exceeded"), providers.OutOfMoney, providers.Unbilled},
		"wrong key":         {401, body("invalid_api_key"), providers.Unauthorised, providers.Unbilled},
		"no permission":     {401, body("missing_permissions"), providers.Unauthorised, providers.Unbilled},
		"unusual activity":  {401, body("detected_unusual_activity"), providers.AccessDenied, providers.Unbilled},
		"bad option":        {400, body("invalid_voice_settings"), providers.InvalidRequest, providers.Unbilled},
		"text too long":     {400, body("max_character_limit_exceeded"), providers.TooLarge, providers.Unbilled},
		"no such voice":     {404, body("voice_not_found"), providers.NotFound, providers.Unbilled},
		"plan":              {402, body("paid_plan_required"), providers.InvalidRequest, providers.Unbilled},
		"policy":            {403, body("content_against_policy"), providers.Moderated, providers.Unbilled},
		"validation":        {422, `{"detail":[{"loc":["body","text"],"msg":"canary","type":"missing"}]}`, providers.InvalidRequest, providers.Unbilled},
		"too many at once":  {429, body("too_many_concurrent_requests"), providers.ConcurrencyLimit, providers.Unbilled},
		"busy":              {429, body("system_busy"), providers.RateLimited, providers.Unbilled},
		"internal":          {500, "Internal Server Error: canary", providers.Overloaded, providers.Unbilled},
		"gateway":           {502, "<html>canary</html>", providers.Overloaded, providers.BillingUnknown},
		"timeout of theirs": {504, "", providers.Timeout, providers.BillingUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := serve(t, answer(c.status, map[string]string{"request-id": "req1"}, c.body), nil)
			_, err := p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: canaryPrompt})
			e := failure(t, err)
			if e.Kind != c.kind || e.Billing != c.billing || e.Status != c.status || e.RequestID != "req1" || string(e.Body) != c.body {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	t.Parallel()
	never := func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }
	for name, req := range map[string]providers.Request{
		"another task":       {Task: providers.Image, Prompt: canaryPrompt},
		"no prompt":          {Task: providers.Audio},
		"a voice with a way": {Task: providers.Audio, Prompt: canaryPrompt, Voice: "../user?"},
		"an extra":           {Task: providers.Audio, Prompt: canaryPrompt, Extra: map[string]json.RawMessage{"text": json.RawMessage(`"x"`)}},
	} {
		p, _ := serve(t, never, nil)
		_, err := p.Generate(t.Context(), req)
		if e := failure(t, err); e.Kind != providers.InvalidRequest || e.Billing != providers.Unbilled || e.Sent || e.Code != "unsupported_option" {
			t.Errorf("%s: got %+v", name, e)
		}
	}
	p, _ := serve(t, never, nil)
	_, err := p.Generate(t.Context(), providers.Request{
		Task: providers.Audio, Prompt: canaryPrompt, Extra: map[string]json.RawMessage{"broken": json.RawMessage(`{`)},
	})
	if e := failure(t, err); e.Kind != providers.InvalidRequest || e.Sent {
		t.Errorf("an extra that is no JSON: got %+v", e)
	}
	p, _ = serve(t, never, func(c *elevenlabs.Config) {
		c.Key = func(context.Context) (string, error) { return "", errors.New(canaryKey) }
	})
	_, err = p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: canaryPrompt})
	if e := failure(t, err); e.Kind != providers.Unauthorised || e.Billing != providers.Unbilled || e.Sent {
		t.Errorf("no key: got %+v", e)
	}
}

func TestAKeyIsCheckedForFree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		kind   providers.Kind
	}{
		"good":                      {answer(200, nil, `{"user_id":"u","subscription":{"tier":"free"}}`), ""},
		"good, for speech only":     {answer(401, nil, `{"detail":{"status":"missing_permissions","message":"no user_read"}}`), ""},
		"wrong":                     {answer(401, nil, `{"detail":{"status":"invalid_api_key","message":"`+canaryKey+`"}}`), providers.Unauthorised},
		"not JSON":                  {answer(200, nil, `<html>`), providers.NotFound},
		"no account in the answer":  {answer(200, nil, `{}`), providers.MalformedResponse},
		"the service does not work": {answer(503, nil, ``), providers.Overloaded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, got := serve(t, c.handle, nil)
			err := p.CheckKey(t.Context(), canaryKey)
			if diff := cmp.Diff(seen{Method: "GET", Path: "/v1/user", Key: canaryKey, Accept: "application/json"}, *got); diff != "" {
				t.Errorf("request (-want +got)\n%s", diff)
			}
			if c.kind == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if e := failure(t, err); e.Kind != c.kind {
				t.Errorf("got %+v", e)
			}
		})
	}
	p, _ := serve(t, answer(200, nil, "{}"), nil)
	if e := failure(t, p.CheckKey(t.Context(), "")); e.Kind != providers.Unauthorised || e.Sent {
		t.Errorf("no key: got %+v", e)
	}
}

func TestAConfigurationIsCheckedAndTheErrorNamesTheField(t *testing.T) {
	t.Parallel()
	good := elevenlabs.Config{
		Name: "voices", Client: &http.Client{}, Key: func(context.Context) (string, error) { return "", nil },
		Models: map[providers.Task]string{providers.Audio: "eleven_v3"},
	}
	p, err := elevenlabs.New(good)
	if err != nil || p.Name() != "voices" {
		t.Fatalf("got %v", err)
	}
	for want, change := range map[string]func(*elevenlabs.Config){
		"elevenlabs: Name: must not be empty":               func(c *elevenlabs.Config) { c.Name = "" },
		"elevenlabs: voices: Client: must not be nil":       func(c *elevenlabs.Config) { c.Client = nil },
		"elevenlabs: voices: Key: ":                         func(c *elevenlabs.Config) { c.Key = nil },
		"elevenlabs: voices: base URL: ":                    func(c *elevenlabs.Config) { c.BaseURL = "x" },
		"elevenlabs: voices: Voice: voice: must be the id ": func(c *elevenlabs.Config) { c.Voice = "Rachel the first" },
		`elevenlabs: voices: Models: task "image": `:        func(c *elevenlabs.Config) { c.Models = map[providers.Task]string{providers.Image: "x"} },
	} {
		config := good
		change(&config)
		if _, err := elevenlabs.New(config); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheConfigurationsVoiceAndModelAreUsedWhereNoneIsNamed(t *testing.T) {
	t.Parallel()
	p, got := serve(t, answer(200, nil, mp3), func(c *elevenlabs.Config) {
		c.Voice, c.Models = "JBFqnCBsd6RMkjVDRZzb", map[providers.Task]string{providers.Audio: "eleven_flash_v2_5"}
	})
	_, err := p.Generate(t.Context(), providers.Request{Task: providers.Audio, Prompt: "p"})
	if err != nil || got.Path != "/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb" || got.Body["model_id"] != "eleven_flash_v2_5" {
		t.Errorf("got %+v, %v", got, err)
	}
}

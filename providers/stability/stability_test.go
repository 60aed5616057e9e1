package stability_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/stability"
	"oneflow/providers/wire"
)

const (
	canaryKey    = "sk-canary-key"
	canaryPrompt = "canary prompt: a lighthouse, “at dusk”"
	png          = "\x89PNG\r\n\x1a\nthe rest of a picture"
)

// seen is a request as the server got it.
type seen struct {
	Method, Path, Authorization, Accept string
	Fields                              map[string]string
}

// serve returns a provider whose server notes requests and answers with handle.
func serve(t *testing.T, handle http.HandlerFunc, change func(*stability.Config)) (*stability.Provider, *seen) {
	t.Helper()
	got := &seen{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*got = seen{Method: r.Method, Path: r.URL.Path, Authorization: r.Header.Get("Authorization"), Accept: r.Header.Get("Accept"), Fields: map[string]string{}}
		if r.Method == http.MethodPost {
			if err := r.ParseMultipartForm(1 << 20); err != nil {
				t.Errorf("no multipart form: %v", err)
				return
			}
			for name, values := range r.MultipartForm.Value {
				if len(values) != 1 {
					t.Errorf("field %s comes %d times", name, len(values))
				}
				got.Fields[name] = values[0]
			}
		}
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	config := stability.Config{
		Name: "pictures", BaseURL: server.URL, Client: client,
		Key: func(context.Context) (string, error) { return canaryKey, nil },
	}
	if change != nil {
		change(&config)
	}
	p, err := stability.New(config)
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

func picture() http.HandlerFunc {
	return answer(200, map[string]string{"Content-Type": "image/png", "finish-reason": "SUCCESS", "seed": "343940597", "x-request-id": "req-1"}, png)
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
	if e.Provider != "pictures" {
		t.Errorf("provider %q", e.Provider)
	}
	return e
}

func TestARequestHasAllThatWasAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		req    providers.Request
		path   string
		fields map[string]string
		credit int64
	}{
		"by default": {
			providers.Request{}, "core", map[string]string{"prompt": canaryPrompt}, 3000,
		},
		"core with all options": {
			providers.Request{
				Model: "core", NegativePrompt: "fog", AspectRatio: "16:9", Seed: new(int64(0)), Style: "analog-film", OutputFormat: "png",
				Extra: map[string]json.RawMessage{"a_text": json.RawMessage(`"é\n"`), "a_number": json.RawMessage(`4.50`), "a_boolean": json.RawMessage(`true`)},
			},
			"core",
			map[string]string{
				"prompt": canaryPrompt, "negative_prompt": "fog", "aspect_ratio": "16:9", "seed": "0", "style_preset": "analog-film", "output_format": "png",
				"a_text": "é\n", "a_number": "4.50", "a_boolean": "true",
			},
			3000,
		},
		"ultra": {providers.Request{Model: "ultra"}, "ultra", map[string]string{"prompt": canaryPrompt}, 8000},
		"large": {
			providers.Request{Model: "sd3.5-large", Extra: map[string]json.RawMessage{"cfg_scale": json.RawMessage("4")}},
			"sd3",
			map[string]string{"prompt": canaryPrompt, "model": "sd3.5-large", "cfg_scale": "4"},
			6500,
		},
		"turbo":  {providers.Request{Model: "sd3.5-large-turbo"}, "sd3", map[string]string{"prompt": canaryPrompt, "model": "sd3.5-large-turbo"}, 4000},
		"medium": {providers.Request{Model: "sd3.5-medium"}, "sd3", map[string]string{"prompt": canaryPrompt, "model": "sd3.5-medium"}, 3500},
		"flash":  {providers.Request{Model: "sd3.5-flash"}, "sd3", map[string]string{"prompt": canaryPrompt, "model": "sd3.5-flash"}, 2500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, got := serve(t, picture(), nil)
			c.req.Task, c.req.Prompt = providers.Image, canaryPrompt
			res, err := p.Generate(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			want := seen{Method: "POST", Path: "/v2beta/stable-image/generate/" + c.path, Authorization: "Bearer " + canaryKey, Accept: "image/*", Fields: c.fields}
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("request (-want +got)\n%s", diff)
			}
			if res.Latency <= 0 {
				t.Errorf("latency %s", res.Latency)
			}
			res.Latency = 0
			model := c.req.Model
			if model == "" {
				model = "core"
			}
			wantRes := providers.Response{
				Provider: "pictures", Model: model, Blobs: []providers.Blob{{MIME: "image/png", Data: []byte(png)}},
				FinishReason: "SUCCESS", RequestID: "req-1", Status: 200, Usage: providers.Usage{MilliCredits: c.credit},
			}
			if diff := cmp.Diff(wantRes, res); diff != "" {
				t.Errorf("response (-want +got)\n%s", diff)
			}
		})
	}
}

func TestABlurredPictureIsARefusalThatIsCharged(t *testing.T) {
	t.Parallel()
	p, _ := serve(t, answer(200, map[string]string{"finish-reason": "CONTENT_FILTERED", "x-request-id": "req-1"}, png), nil)
	_, err := p.Generate(t.Context(), providers.Request{Task: providers.Image, Prompt: canaryPrompt, Model: "ultra"})
	e := failure(t, err)
	if e.Kind != providers.Moderated || e.Billing != providers.Billed || e.Usage.MilliCredits != 8000 || e.Status != 200 || e.Code != "CONTENT_FILTERED" || e.RequestID != "req-1" {
		t.Errorf("got %+v", e)
	}
}

func TestWhatIsNoPictureIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		cause  error
	}{
		"empty":               {answer(200, nil, ""), wire.ErrEmpty},
		"no content":          {answer(204, nil, ""), wire.ErrEmpty},
		"JSON":                {answer(200, map[string]string{"Content-Type": "application/json"}, `{"image":"canary prompt","finish_reason":"SUCCESS"}`), wire.ErrMediaType},
		"HTML":                {answer(200, map[string]string{"Content-Type": "image/png"}, "<html>canary prompt</html>"), wire.ErrPage},
		"sound":               {answer(200, nil, "ID3\x04canary prompt"), wire.ErrMediaType},
		"another outcome":     {answer(200, map[string]string{"finish-reason": "ERROR"}, png), wire.ErrNoResult},
		"truncated":           {answer(200, map[string]string{"Content-Length": "1000"}, png), wire.ErrTruncated},
		"larger than allowed": {answer(200, nil, png+strings.Repeat("x", 32<<20)), wire.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := serve(t, c.handle, nil)
			_, err := p.Generate(t.Context(), providers.Request{Task: providers.Image, Prompt: canaryPrompt})
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
	body := func(name, text string) string { return `{"id":"a1b2","name":"` + name + `","errors":["` + text + `"]}` }
	for name, c := range map[string]struct {
		status  int
		body    string
		kind    providers.Kind
		billing providers.Billing
		wait    time.Duration
	}{
		"bad option":  {400, body("bad_request", "canary prompt: is required"), providers.InvalidRequest, providers.Unbilled, 0},
		"wrong key":   {401, body("unauthorized", canaryKey), providers.Unauthorised, providers.Unbilled, 0},
		"no credits":  {402, body("payment_required", "You lack sufficient credits"), providers.OutOfMoney, providers.Unbilled, 0},
		"moderation":  {403, body("content_moderation", "Your request was flagged"), providers.Moderated, providers.Unbilled, 0},
		"may not":     {403, body("permission_denied", "no"), providers.Unauthorised, providers.Unbilled, 0},
		"not found":   {404, body("not_found", "no"), providers.NotFound, providers.Unbilled, 0},
		"too large":   {413, body("payload_too_large", "no"), providers.TooLarge, providers.Unbilled, 0},
		"language":    {422, body("invalid_language", "no"), providers.InvalidRequest, providers.Unbilled, 0},
		"too fast":    {429, body("rate_limit_exceeded", "timed out for 60 seconds"), providers.RateLimited, providers.Unbilled, time.Minute},
		"internal":    {500, body("internal_error", "no"), providers.Overloaded, providers.Unbilled, 0},
		"gateway":     {502, "<html>canary prompt</html>", providers.Overloaded, providers.BillingUnknown, 0},
		"unavailable": {503, "", providers.Overloaded, providers.Unbilled, 0},
		"timeout":     {504, "", providers.Timeout, providers.BillingUnknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := serve(t, answer(c.status, nil, c.body), nil)
			_, err := p.Generate(t.Context(), providers.Request{Task: providers.Image, Prompt: canaryPrompt})
			e := failure(t, err)
			if e.Kind != c.kind || e.Billing != c.billing || e.RetryAfter != c.wait || e.Status != c.status || string(e.Body) != c.body {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	t.Parallel()
	never := func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }
	for name, req := range map[string]providers.Request{
		"another task": {Task: providers.Audio, Prompt: canaryPrompt},
		"no prompt":    {Task: providers.Image},
		"its model":    {Task: providers.Image, Prompt: canaryPrompt, Model: "../../v1/user"},
		"an extra":     {Task: providers.Image, Prompt: canaryPrompt, Extra: map[string]json.RawMessage{"prompt": json.RawMessage(`"x"`)}},
	} {
		p, _ := serve(t, never, nil)
		_, err := p.Generate(t.Context(), req)
		if e := failure(t, err); e.Kind != providers.InvalidRequest || e.Billing != providers.Unbilled || e.Sent || e.Code != "unsupported_option" {
			t.Errorf("%s: got %+v", name, e)
		}
	}
	p, _ := serve(t, never, func(c *stability.Config) {
		c.Key = func(context.Context) (string, error) { return "", errors.New(canaryKey) }
	})
	_, err := p.Generate(t.Context(), providers.Request{Task: providers.Image, Prompt: canaryPrompt})
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
		"good":      {answer(200, nil, `{"credits":0}`), ""},
		"wrong":     {answer(401, nil, `{"id":"a","name":"unauthorized","errors":["`+canaryKey+`"]}`), providers.Unauthorised},
		"not JSON":  {answer(200, nil, `<html>`), providers.NotFound},
		"no answer": {answer(200, nil, `{}`), providers.MalformedResponse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, got := serve(t, c.handle, nil)
			err := p.CheckKey(t.Context(), canaryKey)
			want := seen{Method: "GET", Path: "/v1/user/balance", Authorization: "Bearer " + canaryKey, Accept: "application/json", Fields: map[string]string{}}
			if diff := cmp.Diff(want, *got); diff != "" {
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
	p, _ := serve(t, picture(), nil)
	if e := failure(t, p.CheckKey(t.Context(), " ")); e.Kind != providers.Unauthorised || e.Sent {
		t.Errorf("no key: got %+v", e)
	}
}

func TestAConfigurationIsCheckedAndTheErrorNamesTheField(t *testing.T) {
	t.Parallel()
	good := stability.Config{
		Name: "pictures", Client: &http.Client{}, Key: func(context.Context) (string, error) { return "", nil },
		Models: map[providers.Task]string{providers.Image: "ultra"},
	}
	p, err := stability.New(good)
	if err != nil || p.Name() != "pictures" {
		t.Fatalf("got %v", err)
	}
	for want, change := range map[string]func(*stability.Config){
		"stability: Name: must not be empty":                 func(c *stability.Config) { c.Name = "" },
		"stability: pictures: Client: must not be nil":       func(c *stability.Config) { c.Client = nil },
		"stability: pictures: Key: ":                         func(c *stability.Config) { c.Key = nil },
		"stability: pictures: base URL: ":                    func(c *stability.Config) { c.BaseURL = "x" },
		`stability: pictures: Models: model "gpt-image-1": `: func(c *stability.Config) { c.Models = map[providers.Task]string{providers.Image: "gpt-image-1"} },
	} {
		config := good
		change(&config)
		if _, err := stability.New(config); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAModelOfTheConfigurationIsUsedWhereNoneIsNamed(t *testing.T) {
	t.Parallel()
	p, got := serve(t, picture(), func(c *stability.Config) { c.Models = map[providers.Task]string{providers.Image: "sd3.5-medium"} })
	if _, err := p.Generate(t.Context(), providers.Request{Task: providers.Image, Prompt: "p"}); err != nil || got.Fields["model"] != "sd3.5-medium" {
		t.Errorf("got %+v, %v", got, err)
	}
}

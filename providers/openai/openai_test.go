package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change change
		want   string
	}{
		"no name":                {func(c *openai.Config) { c.Name = "" }, "Name"},
		"no client":              {func(c *openai.Config) { c.Client = nil }, "Client"},
		"no key":                 {func(c *openai.Config) { c.Key = nil }, "Key"},
		"compatible with what":   {func(c *openai.Config) { c.Compatible, c.BaseURL = true, "" }, "BaseURL"},
		"another scheme":         {func(c *openai.Config) { c.BaseURL = "ftp://x" }, "scheme"},
		"a password":             {func(c *openai.Config) { c.BaseURL = "https://u:" + secret + "@x" }, "password"},
		"a query beyond reading": {func(c *openai.Config) { c.BaseURL = "https://x/v1?a=%zz" + secret }, "?"},
		"a negative pause":       {func(c *openai.Config) { c.PollEvery = -1 }, "PollEvery"},
		"a negative idle time":   {func(c *openai.Config) { c.IdleTimeout = -1 }, "IdleTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := openai.Config{Name: "mine", Client: &http.Client{}, Key: func(context.Context) (string, error) { return secret, nil }}
			tt.change(&config)
			_, err := openai.New(config)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("New() error = %v, want one about %q", err, tt.want)
			}
		})
	}
}

//nolint:paralleltest // it sets the environment
func TestNothingIsTakenFromTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"OPENAI_API_KEY": "sk-env", "OPENAI_ADMIN_KEY": "sk-env", "OPENAI_ORG_ID": "org-env",
		"OPENAI_PROJECT_ID": "proj-env", "OPENAI_BASE_URL": "http://127.0.0.1:1/env",
		"OPENAI_CUSTOM_HEADERS": "X-Env: env", "OPENAI_WEBHOOK_SECRET": "whsec-env",
	} {
		t.Setenv(name, value)
	}
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/models"):
			saysJSON(`{"object":"list","data":[]}`)(w, r)
		case strings.HasSuffix(r.URL.Path, "/speech"):
			_, _ = w.Write([]byte(mp3))
		case strings.HasSuffix(r.URL.Path, "/generations"):
			saysJSON(`{"data":[{"b64_json":"`+png64+`"}]}`)(w, r)
		case strings.HasSuffix(r.URL.Path, "/content"):
			_, _ = w.Write([]byte(mp4))
		case strings.Contains(r.URL.Path, "/videos"):
			saysJSON(`{"id":"video_1","status":"completed"}`)(w, r)
		default:
			saysJSON(completion)(w, r)
		}
	})
	keyless := func(c *openai.Config) { c.Compatible, c.Key = true, nil }
	for _, changes := range [][]change{nil, {keyless}} {
		p := provider(t, s, changes...)
		for _, req := range []providers.Request{text(), image(), audio()} {
			req.Model = "m"
			providertest.Generate(t, p, req)
		}
		if err := p.CheckKey(t.Context(), secret); err != nil {
			t.Error(err)
		}
	}
	providertest.Generate(t, provider(t, s, keyless), video())
	calls := s.Requests()
	if len(calls) != 10 {
		t.Fatalf("%d calls reached the configured address, want 10", len(calls))
	}
	for i, c := range calls {
		var headers strings.Builder
		if err := c.Header.Write(&headers); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(headers.String()), "env") {
			t.Errorf("%s was sent settings from the environment:\n%s", c.URL, headers.String())
		}
		if bearer := c.Header.Get("Authorization"); (i < 4 || i == 7) != (bearer == "Bearer "+secret) {
			t.Errorf("call %d to %s: Authorization = %q", i, c.URL, bearer)
		}
	}
}

func TestSettingsAreSent(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	providertest.Generate(t, provider(t, s, func(c *openai.Config) {
		c.Organization, c.Project = "org-mine", "proj-mine"
	}), text())
	providertest.Generate(t, provider(t, s, func(c *openai.Config) {
		c.Compatible, c.KeyHeader, c.BaseURL = true, "api-key", s.URL+"/openai/v1/?api-version=2026-01-01"
		c.Models = map[providers.Task]string{providers.Text: "my-deployment"}
	}), text())
	calls := s.Requests()
	if h := calls[0].Header; h.Get("OpenAI-Organization") != "org-mine" || h.Get("OpenAI-Project") != "proj-mine" {
		t.Errorf("headers = %v", h)
	}
	azure := calls[1]
	if azure.URL != "/openai/v1/chat/completions?api-version=2026-01-01" {
		t.Errorf("address = %s", azure.URL)
	}
	if azure.Header.Get("api-key") != secret || azure.Header.Get("Authorization") != "" {
		t.Errorf("headers = %v", azure.Header)
	}
	if !strings.Contains(string(azure.Body), `"model":"my-deployment"`) {
		t.Errorf("request = %s", azure.Body)
	}
}

func TestNothingIsSentWithoutKeyOrModelOrSense(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	keyed := func(key string, err error) change {
		return func(c *openai.Config) { c.Key = func(context.Context) (string, error) { return key, err } }
	}
	odd := text()
	odd.VoiceSettings = &providers.VoiceSettings{}
	broken := text()
	broken.Extra = map[string]json.RawMessage{"metadata": json.RawMessage("{")}
	for name, tt := range map[string]struct {
		changes []change
		req     providers.Request
		kind    providers.Kind
		code    string
	}{
		"a key that cannot be had":  {[]change{keyed("", errors.New("vault says "+secret))}, text(), providers.Unauthorised, "no_key"},
		"no key":                    {[]change{keyed("", nil)}, text(), providers.Unauthorised, "no_key"},
		"a key that is no header":   {[]change{keyed("sk-\n"+secret, nil)}, text(), providers.Unauthorised, "no_key"},
		"a compatible one's model":  {[]change{compatible}, text(), providers.InvalidRequest, "model_missing"},
		"film by OpenAI itself":     {nil, video(), providers.InvalidRequest, "unsupported_option"},
		"an option beyond its task": {nil, odd, providers.InvalidRequest, "unsupported_option"},
		"extra that is not JSON":    {nil, broken, providers.InvalidRequest, "request_not_encodable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := failure(t, provider(t, s, tt.changes...), tt.req)
			if e.Kind != tt.kind || e.Code != tt.code || e.Billing != providers.Unbilled || e.Sent {
				t.Errorf("error = %+v", e)
			}
			if calls := s.Requests(); len(calls) != 0 {
				t.Errorf("%d calls were made", len(calls))
			}
		})
	}
}

func TestRefusalsAreSentOnceAndClassified(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status  int
		body    string
		kind    providers.Kind
		billing providers.Billing
		code    string
	}{
		"server":        {500, `{"error":{"message":"` + prompt + `","type":"server_error"}}`, providers.Overloaded, providers.Unbilled, "server_error"},
		"gateway":       {502, "<html>" + prompt + "</html>", providers.Overloaded, providers.BillingUnknown, ""},
		"too fast":      {429, `{"error":{"message":"` + secret + `","code":"rate_limit_exceeded"}}`, providers.RateLimited, providers.Unbilled, "rate_limit_exceeded"},
		"no money":      {429, `{"error":{"message":"pay","code":"insufficient_quota"}}`, providers.OutOfMoney, providers.Unbilled, "insufficient_quota"},
		"error as text": {400, `{"error":"` + prompt + `"}`, providers.InvalidRequest, providers.Unbilled, ""},
		"content":       {400, `{"error":{"code":"content_policy_violation"}}`, providers.Moderated, providers.Unbilled, "content_policy_violation"},
		"elsewhere":     {307, "", providers.NotFound, providers.Unbilled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "0")
				w.Header().Set("X-Should-Retry", "true")
				w.Header().Set("Location", "/v1/elsewhere")
				w.Header().Set("X-Ratelimit-Remaining-Requests", "7")
				says(tt.status, "application/json", tt.body)(w, r)
			})
			for _, req := range []providers.Request{text(), image(), audio()} {
				e := failure(t, provider(t, s), req)
				if e.Kind != tt.kind || e.Billing != tt.billing || e.Code != tt.code || e.Status != tt.status || !e.Sent {
					t.Errorf("%s: error = %+v", req.Task, e)
				}
				if tt.status >= 400 && (e.RequestID != "req_1" || string(e.Body) != tt.body || e.Limits.Requests == nil) {
					t.Errorf("%s: error = %+v", req.Task, e)
				}
			}
			if n := len(s.Requests()); n != 3 {
				t.Errorf("3 calls reached the server as %d", n)
			}
		})
	}
}

// reset closes the connection under a call that was read.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func TestALostConnectionIsNotUsedForASecondCall(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, reset)
	for i, req := range []providers.Request{text(), image(), audio()} {
		e := failure(t, provider(t, s), req)
		if e.Kind != providers.Connection || e.Billing != providers.BillingUnknown || !e.Sent {
			t.Errorf("%s: error = %+v", req.Task, e)
		}
		if n := len(s.Requests()); n != i+1 {
			t.Errorf("%s: %d calls reached the server, want %d", req.Task, n, i+1)
		}
	}
	s.Close()
	if e := failure(t, provider(t, s), text()); e.Billing != providers.Unbilled || e.Sent {
		t.Errorf("with nobody there: error = %+v", e)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	huge := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 40 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	trickle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"choices":[`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"choices":[`)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		idle   time.Duration
		kind   providers.Kind
		why    error
	}{
		"huge":         {huge(200), 0, providers.MalformedResponse, wire.ErrTooLarge},
		"huge refusal": {huge(500), 0, providers.Overloaded, nil},
		"trickling":    {trickle, 100 * time.Millisecond, providers.Timeout, wire.ErrIdle},
		"cut off":      {short, 0, providers.MalformedResponse, wire.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, tt.answer)
			p := provider(t, s, func(c *openai.Config) { c.IdleTimeout = tt.idle })
			e := failure(t, p, text())
			if e.Kind != tt.kind || !errors.Is(e.Err, tt.why) || len(e.Body) > 64<<10 && e.Billing != providers.Billed {
				t.Errorf("error = %v with %d bytes, want %s by %v", e, len(e.Body), tt.kind, tt.why)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls reached the server", n)
			}
		})
	}
}

func TestContextBoundsACall(t *testing.T) {
	t.Parallel()
	ctx, end := providertest.Due(t.Context())
	s := providertest.Serve(t, func(_ http.ResponseWriter, r *http.Request) {
		end()
		<-r.Context().Done()
	})
	_, err := provider(t, s).Generate(ctx, text())
	var e *providers.Error
	if !errors.As(err, &e) || e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown || !e.Sent {
		t.Errorf("Generate() error = %+v, want a timeout with unknown billing", err)
	}
	_, err = provider(t, s).Generate(ctx, text())
	if !errors.As(err, &e) || e.Kind != providers.Timeout || e.Billing != providers.Unbilled || e.Sent {
		t.Errorf("Generate() error = %+v, want a timeout before sending", err)
	}
}

func TestCheckKeyIsFree(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			says(http.StatusUnauthorized, "application/json", `{"error":{"code":"invalid_api_key"}}`)(w, r)
			return
		}
		saysJSON(`{"object":"list","data":[]}`)(w, r)
	})
	p := provider(t, s)
	if err := p.CheckKey(t.Context(), secret+"\n"); err != nil {
		t.Error(err)
	}
	var e *providers.Error
	if err := p.CheckKey(t.Context(), "sk-other"); !errors.As(err, &e) || e.Kind != providers.Unauthorised {
		t.Errorf("CheckKey() error = %v", err)
	}
	for _, c := range s.Requests() {
		if c.Method != http.MethodGet || c.URL != "/v1/models" {
			t.Errorf("%s %s was called", c.Method, c.URL)
		}
	}
	portal := providertest.Serve(t, says(http.StatusOK, "text/html", "<html>"))
	if err := provider(t, portal).CheckKey(t.Context(), secret); !errors.As(err, &e) || e.Kind != providers.NotFound || e.Billing != providers.Unbilled {
		t.Errorf("CheckKey() error = %v", err)
	}
}

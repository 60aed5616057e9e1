package anthropic_test

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
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*anthropic.Config)
		want   string
	}{
		"no name":        {func(c *anthropic.Config) { c.Name = "" }, "Name"},
		"no client":      {func(c *anthropic.Config) { c.Client = nil }, "Client"},
		"no key":         {func(c *anthropic.Config) { c.Key = nil }, "Key"},
		"no tokens":      {func(c *anthropic.Config) { c.MaxTokens = -1 }, "MaxTokens"},
		"another scheme": {func(c *anthropic.Config) { c.BaseURL = "ftp://x" }, "scheme"},
		"a password":     {func(c *anthropic.Config) { c.BaseURL = "https://u:" + secret + "@x" }, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := anthropic.Config{Name: "mine", Client: &http.Client{}, Key: func(context.Context) (string, error) { return secret, nil }}
			tt.change(&config)
			_, err := anthropic.New(config)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("New() error = %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestNothingIsTakenFromTheEnvironment(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"a key":      {"ANTHROPIC_API_KEY": "sk-env"},
		"a token":    {"ANTHROPIC_AUTH_TOKEN": "tok-env"},
		"a profile":  {"ANTHROPIC_PROFILE": "env"},
		"headers":    {"ANTHROPIC_CUSTOM_HEADERS": "X-Env: env"},
		"an address": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1/env"},
		"an identity": {
			"ANTHROPIC_ORGANIZATION_ID": "org-env", "ANTHROPIC_FEDERATION_RULE_ID": "rule-env", "ANTHROPIC_IDENTITY_TOKEN": "id-env",
			"ANTHROPIC_WORKSPACE_ID": "ws-env",
		},
		"tracing": {"ANTHROPIC_OPEN_TELEMETRY": "true", "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ANTHROPIC_CONFIG_DIR", t.TempDir())
			for name, value := range settings {
				t.Setenv(name, value)
			}
			s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					says(http.StatusOK, `{"data":[]}`)(w, r)
					return
				}
				says(http.StatusOK, message)(w, r)
			})
			p := provider(t, s)
			providertest.Generate(t, p, text())
			if err := p.CheckKey(t.Context(), secret); err != nil {
				t.Error(err)
			}
			calls := s.Requests()
			if len(calls) != 2 {
				t.Fatalf("%d calls reached the configured address, want 2", len(calls))
			}
			for _, c := range calls {
				var headers strings.Builder
				if err := c.Header.Write(&headers); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(strings.ToLower(headers.String()), "env") {
					t.Errorf("%s was sent settings from the environment:\n%s", c.URL, headers.String())
				}
				if c.Header.Get("X-Api-Key") != secret || c.Header.Get("Authorization") != "" || c.Header.Get("Traceparent") != "" {
					t.Errorf("headers = %v", c.Header)
				}
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
		wait    time.Duration
	}{
		"server":     {500, `{"type":"error","error":{"type":"api_error","message":"` + prompt + `"}}`, providers.Overloaded, providers.Unbilled, 0},
		"overloaded": {529, `{"type":"error","error":{"type":"overloaded_error","message":"` + prompt + `"}}`, providers.Overloaded, providers.Unbilled, 0},
		"too fast":   {429, `{"type":"error","error":{"type":"rate_limit_error","message":"` + secret + `"}}`, providers.RateLimited, providers.Unbilled, 3 * time.Second},
		"no money":   {402, `{"type":"error","error":{"type":"billing_error","message":"pay"}}`, providers.OutOfMoney, providers.Unbilled, 0},
		"gateway":    {504, `<html>`, providers.Timeout, providers.BillingUnknown, 0},
		"elsewhere":  {302, ``, providers.NotFound, providers.Unbilled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.wait > 0 {
					w.Header().Set("Retry-After", "3")
				}
				w.Header().Set("X-Should-Retry", "true")
				w.Header().Set("Location", "/elsewhere")
				says(tt.status, tt.body)(w, r)
			})
			e := failure(t, provider(t, s), text())
			if e.Kind != tt.kind || e.Billing != tt.billing || e.Status != tt.status || e.RetryAfter != tt.wait || !e.Sent {
				t.Errorf("error = %+v", e)
			}
			if tt.status >= 400 && (e.RequestID != "req_1" || string(e.Body) != tt.body) {
				t.Errorf("error = %+v", e)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls reached the server", n)
			}
		})
	}
}

func TestAnswersThatBreakAreNotAskedForAgain(t *testing.T) {
	t.Parallel()
	reset := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"content":[`)
	}
	trickling, end := providertest.Due(t.Context())
	trickle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"content":[`)
		_ = http.NewResponseController(w).Flush()
		end()
		<-r.Context().Done()
	}
	huge := func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 40 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		kind    providers.Kind
		billing providers.Billing
	}{
		"reset":     {reset, providers.Connection, providers.BillingUnknown},
		"cut off":   {short, providers.MalformedResponse, providers.BillingUnknown},
		"trickling": {trickle, providers.Timeout, providers.BillingUnknown},
		"huge":      {huge, providers.MalformedResponse, providers.Billed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, tt.answer)
			ctx := t.Context()
			if name == "trickling" {
				ctx = trickling
			}
			_, err := provider(t, s).Generate(ctx, text())
			e := providers.AsError("mine", err)
			if e.Kind != tt.kind || e.Billing != tt.billing || !e.Sent {
				t.Errorf("error = %+v", e)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls reached the server", n)
			}
		})
	}
}

func TestNothingIsSentWithoutKeyOrSenseOrTime(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, says(http.StatusOK, message))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	keyless := func(c *anthropic.Config) {
		c.Key = func(context.Context) (string, error) { return "", errors.New("vault says " + secret) }
	}
	broken := text()
	broken.Extra = map[string]json.RawMessage{"metadata": json.RawMessage("{")}
	hot := text()
	hot.Temperature = new(1.5)
	for name, tt := range map[string]struct {
		ctx     context.Context
		req     providers.Request
		changes []func(*anthropic.Config)
		kind    providers.Kind
		code    string
	}{
		"no key":       {t.Context(), text(), []func(*anthropic.Config){keyless}, providers.Unauthorised, "no_key"},
		"too hot":      {t.Context(), hot, nil, providers.InvalidRequest, "unsupported_option"},
		"another task": {t.Context(), providers.Request{Task: providers.Image, Prompt: prompt}, nil, providers.InvalidRequest, "unsupported_option"},
		"not JSON":     {t.Context(), broken, nil, providers.InvalidRequest, "request_not_encodable"},
		"cancelled":    {over, text(), nil, providers.Cancelled, ""},
	} {
		_, err := provider(t, s, tt.changes...).Generate(tt.ctx, tt.req)
		var e *providers.Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.Code != tt.code || e.Billing != providers.Unbilled || e.Sent {
			t.Errorf("%s: error = %+v", name, err)
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), prompt) {
			t.Errorf("%s: error text %q tells too much", name, err)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestCheckKeyIsFree(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != secret {
			says(http.StatusUnauthorized, `{"type":"error","error":{"type":"authentication_error","message":"`+secret+`"}}`)(w, r)
			return
		}
		says(http.StatusOK, `{"data":[]}`)(w, r)
	})
	p := provider(t, s)
	if err := p.CheckKey(t.Context(), secret+"\n"); err != nil {
		t.Error(err)
	}
	var e *providers.Error
	if err := p.CheckKey(t.Context(), "sk-other"); !errors.As(err, &e) || e.Kind != providers.Unauthorised || strings.Contains(err.Error(), secret) {
		t.Errorf("CheckKey() error = %v", err)
	}
	if err := p.CheckKey(t.Context(), " "); !errors.As(err, &e) || e.Kind != providers.Unauthorised || e.Sent {
		t.Errorf("CheckKey() error = %v", err)
	}
	for _, c := range s.Requests() {
		if c.Method != http.MethodGet || c.URL != "/v1/models?limit=1" {
			t.Errorf("%s %s was called", c.Method, c.URL)
		}
	}
	portal := providertest.Serve(t, says(http.StatusOK, "<html>"))
	if err := provider(t, portal).CheckKey(t.Context(), secret); !errors.As(err, &e) || e.Kind != providers.NotFound || e.Billing != providers.Unbilled {
		t.Errorf("CheckKey() error = %v", err)
	}
}

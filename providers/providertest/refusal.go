package providertest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// Refusal is an answer that is no success, as a vendor sends it, and what it means.
type Refusal struct {
	// Name says what it is about.
	Name string
	// Status, Header and Body are the answer.
	Status int
	Header map[string]string
	Body   string

	// Kind and Billing are what it means; no Billing means providers.Unbilled.
	Kind    providers.Kind
	Billing providers.Billing
	// Code, Wait, ID and Param are what must be read of it.
	Code  string
	Wait  time.Duration
	ID    string
	Param string
	// Reason must be in the sentence for people. The canary of the prompt and
	// the key never stand in it.
	Reason string
}

// CheckRefusals answers the request with each refusal. Where the body holds $PROMPT
// or $KEY, these are put in their places.
func CheckRefusals(t *testing.T, connect func(url string, client *http.Client) (providers.Provider, error), req providers.Request, cases []Refusal) {
	t.Helper()
	req.Prompt = prompt
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			body := strings.NewReplacer("$PROMPT", prompt, "$KEY", Key).Replace(c.Body)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if strings.HasPrefix(body, "<") {
					w.Header().Set("Content-Type", "text/html")
				}
				for name, value := range c.Header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.Status)
				_, _ = w.Write([]byte(body))
			}))
			t.Cleanup(server.Close)
			p, err := connect(server.URL, client)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Generate(t.Context(), req)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok {
				t.Fatalf("Generate() error = %T %v", err, err)
			}
			want := c
			if want.Billing == "" {
				want.Billing = providers.Unbilled
			}
			if e.Kind != want.Kind || e.Billing != want.Billing || e.Code != want.Code || e.RetryAfter != want.Wait || e.RequestID != want.ID || e.Param != want.Param {
				t.Errorf("got %s, %s, code %q, wait %s, id %q, parameter %q\nwant %s, %s, code %q, wait %s, id %q, parameter %q",
					e.Kind, e.Billing, e.Code, e.RetryAfter, e.RequestID, e.Param, want.Kind, want.Billing, want.Code, want.Wait, want.ID, want.Param)
			}
			if e.Status != c.Status || !e.Sent || string(e.Body) != body || !strings.HasPrefix(e.URL, server.URL+"/") {
				t.Errorf("status %d, sent %v, body %q, URL %q", e.Status, e.Sent, e.Body, e.URL)
			}
			if !strings.Contains(e.Reason, c.Reason) || !strings.Contains(e.Explain(), e.Reason) || len([]rune(e.Reason)) > 300 {
				t.Errorf("reason %q, want %q in it", e.Reason, c.Reason)
			}
			for _, hidden := range []string{prompt, Key} {
				if strings.Contains(e.Explain(), hidden) || strings.Contains(e.Error(), hidden) {
					t.Errorf("what is shown repeats %q: %s", hidden, e.Explain())
				}
			}
		})
	}
}

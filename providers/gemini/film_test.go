package gemini_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/media"
	"oneflow/providers"
	"oneflow/providers/gemini"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

// studio makes films: looks are answered by script in turn, the last for ever.
type studio struct {
	t      *testing.T
	url    string
	script []string

	mu     sync.Mutex
	calls  []string
	keys   []string
	body   map[string]any
	looked int
}

func newStudio(t *testing.T, script ...string) *studio {
	t.Helper()
	s := &studio{t: t, script: script}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *studio) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.keys = append(s.calls, r.Method+" "+r.URL.Path), append(s.keys, r.Header.Get("X-Goog-Api-Key"))
	switch {
	case r.Method == http.MethodPost:
		_ = json.NewDecoder(r.Body).Decode(&s.body)
		_, _ = io.WriteString(w, `{"name":"models/veo-3.1-generate-preview/operations/op1"}`)
	case strings.HasSuffix(r.URL.Path, ":download"):
		http.Redirect(w, r, strings.Replace(s.url, "127.0.0.1", "localhost", 1)+"/stored.mp4", http.StatusFound)
	case r.URL.Path == "/stored.mp4":
		film, err := media.MP4(1, 16, 16, time.Second)
		if err != nil {
			s.t.Error(err)
		}
		_, _ = w.Write(film)
	default:
		look := s.script[min(s.looked, len(s.script)-1)]
		s.looked++
		if look == "404" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(look, "$URL", s.url))
	}
}

const (
	going    = `{"name":"models/veo-3.1-generate-preview/operations/op1"}`
	finished = `{"name":"models/veo-3.1-generate-preview/operations/op1","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{"uri":"$URL/v1beta/files/f1:download?alt=media"}}]}}}`
)

func (s *studio) provider() *gemini.Provider {
	s.t.Helper()
	client := wire.NewClient(wire.Config{})
	s.t.Cleanup(client.CloseIdleConnections)
	host := strings.Replace(strings.TrimPrefix(s.url, "http://"), "127.0.0.1", "localhost", 1)
	public := wire.PublicClient(wire.PublicConfig{Allow: []string{host}})
	s.t.Cleanup(public.CloseIdleConnections)
	p, err := gemini.New(gemini.Config{
		Name: "mine", BaseURL: s.url, Client: client, Guarded: public, PollEvery: time.Millisecond,
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func aFilm() providers.Request {
	return providers.Request{
		Task: providers.Video, Model: "veo-3.1-generate-preview", Prompt: prompt, Size: "1080x1920", Seconds: 8, NegativePrompt: "rain",
		Extra: map[string]json.RawMessage{"parameters": raw(`{"personGeneration":"allow_adult"}`)},
	}
}

func TestAFilmIsOrderedOnceAndItsKeyGoesToGoogleAlone(t *testing.T) {
	t.Parallel()
	s := newStudio(t, going, `no JSON`, "404", going, finished)
	var handles []string
	ctx := providers.WithOrders(t.Context(), func(_ context.Context, handle string) error {
		handles = append(handles, handle)
		return nil
	})
	res, err := s.provider().Generate(ctx, aFilm())
	if err != nil {
		t.Fatal(err)
	}
	look := "GET /v1beta/models/veo-3.1-generate-preview/operations/op1"
	want := []string{"POST /v1beta/models/veo-3.1-generate-preview:predictLongRunning", look, look, look, look, look, "GET /v1beta/files/f1:download", "GET /stored.mp4"}
	if diff := cmp.Diff(want, s.calls); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
	if last := len(s.keys) - 1; s.keys[last] != "" || s.keys[last-1] != providertest.Key {
		t.Errorf("the key went with %q", s.keys)
	}
	parameters := map[string]any{"aspectRatio": "9:16", "resolution": "1080p", "durationSeconds": 8.0, "negativePrompt": "rain", "personGeneration": "allow_adult"}
	if diff := cmp.Diff(map[string]any{"instances": []any{map[string]any{"prompt": prompt}}, "parameters": parameters}, s.body); diff != "" {
		t.Errorf("body differs (-want +got):\n%s", diff)
	}
	if len(res.Blobs) != 1 || res.Blobs[0].MIME != "video/mp4" || res.RequestID != "op1" || res.Usage != (providers.Usage{MilliSeconds: 8000, Variant: "1080x1920"}) {
		t.Errorf("%d films, %s, used %+v", len(res.Blobs), res.RequestID, res.Usage)
	}
	if diff := cmp.Diff([]string{"models/veo-3.1-generate-preview/operations/op1"}, handles); diff != "" {
		t.Errorf("handles differ (-want +got):\n%s", diff)
	}
}

func TestAnOrderIsGoneOnWithAndNotMadeAgain(t *testing.T) {
	t.Parallel()
	s := newStudio(t, finished)
	res, err := s.provider().Resume(t.Context(), aFilm(), "models/veo-3.1-generate-preview/operations/op1")
	if err != nil || len(res.Blobs) != 1 || strings.Contains(strings.Join(s.calls, " "), "POST") {
		t.Errorf("%v after %v", err, s.calls)
	}
	for _, handle := range []string{"", "op1", "models/a/operations/../../files", "models/a?x/operations/1", "models/../operations/1"} {
		if _, err := s.provider().Resume(t.Context(), aFilm(), handle); err == nil {
			t.Errorf("%q is taken for an operation", handle)
		}
	}
}

func TestAFilmThatGoogleDoesNotMakeIsNotCharged(t *testing.T) {
	t.Parallel()
	for look, want := range map[string]struct {
		kind    providers.Kind
		billing providers.Billing
	}{
		`{"done":true,"error":{"code":13,"message":"internal"}}`:                         {providers.Overloaded, providers.Unbilled},
		`{"done":true,"error":{"code":3,"message":"bad"}}`:                               {providers.InvalidRequest, providers.Unbilled},
		`{"done":true,"response":{"generateVideoResponse":{"raiMediaFilteredCount":1}}}`: {providers.Moderated, providers.Unbilled},
		`{"done":true,"response":{}}`:                                                    {providers.Unknown, providers.Unbilled},
		"404":                                                                            {providers.Unknown, providers.BillingUnknown},
		strings.Replace(finished, "$URL/v1beta/files/f1:download?alt=media", "http://10.0.0.1/f", 1):      {providers.Connection, providers.Billed},
		strings.Replace(finished, "$URL/v1beta/files/f1:download?alt=media", "$URL/v1beta/models/x/y", 1): {providers.MalformedResponse, providers.Billed},
	} {
		t.Run(look, func(t *testing.T) {
			t.Parallel()
			_, err := newStudio(t, look).provider().Generate(t.Context(), aFilm())
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Kind != want.kind || e.Billing != want.billing || !e.Sent || e.RequestID != "op1" {
				t.Errorf("%+v, want %+v", e, want)
			}
		})
	}
}

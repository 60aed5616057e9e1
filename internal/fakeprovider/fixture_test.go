package fakeprovider_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
)

const key = "sk-test-0123456789"

// clock is a time that only tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start serves config until the test ends.
func start(t *testing.T, config fakeprovider.Config) *fakeprovider.Server {
	t.Helper()
	s, err := fakeprovider.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) has(t *testing.T, status int, parts ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d: %s", r.status, status, r.body)
	}
	for _, part := range parts {
		if !strings.Contains(string(r.body), part) {
			t.Errorf("%s does not hold %s", r.body, part)
		}
	}
}

func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// request is one call of a vendor, which is refused nowhere.
func request(t *testing.T, s *fakeprovider.Server, vendor fakeprovider.Vendor, body string) *http.Request {
	t.Helper()
	path, ok := map[fakeprovider.Vendor]string{
		fakeprovider.OpenAI:     "/v1/chat/completions",
		fakeprovider.Anthropic:  "/v1/messages",
		fakeprovider.Stability:  "/v2beta/stable-image/generate/core",
		fakeprovider.ElevenLabs: "/v1/text-to-speech/anna",
		fakeprovider.Gemini:     "/v1beta/models/gemini-3.5-flash-lite:generateContent",
	}[vendor]
	if !ok {
		path = fakeprovider.SampleOf(vendor, key).Path
	}
	return post(t, s, vendor, path, body)
}

func post(t *testing.T, s *fakeprovider.Server, vendor fakeprovider.Vendor, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	authorise(r, vendor, key)
	return r
}

func authorise(r *http.Request, vendor fakeprovider.Vendor, key string) {
	switch vendor {
	case fakeprovider.OpenAI, fakeprovider.Stability:
		r.Header.Set("Authorization", "Bearer "+key)
	case fakeprovider.Anthropic:
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Anthropic-Version", "2023-06-01")
	case fakeprovider.ElevenLabs:
		r.Header.Set("Xi-Api-Key", key)
	case fakeprovider.Gemini:
		r.Header.Set("X-Goog-Api-Key", key)
	default:
		for name, value := range fakeprovider.SampleOf(vendor, key).Header {
			r.Header.Set(name, value)
		}
	}
}

func get(t *testing.T, s *fakeprovider.Server, vendor fakeprovider.Vendor, path string) reply {
	t.Helper()
	r := post(t, s, vendor, path, "")
	r.Method = http.MethodGet
	return send(t, r)
}

// send expects an answer, whatever it is.
func send(t *testing.T, r *http.Request) reply {
	t.Helper()
	out, err := try(r, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(r *http.Request, transport http.RoundTripper) (reply, error) {
	r.Header.Set("Accept-Encoding", "identity") // or net/http asks for gzip, and undoes it
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, body}, err
}

// form is a multipart body and its content type.
func form(t *testing.T, fields map[string]string) (body, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String(), w.FormDataContentType()
}

func formRequest(t *testing.T, s *fakeprovider.Server, path string, fields map[string]string) *http.Request {
	t.Helper()
	body, contentType := form(t, fields)
	r := post(t, s, fakeprovider.Stability, path, body)
	r.Header.Set("Content-Type", contentType)
	return r
}

// good is a valid generating request to vendor.
func good(t *testing.T, s *fakeprovider.Server, vendor fakeprovider.Vendor) *http.Request {
	t.Helper()
	switch vendor {
	case fakeprovider.OpenAI:
		return request(t, s, vendor, `{"model":"m","messages":[{"role":"user","content":"secret prompt"}]}`)
	case fakeprovider.Anthropic:
		return request(t, s, vendor, `{"model":"m","max_tokens":1000,"messages":[{"role":"user","content":"secret prompt"}]}`)
	case fakeprovider.Stability:
		return formRequest(t, s, "/v2beta/stable-image/generate/core", map[string]string{"prompt": "secret prompt"})
	case fakeprovider.Gemini:
		return request(t, s, vendor, `{"contents":[{"role":"user","parts":[{"text":"secret prompt"}]}]}`)
	case fakeprovider.ElevenLabs:
		return request(t, s, vendor, `{"text":"secret prompt"}`)
	}
	return request(t, s, vendor, fakeprovider.SampleOf(vendor, key).Body)
}

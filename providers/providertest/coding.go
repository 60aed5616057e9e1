package providertest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// coding is a way to compress an answer.
type coding struct {
	name   string // in Content-Encoding; empty: it is not said
	writer func(io.Writer) (io.WriteCloser, error)
}

func codings() map[string]coding {
	zip := func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
	return map[string]coding{
		"gzip":           {"gzip", zip},
		"gzip, not said": {"", zip},
		"zlib":           {"deflate", func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil }},
		"deflate":        {"deflate", func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) }},
		"br":             {"br", func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil }},
		"zstd":           {"zstd", func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) }},
	}
}

// CheckCodings answers each request, though nobody asked, with every coding: a
// success must be read, one that breaks off must be charged and kept and not bought
// again, and a refusal for an empty account must be read by its text.
func CheckCodings(
	t *testing.T, connect func(url string, client *http.Client) (providers.Provider, error), successes map[providers.Task]string, poor Refusal,
) {
	t.Helper()
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	for task, body := range successes {
		for name, c := range codings() {
			t.Run(string(task)+"/"+name, func(t *testing.T) {
				t.Parallel()
				var calls int
				status, answer := http.StatusOK, c.pack(t, body)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					calls++
					if c.name != "" {
						w.Header().Set("Content-Encoding", c.name)
					}
					w.WriteHeader(status)
					_, _ = w.Write(answer)
				}))
				t.Cleanup(server.Close)
				p, err := connect(server.URL, client)
				if err != nil {
					t.Fatal(err)
				}
				req := providers.Request{Task: task, Prompt: prompt}
				res, err := p.Generate(t.Context(), req)
				if err != nil || res.Text == "" && len(res.Blobs) == 0 {
					t.Errorf("a success: %v", err)
				}
				answer = answer[:len(answer)-5]
				e := failed(t, p, req)
				if e.Billing != providers.Billed || e.Kind != providers.MalformedResponse || len(e.Body) == 0 || !errors.Is(e, wire.ErrCoding) {
					t.Errorf("broken off: %+v", e)
				}
				status, answer = poor.Status, c.pack(t, poor.Body)
				if e := failed(t, p, req); e.Kind != poor.Kind || e.Billing != providers.Unbilled || string(e.Body) != poor.Body {
					t.Errorf("a refusal: %+v", e)
				}
				if calls != 3 {
					t.Errorf("%d calls were made, want 3", calls)
				}
			})
		}
	}
}

func failed(t *testing.T, p providers.Provider, req providers.Request) *providers.Error {
	t.Helper()
	_, err := p.Generate(t.Context(), req)
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("Generate() error = %T %v", err, err)
	}
	return e
}

// pack compresses body.
func (c coding) pack(t *testing.T, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.writer(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, body)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

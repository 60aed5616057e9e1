package wire_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// pack puts a coding on data.
func pack(t *testing.T, coding string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, err = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	default:
		t.Fatalf("no coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, data string, codings ...string) []byte {
	t.Helper()
	b := []byte(data)
	for _, c := range codings {
		b = pack(t, c, b)
	}
	return b
}

// answered serves one body under these codings and reads it as a client does.
func answered(t *testing.T, status int, encoding []string, body []byte) (wire.Answer, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "gzip, deflate, br, zstd" {
			t.Errorf("Accept-Encoding = %q", got)
		}
		w.Header()["Content-Encoding"] = encoding
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return send(t.Context(), newClient(t, wire.Config{}), post(t, server.URL))
}

func TestAnAnswerIsDecodedByWhatItSays(t *testing.T) {
	t.Parallel()
	const body = `{"choices":[{"message":{"content":"hello, hello, hello, hello"}}]}`
	for name, c := range map[string]struct {
		encoding []string
		body     []byte
	}{
		"as it is":               {nil, []byte(body)},
		"identity":               {[]string{"identity"}, []byte(body)},
		"gzip":                   {[]string{"gzip"}, packed(t, body, "gzip")},
		"gzip in capitals":       {[]string{" GZIP "}, packed(t, body, "gzip")},
		"x-gzip":                 {[]string{"x-gzip"}, packed(t, body, "gzip")},
		"two gzip members":       {[]string{"gzip"}, append(packed(t, body[:9], "gzip"), packed(t, body[9:], "gzip")...)},
		"deflate as zlib":        {[]string{"deflate"}, packed(t, body, "zlib")},
		"deflate, bare":          {[]string{"deflate"}, packed(t, body, "flate")},
		"br":                     {[]string{"br"}, packed(t, body, "br")},
		"zstd":                   {[]string{"zstd"}, packed(t, body, "zstd")},
		"gzip, then br":          {[]string{"gzip, br"}, packed(t, body, "gzip", "br")},
		"br, then gzip in lines": {[]string{"br", "gzip"}, packed(t, body, "br", "gzip")},
		"three":                  {[]string{"deflate,identity, zstd ,gzip"}, packed(t, body, "flate", "zstd", "gzip")},
		"gzip that is not said":  {nil, packed(t, body, "gzip")},
		"zstd that is not said":  {nil, packed(t, body, "zstd")},
		"said, but taken off":    {[]string{"gzip"}, []byte(body)},
		"br said, but taken off": {[]string{"br"}, []byte(body)},
		"a name nobody knows":    {[]string{"utf-8"}, []byte(body)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := answered(t, 200, c.encoding, c.body)
			if err != nil || string(a.Body) != body {
				t.Errorf("got %q, %v", a.Body, err)
			}
		})
	}
	t.Run("media", func(t *testing.T) {
		t.Parallel()
		const png = "\x89PNG\r\n\x1a\n and so on"
		for _, encoding := range []string{"gzip", "deflate", "br", "zstd"} {
			coding := strings.Replace(encoding, "deflate", "zlib", 1)
			if a, err := answered(t, 200, []string{encoding}, packed(t, png, coding)); err != nil || string(a.Body) != png {
				t.Errorf("%s: got %q, %v", encoding, a.Body, err)
			}
		}
	})
}

func TestARefusalThatIsCompressedIsReadByItsText(t *testing.T) {
	t.Parallel()
	const body = `{"error":{"message":"You exceeded your current quota.","code":"insufficient_quota"}}`
	for _, c := range []struct{ encoding, coding string }{{"gzip", "gzip"}, {"deflate", "zlib"}, {"deflate", "flate"}, {"br", "br"}, {"zstd", "zstd"}, {"", "gzip"}} {
		var encoding []string
		if c.encoding != "" {
			encoding = []string{c.encoding}
		}
		_, err := answered(t, 429, encoding, packed(t, body, c.coding))
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Kind != providers.OutOfMoney || string(e.Body) != body || e.Reason != "You exceeded your current quota." {
			t.Errorf("%s as %s: got %+v", c.coding, c.encoding, e)
		}
	}
}

func TestARefusalWithABrokenCodingCountsByItsStatus(t *testing.T) {
	t.Parallel()
	whole := packed(t, `{"error":{"message":"`+strings.Repeat("slow down ", 500)+`"}}`, "gzip")
	for name, body := range map[string][]byte{"cut off": whole[:len(whole)/2], "not gzip": []byte("\x00\x01\x02"), "nothing": nil} {
		for status, kind := range map[int]providers.Kind{429: providers.RateLimited, 401: providers.Unauthorised, 503: providers.Overloaded} {
			_, err := answered(t, status, []string{"gzip"}, body)
			if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != kind || e.Billing != free {
				t.Errorf("%s, HTTP %d: got %v", name, status, err)
			}
		}
	}
}

func TestABrokenCodingOfASuccessIsBilledAndKept(t *testing.T) {
	t.Parallel()
	body := `{"choices":[` + strings.Repeat(`{"message":{"content":"hello"}},`, 2000) + `{}]}`
	half := func(coding string) []byte { b := packed(t, body, coding); return b[:len(b)/2] }
	for name, c := range map[string]struct {
		encoding string
		body     []byte
	}{
		"gzip, cut off":    {"gzip", half("gzip")},
		"zlib, cut off":    {"deflate", half("zlib")},
		"deflate, cut off": {"deflate", half("flate")},
		"br, cut off":      {"br", half("br")},
		"zstd, cut off":    {"zstd", half("zstd")},
		"br for gzip":      {"gzip", packed(t, body, "br")},
		"gzip for br":      {"br", packed(t, body, "gzip")},
		"gzip for zstd":    {"zstd", packed(t, body, "gzip")},
		"zstd for deflate": {"deflate", packed(t, body, "zstd")},
		"one too many":     {"gzip, gzip", packed(t, body, "gzip")},
		"five":             {"gzip,gzip,gzip,gzip,gzip", packed(t, body, "gzip", "gzip", "gzip", "gzip", "gzip")},
		"noise":            {"br", []byte("\x00\x01\x02\x03\xff")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answered(t, 200, []string{c.encoding}, c.body)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Kind != providers.MalformedResponse || e.Billing != providers.Billed || !errors.Is(err, wire.ErrCoding) || len(e.Body) == 0 {
				t.Errorf("got %v, body of %d bytes", err, len(e.Body))
			}
		})
	}
}

func TestABombStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("a", 64<<20)
	for _, c := range []struct {
		encoding string
		codings  []string
	}{
		{"gzip", []string{"gzip"}},
		{"deflate", []string{"flate"}},
		{"br", []string{"br"}},
		{"zstd", []string{"zstd"}},
		{"gzip, gzip", []string{"gzip", "gzip"}},
		{"br, zstd, gzip", []string{"br", "zstd", "gzip"}},
	} {
		t.Run(c.encoding, func(t *testing.T) {
			t.Parallel()
			bomb := packed(t, huge, c.codings...)
			a, err := answered(t, 200, []string{c.encoding}, bomb)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Billing != providers.Billed || !errors.Is(err, wire.ErrTooLarge) || int64(len(e.Body)) > wire.MaxAnswer || int64(len(a.Body)) > wire.MaxAnswer {
				t.Errorf("%d bytes: got %v with %d bytes", len(bomb), err, len(a.Body))
			}
			if _, err := answered(t, 400, []string{c.encoding}, bomb); err == nil || int64(len(providers.AsError("x", err).Body)) > wire.MaxErrorBody {
				t.Errorf("of a refusal is kept: %d bytes", len(providers.AsError("x", err).Body))
			}
		})
	}
	t.Run("that is empty inside", func(t *testing.T) {
		t.Parallel()
		inner := bytes.Repeat(packed(t, "", "gzip"), 2<<20) // 48 MiB that become nothing
		if _, err := answered(t, 200, []string{"gzip, gzip"}, pack(t, "gzip", inner)); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatIsFetchedIsDecodedToo(t *testing.T) {
	t.Parallel()
	const png = "\x89PNG\r\n\x1a\n and so on"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		_, _ = w.Write(packed(t, png, "br"))
	}))
	t.Cleanup(server.Close)
	client := wire.PublicClient(wire.PublicConfig{Allow: []string{strings.TrimPrefix(server.URL, "http://")}})
	t.Cleanup(client.CloseIdleConnections)
	data, err := wire.Fetch(t.Context(), client, server.URL+"/a.png", 1<<20)
	if err != nil || string(data) != png {
		t.Errorf("got %q, %v", data, err)
	}
}

func FuzzCoding(f *testing.F) {
	for _, coding := range []string{"gzip", "deflate", "br", "zstd", "gzip, br", "x", ""} {
		f.Add(coding, []byte("\x1f\x8b\x08\x00"))
		f.Add(coding, []byte("{}"))
		f.Add(coding, []byte("\x28\xb5\x2f\xfd"))
	}
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		client := &http.Client{Transport: fixed{coding, body}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		a, failure := wire.Caller{Provider: "mine", Client: client}.Send(t.Context(), req, 1<<16)
		if len(a.Body) > 1<<16 && len(a.Body) > len(body) || failure != nil && failure.Billing != providers.Billed && failure.Kind != providers.NotFound &&
			failure.Billing == "" {
			t.Errorf("%d bytes, %v", len(a.Body), failure)
		}
	})
}

// fixed answers everything alike.
type fixed struct {
	coding string
	body   []byte
}

// RoundTrip implements http.RoundTripper.
func (s fixed) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Encoding": {s.coding}}, Body: io.NopCloser(bytes.NewReader(s.body)),
	}, nil
}

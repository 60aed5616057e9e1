package fakeprovider_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"oneflow/internal/fakeprovider"
)

// plain undoes an encoding.
func plain(t *testing.T, e fakeprovider.Encoding, body []byte) string {
	t.Helper()
	var r io.Reader
	var err error
	switch in := bytes.NewReader(body); e {
	case fakeprovider.Gzip:
		r, err = gzip.NewReader(in)
	case fakeprovider.Deflate:
		r, err = zlib.NewReader(in)
	case fakeprovider.RawDeflate:
		r = flate.NewReader(in)
	case fakeprovider.Brotli:
		r = brotli.NewReader(in)
	case fakeprovider.Zstd:
		r, err = zstd.NewReader(in)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnswersOfAllSortsAreCompressedThoughNobodyAsked(t *testing.T) {
	t.Parallel()
	for _, e := range fakeprovider.Encodings() {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			s := start(t, fakeprovider.Config{Default: fakeprovider.Behaviour{Variation: fakeprovider.Variation{Encoding: e}}})
			name := strings.TrimPrefix(string(e), "raw-")
			expect := func(what, want string, status int, r reply) {
				t.Helper()
				if r.status != status || r.header.Get("Content-Encoding") != name {
					t.Errorf("%s: status %d, encoding %q", what, r.status, r.header.Get("Content-Encoding"))
				} else if text := plain(t, e, r.body); !strings.Contains(text, want) {
					t.Errorf("%s: %.200s", what, text)
				}
			}
			expect("a success", "chat.completion", 200, send(t, good(t, s, fakeprovider.OpenAI)))
			expect("a list", "data", 200, get(t, s, fakeprovider.Anthropic, "/v1/models"))
			expect("a picture", "PNG", 200, send(t, good(t, s, fakeprovider.Stability)))
			s.Next(fakeprovider.Moderated, 1)
			expect("a refusal", "content_against_policy", 400, send(t, good(t, s, fakeprovider.ElevenLabs)))
		})
	}
}

func TestUsageIsReplacedByAnyNumber(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	for _, n := range []json.Number{"10000000000000000000", "18446744073709551615", "-1"} {
		for _, vendor := range []fakeprovider.Vendor{fakeprovider.OpenAI, fakeprovider.Anthropic} {
			s.Inject(fakeprovider.Injection{Times: 1, Variation: fakeprovider.Variation{Usage: n}})
			send(t, good(t, s, vendor)).has(t, 200, `_tokens":`+n.String())
		}
		s.Inject(fakeprovider.Injection{Times: 1, Variation: fakeprovider.Variation{Usage: n}})
		if got := send(t, good(t, s, fakeprovider.ElevenLabs)).header.Get("Character-Cost"); got != n.String() {
			t.Errorf("cost %s, want %s", got, n)
		}
	}
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200, `"cached_tokens":0`)
}

func TestA429CarriesItsWaitInAnyHeader(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.RateLimited, Times: 1, Variation: fakeprovider.Variation{Header: http.Header{
		"Retry-After": nil, "Retry-After-Ms": nil, "x-ratelimit-reset-requests": {"350ms"},
	}}})
	r := send(t, good(t, s, fakeprovider.OpenAI))
	r.has(t, 429, "rate_limit_exceeded")
	if got := r.header.Get("X-Ratelimit-Reset-Requests"); got != "350ms" || r.header["Retry-After"] != nil {
		t.Errorf("%v", r.header)
	}
}

func TestAProxyCountsInAWindowOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := start(t, limited(c, fakeprovider.Limits{Requests: 2, ClaimedRequests: 6000, Window: 10 * time.Second}))
	for range 2 {
		send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
	}
	r := send(t, good(t, s, fakeprovider.OpenAI))
	r.has(t, 429)
	if r.header.Get("X-Ratelimit-Limit-Requests") != "6000" || r.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%v", r.header)
	}
	c.advance(10 * time.Second)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200)
}

func TestEachVendorHasWordsForAllReasons(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	for _, vendor := range fakeprovider.Vendors() {
		for fault, status := range map[fakeprovider.Fault]int{
			fakeprovider.ServerError: 500, fakeprovider.Unavailable: 503, fakeprovider.Overloaded: 0, fakeprovider.RateLimited: 429,
			fakeprovider.OutOfMoney: 0, fakeprovider.Unauthorised: 401, fakeprovider.Moderated: 0, fakeprovider.Flagged: 403, fakeprovider.Region: 403,
		} {
			s.Inject(fakeprovider.Injection{Fault: fault, Times: 1, Vendor: vendor})
			r := send(t, good(t, s, vendor))
			if own, ok := ownWords()[vendor][fault]; ok {
				r.has(t, own)
				continue
			}
			if r.status < 400 || r.status == http.StatusNotImplemented || status != 0 && r.status != status || !json.Valid(r.body) {
				t.Errorf("%s, %s: %d %s", vendor, fault, r.status, r.body)
			}
		}
		for path, want := range map[string]int{"/nowhere": 404, good(t, s, vendor).URL.Path: 405} {
			r := post(t, s, vendor, "/"+string(vendor)+path, "{}")
			r.Method = http.MethodDelete
			if got := send(t, r); got.status != want || !json.Valid(got.body) && vendor != fakeprovider.Gemini {
				t.Errorf("%s %s: %d %s", vendor, path, got.status, got.body)
			}
		}
	}
}

// ownWords are the statuses of vendors that have others than most.
func ownWords() map[fakeprovider.Vendor]map[fakeprovider.Fault]int {
	return map[fakeprovider.Vendor]map[fakeprovider.Fault]int{
		fakeprovider.Gemini: {fakeprovider.Unauthorised: 400, fakeprovider.Region: 400, fakeprovider.Moderated: 200},
	}
}

func TestPagesComeFromSomethingInBetween(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	for _, vendor := range fakeprovider.Vendors() {
		for fault, status := range map[fakeprovider.Fault]int{fakeprovider.Firewall: 403, fakeprovider.LoginPage: 200, fakeprovider.BadGateway: 502} {
			s.Next(fault, 1)
			r := send(t, good(t, s, vendor))
			r.has(t, status, "<html>")
			if r.header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%s: %v", fault, r.header)
			}
		}
	}
	s.Inject(fakeprovider.Injection{Fault: fakeprovider.LoginPage, Times: 1, Path: "/v1/models"})
	get(t, s, fakeprovider.OpenAI, "/v1/models").has(t, 200, "<html>")
}

func TestGoodAnswersComeInFormsThatAreEasilyMisread(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	type images struct {
		Data []struct {
			B64 string `json:"b64_json"`
			URL string `json:"url"`
		} `json:"data"`
	}
	picture := func(fault fakeprovider.Fault) images {
		t.Helper()
		s.Next(fault, 1)
		var got images
		send(t, post(t, s, fakeprovider.OpenAI, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a"}`)).into(t, &got)
		return got
	}
	if got := picture(fakeprovider.DataURL).Data[0].B64; !strings.HasPrefix(got, "data:image/png;base64,iVBOR") {
		t.Errorf("%.60s", got)
	}
	odd := strings.ReplaceAll(picture(fakeprovider.OddBase64).Data[0].B64, "\r\n", "")
	if data, err := base64.RawURLEncoding.DecodeString(odd); err != nil || !bytes.HasPrefix(data, []byte("\x89PNG")) {
		t.Errorf("%.60s: %v", odd, err)
	}
	if got := picture(fakeprovider.PrivateURL).Data[0].URL; !strings.HasPrefix(got, "http://10.") {
		t.Error(got)
	}
	s.Next(fakeprovider.DataURL, 1)
	asJSON := good(t, s, fakeprovider.Stability)
	asJSON.Header.Set("Accept", "application/json")
	send(t, asJSON).has(t, 200, `"image":"data:image/`)

	s.Next(fakeprovider.AudioInChat, 1)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200, `"content":null`, `"audio":{"data":"UklGR`, `"usage"`)
	s.Next(fakeprovider.ImageInChat, 1)
	send(t, good(t, s, fakeprovider.OpenAI)).has(t, 200, `"content":""`, `"images":[{"image_url":{"url":"data:image/png;base64,`)
	s.Next(fakeprovider.AudioInChat, 1)
	send(t, good(t, s, fakeprovider.Anthropic)).has(t, 200, `"type":"text"`) // it has no such thing
}

func TestBadVariationsAreRefused(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]fakeprovider.Variation{
		`there is no "lzma"`: {Encoding: "lzma"}, "must be a number": {Usage: "many"},
	} {
		_, err := fakeprovider.New(fakeprovider.Config{Default: fakeprovider.Behaviour{Variation: v}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

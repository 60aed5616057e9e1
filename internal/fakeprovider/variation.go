package fakeprovider

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Variation makes answers differ from the vendor's own, as proxies and gateways
// make them: successes, refusals, media and lists alike. The zero value is not at
// all.
type Variation struct {
	// Encoding compresses the bodies, though nobody asked for it.
	Encoding Encoding
	// Usage is a JSON number, such as 10000000000000000000, that stands in place of
	// each number of the usage in an answer, and of a cost in its headers.
	Usage json.Number
	// Header replaces headers of answers to generating calls; a name without values
	// takes the header away.
	Header http.Header
}

// Encoding names the compression of a body.
type Encoding string

// The encodings. Deflate is what the standard says, RawDeflate what some servers
// send under the same name.
const (
	Gzip       Encoding = "gzip"
	Deflate    Encoding = "deflate"
	RawDeflate Encoding = "raw-deflate"
	Brotli     Encoding = "br"
	Zstd       Encoding = "zstd"
)

// encodings lists all encodings.
func encodings() []Encoding { return []Encoding{Gzip, Deflate, RawDeflate, Brotli, Zstd} }

func (v Variation) check() error {
	if v.Encoding != "" && !slices.Contains(encodings(), v.Encoding) {
		return fmt.Errorf("Encoding: there is no %q; there are %v", v.Encoding, encodings())
	}
	if v.Usage != "" && !json.Valid([]byte(v.Usage)) {
		return errors.New("Usage: must be a number as JSON has it")
	}
	return nil
}

// with lays another variation over v.
func (v Variation) with(over Variation) Variation {
	if over.Encoding != "" {
		v.Encoding = over.Encoding
	}
	if over.Usage != "" {
		v.Usage = over.Usage
	}
	if over.Header != nil {
		header := maps.Clone(v.Header)
		if header == nil {
			header = http.Header{}
		}
		maps.Copy(header, over.Header)
		v.Header = header
	}
	return v
}

// dress completes an answer before it is sent: the vendor's headers, and what its
// variation makes of it.
func (c *call) dress(a *answer) {
	c.vendor.headers(c, a.header(), c.levels)
	v := c.variation
	if v.Usage != "" {
		a.body = withUsage(a.body, v.Usage)
		if a.header().Get("Character-Cost") != "" {
			a.header().Set("Character-Cost", v.Usage.String())
		}
	}
	if c.route.generates {
		for name, values := range v.Header {
			a.header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	if v.Encoding != "" && len(a.body) > 0 {
		name, _ := strings.CutPrefix(string(v.Encoding), "raw-")
		a.header().Set("Content-Encoding", name)
		a.body = v.Encoding.compress(a.body)
	}
}

// withUsage replaces each number of the usage of a JSON body.
func withUsage(body []byte, n json.Number) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		return body
	}
	for _, name := range []string{"usage", "usageMetadata"} {
		var usage any
		if all[name] == nil || json.Unmarshal(all[name], &usage) != nil {
			continue
		}
		replaced, err := json.Marshal(replaceNumbers(usage, n))
		if err != nil {
			return body
		}
		all[name] = replaced
	}
	out, err := json.Marshal(all)
	if err != nil {
		return body
	}
	return out
}

func replaceNumbers(v any, n json.Number) any {
	switch v := v.(type) {
	case float64:
		return n
	case map[string]any:
		for name := range v {
			v[name] = replaceNumbers(v[name], n)
		}
	case []any:
		for i := range v {
			v[i] = replaceNumbers(v[i], n)
		}
	}
	return v
}

// compress returns body as the encoding has it. Writing to memory does not fail.
func (e Encoding) compress(body []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch e {
	case Gzip:
		w = gzip.NewWriter(&out)
	case Deflate:
		w = zlib.NewWriter(&out)
	case RawDeflate:
		w, _ = flate.NewWriter(&out, flate.DefaultCompression)
	case Brotli:
		w = brotli.NewWriter(&out)
	case Zstd:
		w, _ = zstd.NewWriter(&out)
	default:
		return body
	}
	_, _ = w.Write(body)
	_ = w.Close()
	return out.Bytes()
}

// base64 writes a picture as the JSON of an answer has it.
func (c *call) base64(data []byte, mime string) string {
	switch c.fault { //nolint:exhaustive // the others are no spelling
	case DataURL:
		return "data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(data)
	case OddBase64:
		var lines []string
		for line := range slices.Chunk([]byte(base64.RawURLEncoding.EncodeToString(data)), 76) {
			lines = append(lines, string(line))
		}
		return strings.Join(lines, "\r\n")
	}
	return base64.StdEncoding.EncodeToString(data)
}

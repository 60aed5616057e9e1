package wire

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"oneflow/providers"
)

const (
	// acceptEncoding asks for all that can be decoded. Asking for
	// nothing would allow a server to send anything (RFC 9110, 12.5.3).
	acceptEncoding = "gzip, deflate, br, zstd"
	// mostCodings is the number of codings that may lie over each other.
	mostCodings = 4
	// zstdWindow is the most memory that a zstd stream may ask for.
	zstdWindow = 32 << 20
)

// decode takes off the codings that an answer says it has, whether they were asked
// for or not, and gzip and zstd also where it does not say so. At most limit bytes
// come out, of each of the codings. A coding that is not known, or that the body
// turns out not to have although it can be used as it is, is left.
//
// Its error is ErrTooLarge or ErrCoding; what was decoded until then is returned
// too, and the body as it came where that is nothing.
func decode(h http.Header, body []byte, limit int64) ([]byte, error) {
	codings := codingsOf(h)
	if len(codings) == 0 {
		if c := coded(body); c != "" {
			codings = []string{c}
		}
	}
	if len(codings) == 0 || len(body) == 0 {
		return body, nil
	}
	if len(codings) > mostCodings {
		return body, ErrCoding
	}
	data, err := unpack(codings, body, limit)
	switch {
	case err == nil:
		return data, nil
	case usable(body):
		return body, nil // somebody on the way has decoded it and left the header
	case len(data) == 0:
		return body, err
	}
	return data, err
}

// unpack takes off codings, the last first, in one stream.
func unpack(codings []string, body []byte, limit int64) ([]byte, error) {
	var stream io.Reader = bytes.NewReader(body)
	for _, name := range slices.Backward(codings) {
		next, err := reader(name, stream)
		if err != nil {
			return nil, ErrCoding
		}
		if next == nil {
			continue // not known
		}
		if closer, ok := next.(interface{ Close() }); ok { // zstd's has no error
			defer closer.Close()
		}
		stream = &bounded{r: next, left: limit}
	}
	data, err := io.ReadAll(stream)
	if err == nil || errors.Is(err, ErrTooLarge) {
		return data, err
	}
	return data, ErrCoding
}

// reader decodes one coding; nil where it is not known.
func reader(coding string, r io.Reader) (io.Reader, error) {
	switch coding {
	case "gzip":
		return gzip.NewReader(r)
	case "deflate":
		return deflate(r)
	case "br":
		return brotli.NewReader(r), nil
	case "zstd":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	}
	return nil, nil //nolint:nilnil // documented
}

// deflate reads zlib's form, which the standard means by deflate, and the bare one,
// which some servers send.
func deflate(r io.Reader) (io.Reader, error) {
	var head [2]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	if head[0]&0x0f == 8 && (uint16(head[0])<<8|uint16(head[1]))%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}

// bounded reads so much of r and fails with ErrTooLarge beyond.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

// codingsOf lists the codings of an answer in the order in which they were put on.
func codingsOf(h http.Header) []string {
	var codings []string
	for _, line := range h.Values("Content-Encoding") {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case "", "identity":
			case "x-gzip":
				codings = append(codings, "gzip")
			default:
				codings = append(codings, name)
			}
		}
	}
	return codings
}

// coded is the coding that a body has by its first bytes, where they are certain.
func coded(body []byte) string {
	switch {
	case bytes.HasPrefix(body, []byte("\x1f\x8b\x08")):
		return "gzip"
	case bytes.HasPrefix(body, []byte("\x28\xb5\x2f\xfd")):
		return "zstd"
	}
	return ""
}

// usable reports whether a body can be read as it is.
func usable(body []byte) bool {
	return json.Valid(trimmed(body)) || providers.MediaType(body) != "" || looksLikePage(body)
}

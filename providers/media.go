package providers

import "bytes"

// minMedia is the shortest string of base64 that is taken for a picture or a sound.
const minMedia = 512

// WithoutMedia returns a body of JSON with what stands in place of each picture or
// sound in it, which is kept elsewhere: a string of base64 of 512 characters or more.
func WithoutMedia(body []byte) []byte {
	var out []byte
	from := 0
	for i := 0; i < len(body); i++ {
		if body[i] != '"' {
			continue
		}
		end := i + 1
		for end < len(body) && body[end] != '"' {
			if body[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(body) {
			break
		}
		if isMedia(body[i+1 : end]) {
			out = append(append(out, body[from:i+1]...), "(kept as an artifact)"...)
			from = end
		}
		i = end
	}
	if from == 0 {
		return body
	}
	return append(out, body[from:]...)
}

// isMedia reports whether the inside of a JSON string is base64, with or without the
// head of a data: URL. A slash may be escaped.
func isMedia(text []byte) bool {
	if len(text) < minMedia {
		return false
	}
	if bytes.HasPrefix(text, []byte("data:")) {
		_, text, _ = bytes.Cut(text, []byte(","))
	}
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case bytes.IndexByte([]byte(`+/=-_\`), c) >= 0:
		default:
			return false
		}
	}
	return true
}

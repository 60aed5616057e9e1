package providers

import (
	"bytes"
	"encoding/base64"
)

// minMedia is the shortest string of base64 that is taken for a picture or a sound.
const minMedia = 512

// keptMedia stands in the place of media that are kept elsewhere.
const keptMedia = "(kept as an artifact)"

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
			out = append(append(out, body[from:i+1]...), keptMedia...)
			from = end
		}
		i = end
	}
	if from == 0 {
		return body
	}
	return append(out, body[from:]...)
}

// LacksMedia reports whether WithoutMedia has taken something out of a body.
func LacksMedia(body []byte) bool { return bytes.Contains(body, []byte(`"`+keptMedia+`"`)) }

// WithMedia puts media back into a body of WithoutMedia, in their order: as base64, and as
// data: URLs where a field is called url. Where there are more places or fewer than media
// the body is returned as it is: nobody can tell which is which.
func WithMedia(body []byte, media []Blob) []byte {
	place := []byte(`"` + keptMedia + `"`)
	if bytes.Count(body, place) != len(media) {
		return body
	}
	var out []byte
	for _, m := range media {
		before, after, _ := bytes.Cut(body, place)
		out, body = append(append(out, before...), '"'), after
		if bytes.HasSuffix(bytes.TrimRight(before, " \t\r\n:"), []byte(`url"`)) {
			out = append(out, "data:"+m.MIME+";base64,"...)
		}
		out = append(base64.StdEncoding.AppendEncode(out, m.Data), '"')
	}
	return append(out, body...)
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

package providers_test

import (
	"strings"
	"testing"

	"oneflow/providers"
)

func TestMediaAreRecognisedByTheirBytes(t *testing.T) {
	t.Parallel()
	rest := strings.Repeat("\x00", 32)
	for data, want := range map[string]string{
		"\x89PNG\r\n\x1a\n" + rest:         "image/png",
		"\xff\xd8\xff\xe0" + rest:          "image/jpeg",
		"GIF89a" + rest:                    "image/gif",
		"RIFF\x00\x00\x00\x00WEBP" + rest:  "image/webp",
		"\x00\x00\x00\x1cftypavif" + rest:  "image/avif",
		"\x00\x00\x00\x1cftypheic" + rest:  "image/heic",
		"RIFF\x00\x00\x00\x00WAVE" + rest:  "audio/wav",
		"OggS\x00" + rest + "OpusHead":     "audio/ogg",
		"fLaC" + rest:                      "audio/flac",
		"ID3\x04\x00" + rest:               "audio/mpeg",
		"\xff\xfb\x90\xc4" + rest:          "audio/mpeg", // MPEG 1 layer III
		"\xff\xf3\x84\xc4" + rest:          "audio/mpeg", // MPEG 2 layer III
		"\xff\xf1\x50\x80" + rest:          "audio/aac",
		"\xff\xf9\x50\x80" + rest:          "audio/aac",
		"\x00\x00\x00\x20ftypisom" + rest:  "video/mp4",
		"\x00\x00\x00\x20ftypM4A " + rest:  "audio/mp4",
		"\x00\x00\x00\x14ftypqt  " + rest:  "video/quicktime",
		"\x1aE\xdf\xa3" + rest:             "video/webm",
		"%PDF-1.7" + rest:                  "application/pdf",
		"":                                 "",
		"\xff":                             "",
		"\xff\xfe{\x00" + rest:             "", // UTF-16 text
		"\xff\xff\xff\xff" + rest:          "",
		rest:                               "", // silence as PCM
		`{"error":"text"}`:                 "",
		"<html>":                           "",
		"\x89PNG":                          "",
		"\x00\x00\x00\x20ftyp":             "",
		"RIFF\x00\x00\x00\x00AVI " + rest:  "",
		"\xef\xbb\xbf{\"error\":\"text\"}": "",
	} {
		if got := providers.MediaType([]byte(data)); got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
	if !providers.IsMedia("image", []byte("GIF89a")) || providers.IsMedia("audio", []byte("GIF89a")) || providers.IsMedia("", []byte("x")) {
		t.Error("IsMedia is wrong")
	}
}

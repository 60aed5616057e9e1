package providers_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"oneflow/providers"
)

func TestAPictureIsTakenOutOfABodyAndNothingElseIs(t *testing.T) {
	t.Parallel()
	picture := strings.Repeat("iVBORw0KGgo/", 100)
	const gone = `"(kept as an artifact)"`
	for in, want := range map[string]string{
		`{"data":[{"b64_json":"` + picture + `"},{"b64_json":"` + picture + `=="}],"n":1}`: `{"data":[{"b64_json":` + gone + `},{"b64_json":` + gone + `}],"n":1}`,
		`{"url":"data:image/png;base64,` + picture + `","text":"a \" quote"}`:              `{"url":` + gone + `,"text":"a \" quote"}`,
		`{"image":"` + strings.ReplaceAll(picture, "/", `\/`) + `"}`:                       `{"image":` + gone + `}`,
		`{"text":"` + strings.Repeat("words and words ", 100) + `"}`:                       `{"text":"` + strings.Repeat("words and words ", 100) + `"}`,
		`{"id":"` + strings.Repeat("a", 511) + `"}`:                                        `{"id":"` + strings.Repeat("a", 511) + `"}`,
		`{"broken":"` + picture: `{"broken":"` + picture,
		`no JSON`:               `no JSON`, ``: ``,
	} {
		if got := string(providers.WithoutMedia([]byte(in))); got != want {
			t.Errorf("%.60s: got %.200s", in, got)
		}
	}
}

func TestWhatWasTakenOutOfABodyIsPutBack(t *testing.T) {
	t.Parallel()
	picture, sound := strings.Repeat("iVBORw0KGgo/", 100), strings.Repeat("UklGRg==", 100)
	blobs := []providers.Blob{{MIME: "audio/wav", Data: []byte(strings.Repeat("RIFF", 300))}, {MIME: "image/png", Data: []byte(strings.Repeat("png!", 300))}}
	in := `{"message":{"audio":{"data":"` + sound + `","transcript":"hi"},"images":[{"image_url": {"url": "data:image/png;base64,` + picture + `"}}]}}`
	gone := providers.WithoutMedia([]byte(in))
	if !providers.LacksMedia(gone) || providers.LacksMedia([]byte(in)) {
		t.Errorf("%s", gone)
	}
	want := `{"message":{"audio":{"data":"` + base64.StdEncoding.EncodeToString(blobs[0].Data) + `","transcript":"hi"},"images":[{"image_url": {"url": "data:image/png;base64,` +
		base64.StdEncoding.EncodeToString(blobs[1].Data) + `"}}]}}`
	if got := string(providers.WithMedia(gone, blobs)); got != want {
		t.Errorf("%.300s", got)
	}
	if got := string(providers.WithMedia(gone, blobs[:1])); got != string(gone) {
		t.Errorf("one for two places: %.300s", got)
	}
}

package providers_test

import (
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

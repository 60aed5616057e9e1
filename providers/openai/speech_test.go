package openai_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"oneflow/providers"
	"oneflow/providers/providertest"
)

func TestSpeech(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		req         providers.Request
		contentType string
		body        string
		want        string
		mime        string
	}{
		"the least": {audio(), "audio/mpeg", mp3, `{"model":"tts-1","input":"canary of the prompt","voice":"alloy"}`, "audio/mpeg"},
		"everything": {
			providers.Request{
				Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: "zwölf\u00a0Boxkämpfer", Voice: "coral", Speed: new(1.5), OutputFormat: "flac",
				Extra: map[string]json.RawMessage{"instructions": json.RawMessage(`"softly"`)},
			},
			"application/octet-stream", "fLaC and so on",
			`{"model":"gpt-4o-mini-tts","input":"zwölf\u00a0Boxkämpfer","voice":"coral","speed":1.5,"response_format":"flac","instructions":"softly"}`,
			"audio/flac",
		},
		"a voice of one's own": {
			providers.Request{Task: providers.Audio, Model: "tts-1", Prompt: prompt, Voice: "voice_1234"},
			"audio/mpeg", mp3,
			`{"model":"tts-1","input":"canary of the prompt","voice":{"id":"voice_1234"}}`, "audio/mpeg",
		},
		"bare samples": {
			providers.Request{Task: providers.Audio, Model: "tts-1", Prompt: prompt, OutputFormat: "pcm"},
			"audio/pcm", "\x00\x01\x00\x02",
			`{"model":"tts-1","input":"canary of the prompt","voice":"alloy","response_format":"pcm"}`, "audio/pcm",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, says(http.StatusOK, tt.contentType, tt.body))
			got := providertest.Generate(t, provider(t, s), tt.req)
			calls := s.Requests()
			if len(calls) != 1 || calls[0].URL != "/v1/audio/speech" {
				t.Fatalf("calls = %+v", calls)
			}
			sameJSON(t, calls[0].Body, tt.want)
			if len(got.Blobs) != 1 || got.Blobs[0].MIME != tt.mime || string(got.Blobs[0].Data) != tt.body || got.Raw != nil {
				t.Errorf("response = %+v", got)
			}
			if want := (providers.Usage{Characters: int64(utf8.RuneCountInString(tt.req.Prompt))}); got.Usage != want {
				t.Errorf("usage = %+v, want %+v", got.Usage, want)
			}
		})
	}
}

func TestSpeechThatIsNoUseIsAFailure(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ contentType, body, format string }{
		"nothing":               {"audio/mpeg", "", "mp3"},
		"JSON":                  {"application/json", `{}`, "mp3"},
		"a page":                {"audio/mpeg", "<html>" + prompt, "mp3"},
		"text for samples":      {"text/plain", prompt, "pcm"},
		"JSON for samples":      {"audio/pcm", `{"x":1}`, "pcm"},
		"a picture":             {"audio/mpeg", png, "mp3"},
		"samples for something": {"audio/mpeg", "\x00\x01\x00\x02", "mp3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := audio()
			req.OutputFormat = tt.format
			e := failure(t, provider(t, providertest.Serve(t, says(http.StatusOK, tt.contentType, tt.body))), req)
			kind, billing, characters := providers.MalformedResponse, providers.Billed, int64(len(prompt))
			if name == "a page" { // not the API's
				kind, billing, characters = providers.NotFound, providers.Unbilled, 0
			}
			if e.Kind != kind || e.Billing != billing || e.Usage.Characters != characters || string(e.Body) != tt.body {
				t.Errorf("error = %+v", e)
			}
		})
	}
}

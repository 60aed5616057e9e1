package frontdoor_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/media"
)

func TestOpenAIsClientHasASoundTranscribed(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.openai(h.token(t, access.Enqueue, "mine"))
	sound := media.WAV(7, 8000, time.Second)
	ask := func(format openai.AudioResponseFormat) openai.AudioTranscriptionNewParams {
		return openai.AudioTranscriptionNewParams{
			File: openai.File(bytes.NewReader(sound), "meeting.wav", "audio/wav"), Model: "openai/whisper-1", Language: openai.String("en"), ResponseFormat: format,
		}
	}
	said, err := client.Audio.Transcriptions.New(t.Context(), ask(openai.AudioResponseFormatJSON))
	must(t, err)
	if said.Text == "" {
		t.Errorf("%+v", said)
	}
	detailed, err := client.Audio.Transcriptions.New(t.Context(), ask(openai.AudioResponseFormatVerboseJSON))
	must(t, err)
	if detailed.Text != said.Text || !strings.Contains(detailed.RawJSON(), `"duration"`) {
		t.Errorf("%s", detailed.RawJSON())
	}
}

// form is a form with a sound.
func form(t *testing.T, sound []byte, fields ...string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		must(t, w.WriteField(fields[i], fields[i+1]))
	}
	if sound != nil {
		part, err := w.CreateFormFile("file", "meeting.wav")
		must(t, err)
		_, err = part.Write(sound)
		must(t, err)
	}
	must(t, w.Close())
	return w.FormDataContentType(), b.String()
}

func TestATranscriptionIsTakenOnceAndWrongOnesAreRefused(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	token := h.token(t, access.Enqueue, "")
	sound := media.WAV(7, 8000, time.Second)
	send := func(sound []byte, header []string, fields ...string) (int, string, string) {
		t.Helper()
		contentType, body := form(t, sound, fields...)
		r := h.send(t, http.MethodPost, "/v1/audio/transcriptions", token, body, append([]string{"Content-Type", contentType}, header...)...)
		text, err := io.ReadAll(r.Body)
		must(t, err)
		return r.StatusCode, string(text), r.Header.Get("X-Oneflow-Job")
	}
	status, text, job := send(sound, nil, "model", "openai/whisper-1", "response_format", "text")
	if status != http.StatusOK || text == "" || strings.Contains(text, "{") {
		t.Errorf("as text: %d %s", status, text)
	}
	// A client's retry has a form with another boundary, and says the same.
	if _, _, again := send(sound, []string{"X-Stainless-Retry-Count", "1"}, "model", "openai/whisper-1", "response_format", "text"); again != job {
		t.Errorf("a retry made job %s beside %s", again, job)
	}
	if _, _, other := send(sound, []string{"X-Stainless-Retry-Count", "1"}, "model", "openai/whisper-1", "language", "fr", "response_format", "text"); other == job {
		t.Error("another request joined the job")
	}
	for _, wrong := range []struct {
		sound  []byte
		fields []string
		status int
	}{
		{nil, []string{"model", "openai/whisper-1"}, http.StatusBadRequest},
		{[]byte{}, []string{"model", "openai/whisper-1"}, http.StatusBadRequest},
		{sound, nil, http.StatusBadRequest},
		{sound, []string{"model", "nobody's"}, http.StatusNotFound},
		{sound, []string{"model", "openai/whisper-1", "response_format", "srt"}, http.StatusBadRequest},
		{sound, []string{"model", "openai/whisper-1", "temperature", "hot"}, http.StatusBadRequest},
		{sound, []string{"model", "openai/whisper-1", "stream", "true"}, http.StatusBadRequest},
		{sound, []string{"model", "openai/whisper-1", "model", "x"}, http.StatusBadRequest},
		{bytes.Repeat([]byte("x"), 13<<20), []string{"model", "openai/whisper-1"}, http.StatusRequestEntityTooLarge},
	} {
		if status, text, _ := send(wrong.sound, nil, wrong.fields...); status != wrong.status || !strings.Contains(text, `"error"`) {
			t.Errorf("%v: %d %s", wrong.fields, status, text)
		}
	}
	if r := h.send(t, http.MethodPost, "/v1/audio/transcriptions", token, "{}"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("no form: %d", r.StatusCode)
	}
}

func TestOpenAIsClientHasTextSpokenAndJudged(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	client := h.openai(h.token(t, access.Enqueue, ""))
	sound, err := client.Audio.Speech.New(t.Context(), openai.AudioSpeechNewParams{
		Model: "openai/gpt-4o-mini-tts", Input: "hello", Voice: openai.AudioSpeechNewParamsVoiceUnion{OfString: openai.String("alloy")}, ResponseFormat: openai.AudioSpeechNewParamsResponseFormatWAV,
	})
	must(t, err)
	defer func() { _ = sound.Body.Close() }()
	if data, err := io.ReadAll(sound.Body); err != nil || !strings.HasPrefix(string(data), "RIFF") || sound.Header.Get("Content-Type") != "audio/wav" {
		t.Errorf("speech: %d bytes of %s, %v", len(data), sound.Header.Get("Content-Type"), err)
	}
	for text, flagged := range map[string]bool{"hello": false, "violence": true} {
		for _, model := range []string{"", "omni-moderation-latest"} { // the vendor has a default
			m, err := client.Moderations.New(t.Context(), openai.ModerationNewParams{Model: model, Input: openai.ModerationNewParamsInputUnion{OfString: openai.String(text)}})
			if err != nil || len(m.Results) != 1 || m.Results[0].Flagged != flagged {
				t.Errorf("moderation of %s by %q: %+v %v", text, model, m, err)
			}
		}
	}
}

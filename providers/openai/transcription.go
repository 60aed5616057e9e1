package openai

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// maxSound is the largest sound that OpenAI takes, in bytes:
// https://platform.openai.com/docs/guides/speech-to-text.
const maxSound = 25 << 20

// transcribe sends a sound, as a form, and asks for what is said in it.
func (p *Provider) transcribe(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	contentType, body, err := transcriptionForm(model, req)
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.post(ctx, secret, "/audio/transcriptions", contentType, body, "application/json", wire.MaxAnswer, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readTranscription(a, model, req)
}

// transcriptionForm is req as a form, with the fields of extra as they are.
func transcriptionForm(model string, req providers.Request) (contentType string, body []byte, err error) {
	fields := map[string]any{"model": model, "response_format": cmp.Or(req.OutputFormat, "json")}
	if req.Prompt != "" {
		fields["prompt"] = req.Prompt
	}
	if req.Language != "" {
		fields["language"] = req.Language
	}
	if req.Temperature != nil {
		fields["temperature"] = strconv.FormatFloat(*req.Temperature, 'g', -1, 64)
	}
	for name, value := range req.Extra {
		fields[name] = value
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := writeField(w, name, fields[name]); err != nil {
			return "", nil, err
		}
	}
	for sound := range req.Media() {
		head := textproto.MIMEHeader{}
		head.Set("Content-Disposition", multipart.FileContentDisposition("file", fileName(sound)))
		head.Set("Content-Type", sound.MIME)
		file, err := w.CreatePart(head)
		if err == nil {
			_, err = file.Write(sound.Data)
		}
		if err != nil {
			return "", nil, err
		}
	}
	err = w.Close()
	return w.FormDataContentType(), form.Bytes(), err
}

// writeField writes a field; a list as one of its name with brackets for each value.
func writeField(w *multipart.Writer, name string, value any) error {
	raw, ok := value.(json.RawMessage)
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return w.WriteField(name, formValue(value))
	}
	for _, one := range list {
		if err := w.WriteField(name+"[]", formValue(one)); err != nil {
			return err
		}
	}
	return nil
}

// fileName is the name by whose ending OpenAI knows the form of a sound.
func fileName(sound providers.Part) string {
	return "sound." + soundEnding(sound.MIME)
}

// soundEnding is the ending of the files of a media type that OpenAI takes; empty where
// it takes none.
func soundEnding(mime string) string {
	switch mime, _, _ := strings.Cut(mime, ";"); mime {
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	case "audio/wav", "audio/x-wav", "audio/wave":
		return "wav"
	case "audio/flac", "audio/x-flac":
		return "flac"
	case "audio/ogg", "application/ogg":
		return "ogg"
	case "audio/mp4", "audio/x-m4a", "audio/m4a":
		return "m4a"
	case "video/mp4":
		return "mp4"
	case "audio/webm", "video/webm":
		return "webm"
	}
	return ""
}

// checkTranscription refuses what OpenAI's transcriptions do not take.
func checkTranscription(req providers.Request, model string) error {
	for sound := range req.Media() {
		switch {
		case sound.URL != "":
			return errors.New("file: OpenAI fetches no sound: give its bytes as file or data")
		case soundEnding(sound.MIME) == "":
			return fmt.Errorf("file: OpenAI takes FLAC, MP3, MP4, M4A, OGG, WAV and WebM, got %.40q", sound.MIME)
		case len(sound.Data) > maxSound:
			return fmt.Errorf("file: OpenAI takes at most %d MiB, got %d bytes: split it", maxSound>>20, len(sound.Data))
		}
	}
	if req.Temperature != nil && *req.Temperature > 1 {
		return fmt.Errorf("temperature: must be from 0 to 1 for %s, got %g", model, *req.Temperature)
	}
	if err := providers.OneOf("output_format", req.OutputFormat, "json", "verbose_json", "diarized_json"); err != nil {
		return err
	}
	return req.RefuseExtra("file", "stream")
}

// readTranscription judges an answer of /audio/transcriptions. A silence has an empty
// text: that is an answer.
func (p *Provider) readTranscription(a wire.Answer, model string, req providers.Request) (providers.Response, *providers.Error) {
	var said struct {
		Text     *string         `json:"text"`
		Usage    json.RawMessage `json:"usage"`
		Duration json.RawMessage `json:"duration"`
	}
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := soundUsage(said.Usage, said.Duration, req)
	usage.Cost = p.costOf(said.Usage)
	if said.Text == nil && usage.TotalInput()+usage.TotalOutput() == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	}
	if said.Text == nil {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	res := p.response(a, model, "", usage)
	res.Text, res.FinishReason = *said.Text, "stop"
	return res, nil
}

// soundUsage reads what a transcription used: tokens, or seconds. A server that tells
// neither is taken to have heard all that the sound can hold.
func soundUsage(report, duration json.RawMessage, req providers.Request) providers.Usage {
	var longest int64
	for sound := range req.Media() {
		longest = providers.SoundSeconds(sound.Data)
	}
	r := wire.ReadReport(report)
	input := r.Int(wire.Window, "input_tokens")
	usage := providers.Usage{AudioInputTokens: take(&input, max(r.Int(wire.Window, "input_token_details", "audio_tokens"), r.Int(wire.Window, "input_tokens_details", "audio_tokens")))}
	usage.InputTokens, usage.OutputTokens = input, r.Int(wire.Window, "output_tokens")
	if usage.TotalInput()+usage.TotalOutput() > 0 {
		return r.Mark(usage)
	}
	said := r.Decimal("seconds")
	if said == "" {
		said = strings.Trim(string(duration), `"`)
	}
	seconds, err := strconv.ParseFloat(said, 64)
	if err != nil || seconds < 0 || math.IsNaN(seconds) {
		return r.Mark(providers.Usage{MilliSeconds: longest * 1000})
	}
	usage.MilliSeconds = int64(math.Round(min(seconds, float64(longest)) * 1000))
	if seconds > float64(longest) {
		return wire.Implausible(usage, report)
	}
	return r.Mark(usage)
}

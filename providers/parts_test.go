package providers_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

// Media as they are given: PDF, WAV, MP3, FLAC, JPEG and PNG, in base64.
const (
	pdfBytes, wavBytes, mp3Bytes = "JVBERi0xLjc=", "UklGRgAAAABXQVZF", "SUQz"
	flacBytes, jpgBytes, pngData = "ZkxhQw==", "/9j/", "iVBORw0KGgo="
)

// given is a part in the words of one vendor: a body of its endpoint, or a row of ours.
type given struct{ form, part string }

// The forms of given.
const (
	row, chat, responses, messages, generate = "row", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1beta/models/{model}:generateContent"
)

// request is a request that holds the part after a text.
func (g given) request(t *testing.T) (req providers.Request, kind string) {
	t.Helper()
	req = providers.Request{Task: providers.Text, Model: "m", Endpoint: g.form}
	turn := `{"role":"user","content":[{"type":"text","text":"look"},` + g.part + `]}`
	switch g.form {
	case row:
		req.Endpoint = ""
		turns, unknown, err := providers.ReadMessages(json.RawMessage("[" + turn + "]"))
		if err != nil || len(unknown) > 0 {
			t.Fatalf("%s: %v, %q", g.part, err, unknown)
		}
		req.Messages = turns
		return req, "mock"
	case chat:
		req.Body = json.RawMessage(`{"model":"m","messages":[` + turn + `]}`)
		return req, "openai"
	case responses:
		req.Body = json.RawMessage(`{"model":"m","input":[` + strings.Replace(turn, `"type":"text"`, `"type":"input_text"`, 1) + `]}`)
		return req, "openai"
	case messages:
		req.Body = json.RawMessage(`{"model":"m","max_tokens":9,"messages":[` + turn + `]}`)
		return req, "anthropic"
	}
	req.Body = json.RawMessage(`{"contents":[{"role":"user","parts":[{"text":"look"},` + g.part + `]}]}`)
	return req, "gemini"
}

// target is a provider to which a request falls back.
type target struct {
	kind, preset, base, model string
	content                   func(body map[string]any) any // of the turn that arrives
}

// targets are providers of each vendor, by name. OpenAI's model hears if the part is a sound.
func targets(sound bool) map[string]target {
	inside := func(turns, content string) func(map[string]any) any {
		return func(body map[string]any) any {
			list, _ := body[turns].([]any)
			if len(list) != 1 {
				return body
			}
			turn, _ := list[0].(map[string]any)
			return turn[content]
		}
	}
	model := "gpt-6-luna"
	if sound {
		model = "gpt-audio"
	}
	return map[string]target{
		"openai":     {"openai", "", "/v1", model, inside("messages", "content")},
		"anthropic":  {"anthropic", "", "", "claude-haiku-5-5", inside("messages", "content")},
		"gemini":     {"gemini", "", "/v1beta", "gemini-3.8-flash", inside("contents", "parts")},
		"perplexity": {"openai-compatible", "perplexity", "/v1", "perplexity/sonar", inside("input", "content")},
		"fireworks":  {"openai-compatible", "fireworks", "/v1", "accounts/fireworks/models/m", inside("messages", "content")},
		"vllm":       {"openai-compatible", "vllm", "/v1", "m", inside("messages", "content")},
	}
}

// sent is the part that arrives at a provider.
func (to target) sent(t *testing.T, req providers.Request) any {
	t.Helper()
	s := providertest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn",
			"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],
			"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}`))
	})
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	d, _ := kinds.Of(to.kind)
	preset, _, _ := kinds.Preset(to.preset)
	p, err := d.New(providers.ClientConfig{
		Name: "mine", BaseURL: s.URL + to.base, Client: client, Preset: preset,
		Key: func(context.Context) (string, error) { return providertest.Key, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	providertest.Generate(t, p, req)
	var body map[string]any
	if err := json.Unmarshal(s.Requests()[0].Body, &body); err != nil {
		t.Fatal(err)
	}
	content, _ := to.content(body).([]any)
	if len(content) != 2 {
		t.Fatalf("%s holds no part beside the text", s.Requests()[0].Body)
	}
	return content[1]
}

// Each part is given in the words of each vendor that has some for it. Where it has an equivalent, that
// arrives, as it is typed from the vendor's documentation; where it has none ("!"), its place is named.
func TestAPartArrivesInTheWordsOfEachVendorOrIsNamed(t *testing.T) {
	t.Parallel()
	const document, sound, image = "!messages[0].content[1] (document)", "!messages[0].content[1] (audio)", "!messages[0].content[1] (image)"
	const url, data = `"https://example.com/a.`, `;base64,`
	for name, c := range map[string]struct {
		given []given
		want  map[string]string
	}{
		"a PDF with a name": {
			[]given{
				{row, `{"type":"document","data":"` + pdfBytes + `","name":"a.pdf"}`},
				{row, `{"type":"document","data":"` + pdfBytes + `","name":"a.pdf","mime":"application/x-pdf"}`},
				{chat, `{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf` + data + pdfBytes + `"}}`},
				{chat, `{"type":"file","file":{"filename":"a.pdf","file_data":"` + pdfBytes + `"}}`},
				{responses, `{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf` + data + pdfBytes + `"}`},
				{messages, `{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"` + pdfBytes + `"}}`},
				{generate, `{"inlineData":{"mimeType":"application/pdf","data":"` + pdfBytes + `","displayName":"a.pdf"}}`},
			},
			map[string]string{
				"openai":     `{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf` + data + pdfBytes + `"}}`,
				"anthropic":  `{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"` + pdfBytes + `"}}`,
				"gemini":     `{"inlineData":{"mimeType":"application/pdf","data":"` + pdfBytes + `"}}`,
				"perplexity": document, "fireworks": document, "vllm": document,
			},
		},
		"a PDF without a name": {
			[]given{
				{row, `{"type":"document","data":"` + pdfBytes + `"}`},
				{messages, `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"` + pdfBytes + `"}}`},
				{generate, `{"inline_data":{"mime_type":"application/pdf","data":"` + strings.TrimRight(pdfBytes, "=") + `"}}`},
			},
			map[string]string{
				"openai":    `{"type":"file","file":{"filename":"document.pdf","file_data":"data:application/pdf` + data + pdfBytes + `"}}`,
				"anthropic": `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"` + pdfBytes + `"}}`,
				"gemini":    `{"inlineData":{"mimeType":"application/pdf","data":"` + pdfBytes + `"}}`,
			},
		},
		"a PDF at an address": {
			[]given{
				{row, `{"type":"document","url":` + url + `pdf","mime":"application/pdf"}`},
				{messages, `{"type":"document","source":{"type":"url","url":` + url + `pdf"}}`},
				{generate, `{"fileData":{"mimeType":"application/pdf","fileUri":` + url + `pdf"}}`},
			},
			map[string]string{
				"openai": document, "perplexity": document, "fireworks": document, "vllm": document,
				"anthropic": `{"type":"document","source":{"type":"url","url":` + url + `pdf"}}`,
				"gemini":    `{"fileData":{"mimeType":"application/pdf","fileUri":` + url + `pdf"}}`,
			},
		},
		"a file at an address": {
			[]given{{row, `{"type":"document","url":` + url + `pdf"}`}, {responses, `{"type":"input_file","file_url":` + url + `pdf"}`}},
			map[string]string{
				"openai": document, "perplexity": document,
				"anthropic": `{"type":"document","source":{"type":"url","url":` + url + `pdf"}}`,
				"gemini":    `{"fileData":{"fileUri":` + url + `pdf"}}`,
			},
		},
		"a text at an address": {
			[]given{{row, `{"type":"document","url":` + url + `txt","mime":"text/plain"}`}, {generate, `{"fileData":{"mimeType":"text/plain","fileUri":` + url + `txt"}}`}},
			map[string]string{"openai": document, "anthropic": document, "gemini": `{"fileData":{"mimeType":"text/plain","fileUri":` + url + `txt"}}`},
		},
		"a plain document": {
			[]given{
				{row, `{"type":"document","data":"d29yZHM=","mime":"text/plain","name":"notes"}`},
				{messages, `{"type":"document","title":"notes","source":{"type":"text","media_type":"text/plain","data":"words"}}`},
			},
			map[string]string{
				"openai": document, "anthropic": `{"type":"document","title":"notes","source":{"type":"text","media_type":"text/plain","data":"words"}}`,
				"gemini": `{"inlineData":{"mimeType":"text/plain","data":"d29yZHM="}}`,
			},
		},
		"WAV": {
			[]given{
				{row, `{"type":"audio","data":"` + wavBytes + `"}`},
				{row, `{"type":"audio","data":"` + wavBytes + `","mime":"audio/x-wav"}`},
				{chat, `{"type":"input_audio","input_audio":{"data":"` + wavBytes + `","format":"wav"}}`},
				{responses, `{"type":"input_audio","input_audio":{"data":"` + wavBytes + `","format":"wav"}}`},
				{generate, `{"inlineData":{"mimeType":"audio/wav","data":"` + wavBytes + `"}}`},
			},
			map[string]string{
				"openai": `{"type":"input_audio","input_audio":{"data":"` + wavBytes + `","format":"wav"}}`,
				"vllm":   `{"type":"input_audio","input_audio":{"data":"` + wavBytes + `","format":"wav"}}`,
				"gemini": `{"inlineData":{"mimeType":"audio/wav","data":"` + wavBytes + `"}}`, "anthropic": sound, "perplexity": sound, "fireworks": sound,
			},
		},
		"MP3": {
			[]given{
				{row, `{"type":"audio","data":"` + mp3Bytes + `"}`},
				{chat, `{"type":"input_audio","input_audio":{"data":"` + mp3Bytes + `","format":"mp3"}}`},
				{generate, `{"inlineData":{"mimeType":"audio/mp3","data":"` + mp3Bytes + `"}}`},
				{generate, `{"inlineData":{"mimeType":"audio/mpeg","data":"` + mp3Bytes + `"}}`},
			},
			map[string]string{
				"openai": `{"type":"input_audio","input_audio":{"data":"` + mp3Bytes + `","format":"mp3"}}`,
				"gemini": `{"inlineData":{"mimeType":"audio/mp3","data":"` + mp3Bytes + `"}}`, "anthropic": sound,
			},
		},
		"FLAC": {
			[]given{
				{row, `{"type":"audio","data":"` + flacBytes + `"}`},
				{chat, `{"type":"input_audio","input_audio":{"data":"` + flacBytes + `","format":"flac"}}`},
				{generate, `{"inlineData":{"mimeType":"audio/flac","data":"` + flacBytes + `"}}`},
			},
			map[string]string{"openai": sound, "vllm": sound, "gemini": `{"inlineData":{"mimeType":"audio/flac","data":"` + flacBytes + `"}}`, "anthropic": sound},
		},
		"a sound at an address": {
			[]given{{row, `{"type":"audio","url":` + url + `mp3","mime":"audio/mpeg"}`}, {generate, `{"fileData":{"mimeType":"audio/mp3","fileUri":` + url + `mp3"}}`}},
			map[string]string{"openai": sound, "anthropic": sound, "gemini": `{"fileData":{"mimeType":"audio/mp3","fileUri":` + url + `mp3"}}`},
		},
		"a picture called jpg": {
			[]given{
				{row, `{"type":"image","data":"` + jpgBytes + `","mime":"image/jpg"}`},
				{chat, `{"type":"image_url","image_url":{"url":"data:image/jpg` + data + jpgBytes + `"}}`},
				{responses, `{"type":"input_image","image_url":"data:image/jpg` + data + jpgBytes + `"}`},
				{generate, `{"inlineData":{"mimeType":"image/jpg","data":"_9j_"}}`},
			},
			map[string]string{
				"openai":     `{"type":"image_url","image_url":{"url":"data:image/jpeg` + data + jpgBytes + `"}}`,
				"fireworks":  `{"type":"image_url","image_url":{"url":"data:image/jpeg` + data + jpgBytes + `"}}`,
				"anthropic":  `{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"` + jpgBytes + `"}}`,
				"gemini":     `{"inlineData":{"mimeType":"image/jpeg","data":"` + jpgBytes + `"}}`,
				"perplexity": `{"type":"input_image","image_url":"data:image/jpeg` + data + jpgBytes + `"}`,
			},
		},
		"a picture of a telephone's": {
			[]given{{row, `{"type":"image","data":"` + pngData + `","mime":"image/heic"}`}, {generate, `{"inlineData":{"mimeType":"image/heic","data":"` + pngData + `"}}`}},
			map[string]string{"openai": image, "anthropic": image, "gemini": `{"inlineData":{"mimeType":"image/heic","data":"` + pngData + `"}}`},
		},
		"a picture in low detail": {
			[]given{
				{row, `{"type":"image","data":"` + pngData + `","detail":"low"}`},
				{chat, `{"type":"image_url","image_url":{"url":"data:image/png` + data + pngData + `","detail":"low"}}`},
				{generate, `{"inlineData":{"mimeType":"image/png","data":"` + pngData + `"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}`},
			},
			map[string]string{
				"openai": `{"type":"image_url","image_url":{"url":"data:image/png` + data + pngData + `","detail":"low"}}`, "anthropic": image, "vllm": image, "perplexity": image,
				"gemini": `{"inlineData":{"mimeType":"image/png","data":"` + pngData + `"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}`,
			},
		},
		"a document in low detail": {
			[]given{
				{row, `{"type":"document","data":"` + pdfBytes + `","detail":"low"}`},
				{generate, `{"inlineData":{"mimeType":"application/pdf","data":"` + pdfBytes + `"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}`},
			},
			map[string]string{
				"openai": document, "anthropic": document,
				"gemini": `{"inlineData":{"mimeType":"application/pdf","data":"` + pdfBytes + `"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}`,
			},
		},
		"an address that holds no base64": {
			[]given{{row, `{"type":"image","url":"data:image/svg+xml,x"}`}, {chat, `{"type":"image_url","image_url":{"url":"data:image/png` + data + `*"}}`}},
			map[string]string{"openai": image, "anthropic": image, "gemini": image, "vllm": image},
		},
		"a picture with a name": {
			[]given{{row, `{"type":"image","data":"` + pngData + `","name":"a.png"}`}, {messages, `{"type":"image","title":"a","source":{"type":"url","url":` + url + `png"}}`}},
			map[string]string{"openai": image, "anthropic": image, "gemini": image},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, g := range c.given {
				for to, want := range c.want {
					aim := targets(strings.Contains(want, "audio"))[to]
					req, from := g.request(t)
					if from == aim.kind { // it is sent as it is
						continue
					}
					tr := providers.Translation{
						Capabilities: kinds.CapabilitiesOf, Kinds: map[string]string{"from": from, "to": aim.kind}, Presets: map[string]providers.Preset{},
						Model: func(string, providers.Task, string, string) (string, bool) { return aim.model, true },
					}
					tr.Presets["to"], _, _ = kinds.Preset(aim.preset)
					got, err := tr.Translate("from", "to", req)
					if place, refused := strings.CutPrefix(want, "!"); refused || err != nil {
						if err == nil || !refused || !strings.Contains(err.Error(), place) {
							t.Errorf("%s, %s to %s: %v, want %s", g.form, g.part, to, err, want)
						}
						continue
					}
					var part any
					if err := json.Unmarshal([]byte(want), &part); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(part, aim.sent(t, got)); diff != "" {
						t.Errorf("%s, %s to %s (-want +got):\n%s", g.form, g.part, to, diff)
					}
				}
			}
		})
	}
}

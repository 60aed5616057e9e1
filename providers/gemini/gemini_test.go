package gemini_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/media"
	"oneflow/providers"
	"oneflow/providers/gemini"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

// ask makes a call that is answered with a body, and returns what was sent too.
func ask(t *testing.T, req providers.Request, body string) (res providers.Response, sent *http.Request, fields map[string]any, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Clone(context.Background())
		_ = json.NewDecoder(r.Body).Decode(&fields)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	p, err := connect(server.URL+"/v1beta", client)
	if err != nil {
		t.Fatal(err)
	}
	if req.Prompt == "" && req.Messages == nil && req.Body == nil {
		req.Prompt = prompt
	}
	res, err = p.Generate(t.Context(), req)
	return res, sent, fields, err
}

func TestARequestIsSentInGooglesWords(t *testing.T) {
	t.Parallel()
	half := 0.5
	_, sent, fields, err := ask(t, providers.Request{
		Task: providers.Text, Model: "models/gemini-3.8-flash", System: "be brief", MaxTokens: 9, Temperature: &half, Stop: []string{"x"},
		Messages:       []providers.Message{{Role: "system", Content: "and kind"}, {Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}},
		ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "n", Schema: raw(`{"type":"object"}`)}},
		Extra:          map[string]json.RawMessage{"generationConfig": raw(`{"topK":3}`), "cachedContent": raw(`"cachedContents/1"`)},
	}, answered)
	if err != nil {
		t.Fatal(err)
	}
	if sent.Method != http.MethodPost || sent.URL.Path != "/v1beta/models/gemini-3.8-flash:generateContent" || sent.URL.RawQuery != "" ||
		sent.Header.Get("X-Goog-Api-Key") != providertest.Key {
		t.Errorf("%s %s, key %q", sent.Method, sent.URL, sent.Header.Get("X-Goog-Api-Key"))
	}
	text := func(s ...string) []any {
		var parts []any
		for _, one := range s {
			parts = append(parts, map[string]any{"text": one})
		}
		return parts
	}
	want := map[string]any{
		"systemInstruction": map[string]any{"parts": text("be brief", "and kind")},
		"contents": []any{
			map[string]any{"role": "user", "parts": text("a")}, map[string]any{"role": "model", "parts": text("b")}, map[string]any{"role": "user", "parts": text("c")},
		},
		"generationConfig": map[string]any{
			"maxOutputTokens": 9.0, "temperature": 0.5, "stopSequences": []any{"x"}, "topK": 3.0,
			"responseMimeType": "application/json", "responseJsonSchema": map[string]any{"type": "object"},
		},
		"cachedContent": "cachedContents/1",
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("body differs (-want +got):\n%s", diff)
	}
}

func TestUsageIsWhatGoogleBills(t *testing.T) {
	t.Parallel()
	counted := func(usage string) string {
		return `{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":` + usage + `}`
	}
	for name, c := range map[string]struct {
		task providers.Task
		body string
		want providers.Usage
	}{
		// 100 + 15 of input: 30 cached, 40-10 heard, the rest read; 20 + 50 of output.
		"everything": {providers.Text, answered, providers.Usage{
			InputTokens: 55, CachedInputTokens: 30, AudioInputTokens: 30, OutputTokens: 70, ReasoningTokens: 50,
		}},
		"thinking is beside the candidates": {
			providers.Text, counted(`{"promptTokenCount":8,"candidatesTokenCount":3,"thoughtsTokenCount":40,"totalTokenCount":51}`),
			providers.Usage{InputTokens: 8, OutputTokens: 43, ReasoningTokens: 40},
		},
		"a picture read": {
			providers.Text, counted(`{"promptTokenCount":300,"promptTokensDetails":[{"modality":"TEXT","tokenCount":42},{"modality":"IMAGE","tokenCount":258}]}`),
			providers.Usage{InputTokens: 42, ImageInputTokens: 258},
		},
		"a picture drawn": {providers.Image, drawn, providers.Usage{
			InputTokens: 8, ImageOutputTokens: 1290, OutputTokens: 12, ReasoningTokens: 7, Images: 1,
		}},
		"a picture drawn, not taken apart": {
			providers.Image, strings.Replace(drawn, `,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]`, "", 1),
			providers.Usage{InputTokens: 8, ImageOutputTokens: 1295, OutputTokens: 7, ReasoningTokens: 7, Images: 1},
		},
		"parts above the whole": {
			providers.Text, counted(`{"promptTokenCount":10,"cachedContentTokenCount":50,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":99}],"candidatesTokenCount":1}`),
			providers.Usage{CachedInputTokens: 10, OutputTokens: 1},
		},
		"nothing told": {providers.Text, counted(`null`), providers.Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, _, _, err := ask(t, providers.Request{Task: c.task}, c.body)
			if err != nil {
				t.Fatal(err)
			}
			if res.Usage != c.want {
				t.Errorf("usage\n%+v, want\n%+v", res.Usage, c.want)
			}
		})
	}
}

func TestAnAnswerIsWhatGoogleSays(t *testing.T) {
	t.Parallel()
	res, _, _, err := ask(t, providers.Request{Task: providers.Text}, answered)
	if err != nil {
		t.Fatal(err)
	}
	if res.Text != "Hi there" || res.FinishReason != "STOP" || res.Model != "gemini-3.5-flash-lite-001" || res.RequestID != "abc-123" {
		t.Errorf("%+v", res)
	}
	res, _, _, err = ask(t, providers.Request{Task: providers.Text}, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]},"finishReason":"STOP"}]}`)
	if err != nil || res.Text != "" || res.FinishReason != "tool_calls" || !strings.Contains(string(res.Raw), "functionCall") {
		t.Errorf("a call of a tool: %v, %+v", err, res)
	}
}

func TestAnAnswerWithoutAResultSaysWhy(t *testing.T) {
	t.Parallel()
	const used = `,"usageMetadata":{"promptTokenCount":5,"thoughtsTokenCount":7}}`
	for body, want := range map[string]struct {
		kind providers.Kind
		code string
	}{
		`{"candidates":[{"content":{"role":"model"},"finishReason":"MAX_TOKENS"}]` + used:                          {providers.InvalidRequest, "MAX_TOKENS"},
		`{"candidates":[{"finishReason":"SAFETY"}]` + used:                                                         {providers.Moderated, "SAFETY"},
		`{"candidates":[{"content":{"parts":[{"text":"half"}]},"finishReason":"PROHIBITED_CONTENT"}]` + used:       {providers.Moderated, "PROHIBITED_CONTENT"},
		`{"promptFeedback":{"blockReason":"BLOCKLIST"}` + used:                                                     {providers.Moderated, "BLOCKLIST"},
		`{"candidates":[{"content":{"parts":[{"text":"  "}]},"finishReason":"STOP"}]` + used:                       {providers.Unreadable, "STOP"},
		`{"candidates":[{"content":{"parts":[{"text":"x","thought":true}]},"finishReason":"OTHER"}]` + used:        {providers.Unreadable, "OTHER"},
		`{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAAA"}}]},"finishReason":"STOP"}]` + used:      {providers.Unreadable, ""},
		`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"canary of the prompt"}]` + used: {providers.Unreadable, "MALFORMED_FUNCTION_CALL"},
	} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			_, _, _, err := ask(t, providers.Request{Task: providers.Text}, body)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Kind != want.kind || e.Code != want.code || e.Billing != providers.Billed || e.Usage.OutputTokens != 7 || e.Usage.InputTokens != 5 || e.Usage.WebSearches != 0 {
				t.Fatalf("%+v, want %+v, billed for what was used", e, want)
			}
			if strings.HasPrefix(body, `{"candidates":[{`) { // what it searched for is charged too
				searched := strings.Replace(body, `{"candidates":[{`, `{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"]},`, 1)
				_, _, _, err := ask(t, providers.Request{Task: providers.Text}, searched)
				if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != want.kind || e.Usage.WebSearches != 2 {
					t.Errorf("after two searches: %+v", e)
				}
			}
			if strings.Contains(e.Explain(), prompt) {
				t.Errorf("repeats the prompt: %s", e.Explain())
			}
		})
	}
	_, _, _, err := ask(t, providers.Request{Task: providers.Image}, answered)
	if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != providers.Unreadable {
		t.Errorf("a text in the place of a picture: %v", err)
	}
}

func TestWhatGoogleWouldRefuseIsNotSent(t *testing.T) {
	t.Parallel()
	hot := 2.5
	for name, req := range map[string]providers.Request{
		"model":                                 {Task: providers.Text, Model: "a/b:c"},
		"seed":                                  {Task: providers.Text, Seed: new(int64(1 << 40))},
		"stop":                                  {Task: providers.Text, Stop: []string{"1", "2", "3", "4", "5", "6"}},
		"temperature":                           {Task: providers.Text, Temperature: &hot},
		"response_format.type":                  {Task: providers.Text, ResponseFormat: &providers.ResponseFormat{Type: "xml"}},
		"messages[1].role":                      {Task: providers.Text, Messages: []providers.Message{{Role: "user", Content: "a"}, {Role: "system", Content: "b"}}},
		"messages[0].content":                   {Task: providers.Text, Messages: []providers.Message{{Role: "user"}}},
		"messages":                              {Task: providers.Text, Messages: []providers.Message{{Role: "system", Content: "b"}}},
		"aspect_ratio":                          {Task: providers.Image, AspectRatio: "7:5"},
		"quality":                               {Task: providers.Image, Quality: "hd"},
		"extra.contents":                        {Task: providers.Text, Extra: map[string]json.RawMessage{"contents": raw(`[]`)}},
		"extra.generationConfig.topP":           {Task: providers.Text, Extra: map[string]json.RawMessage{"generationConfig": raw(`{"topP":1}`)}},
		"extra.generationConfig.candidateCount": {Task: providers.Text, Extra: map[string]json.RawMessage{"generationConfig": raw(`{"candidateCount":2}`)}},
		"messages[0].content[0] (image)":        {Task: providers.Text, Messages: []providers.Message{{Role: "user", Parts: []providers.Part{{Type: providers.ImagePart, Data: []byte{1}, MIME: "image/gif"}}}}},
		"messages[1].tool_call_id":              {Task: providers.Text, Messages: []providers.Message{{Role: "user", Content: "a"}, {Role: "tool", ToolCallID: "x", Content: "b"}}},
		"messages[0].name":                      {Task: providers.Text, Messages: []providers.Message{{Role: "user", Content: "a", Name: "b"}}},
		"effort":                                {Task: providers.Text, Effort: "max"},
		"service_tier":                          {Task: providers.Text, ServiceTier: "gold"},
		"size":                                  {Task: providers.Video, Size: "100x100"},
		"seconds":                               {Task: providers.Video, Model: "veo-3.1-generate-preview", Seconds: 5},
		"seconds: veo-3.1-generate-preview makes films of 1920x1080 in 8 seconds only, got 4": {Task: providers.Video, Model: "veo-3.1-generate-preview", Size: "1920x1080", Seconds: 4},
		"extra.parameters.resolution": {Task: providers.Video, Extra: map[string]json.RawMessage{"parameters": raw(`{"resolution":"4k"}`)}},
		"extra.generationConfig":      {Task: providers.Text, Extra: map[string]json.RawMessage{"generationConfig": raw(`[]`)}},
	} {
		if req.Messages == nil {
			req.Prompt = prompt
		}
		err := gemini.Descriptor().Capabilities().Check(req)
		if err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("Check() = %v, want one about %s", err, name)
		}
	}
}

func TestAConversationIsSentInGooglesWords(t *testing.T) {
	t.Parallel()
	_, _, fields, err := ask(t, providers.Request{
		Task: providers.Text, Model: "gemini-3.8-flash", Tools: []providers.Tool{weather(), {Own: raw(`{"googleSearch":{}}`)}}, Effort: "low", ServiceTier: "default",
		Messages: []providers.Message{
			{Role: "developer", Content: "be kind"},
			{Role: "user", Parts: []providers.Part{
				{Type: providers.TextPart, Text: "a", Cache: providers.Cache1h},
				{Type: providers.ImagePart, Data: []byte{1}, MIME: "image/png", Detail: "high"},
				{Type: providers.AudioPart, Data: []byte{2}, MIME: "audio/mpeg"},
				{Type: providers.DocumentPart, URL: "https://example.com/a.pdf", MIME: "application/pdf"},
			}},
			{Role: "assistant", Content: "b", ToolCalls: []providers.ToolCall{{ID: "1", Name: "weather", Arguments: `{"city":"Ulm"}`}, {ID: "2", Name: "weather", Arguments: `{}`}}},
			{Role: "tool", ToolCallID: "1", Content: `{"sky":"blue"}`},
			{Role: "tool", ToolCallID: "2", Content: "none", IsError: true},
			{Role: "user", Content: "c"},
		},
	}, answered)
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	want := object{
		"systemInstruction": object{"parts": []any{object{"text": "be kind"}}},
		"contents": []any{
			object{"role": "user", "parts": []any{
				object{"text": "a"},
				object{"inlineData": object{"mimeType": "image/png", "data": "AQ=="}, "mediaResolution": object{"level": "MEDIA_RESOLUTION_HIGH"}},
				object{"inlineData": object{"mimeType": "audio/mp3", "data": "Ag=="}},
				object{"fileData": object{"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
			}},
			object{"role": "model", "parts": []any{
				object{"text": "b"},
				object{"functionCall": object{"id": "1", "name": "weather", "args": object{"city": "Ulm"}}, "thoughtSignature": "skip_thought_signature_validator"},
				object{"functionCall": object{"id": "2", "name": "weather", "args": object{}}},
			}},
			object{"role": "user", "parts": []any{
				object{"functionResponse": object{"id": "1", "name": "weather", "response": object{"sky": "blue"}}},
				object{"functionResponse": object{"id": "2", "name": "weather", "response": object{"error": "none"}}},
			}},
			object{"role": "user", "parts": []any{object{"text": "c"}}},
		},
		"tools": []any{
			object{"functionDeclarations": []any{object{
				"name": "weather", "description": "of a city",
				"parametersJsonSchema": object{"type": "object", "properties": object{"city": object{"type": "string"}}, "required": []any{"city"}},
			}}},
			object{"googleSearch": object{}},
		},
		"toolConfig":       object{"functionCallingConfig": object{"mode": "VALIDATED"}},
		"generationConfig": object{"thinkingConfig": object{"thinkingLevel": "LOW"}},
		"serviceTier":      "standard",
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("body differs (-want +got):\n%s", diff)
	}
}

func TestVectorsAndSilenceAreAnswers(t *testing.T) {
	t.Parallel()
	res, sent, fields, err := ask(t, providers.Request{Task: providers.Embedding, Dimensions: 2}, `{"embedding":{"values":[0.5,-1]},"usageMetadata":{"promptTokenCount":7}}`)
	if err != nil || sent.URL.Path != "/v1beta/models/gemini-embedding-2:embedContent" || !slices.Equal(res.Vector, []float32{0.5, -1}) || res.Usage != (providers.Usage{InputTokens: 7}) {
		t.Errorf("%v: %v of %s, used %+v", err, res.Vector, sent.URL, res.Usage)
	}
	if diff := cmp.Diff(map[string]any{"content": map[string]any{"parts": []any{map[string]any{"text": prompt}}}, "outputDimensionality": 2.0}, fields); diff != "" {
		t.Errorf("body differs (-want +got):\n%s", diff)
	}
	res, _, _, err = ask(t, own("batchEmbedContents", `{"requests":[]}`), `{"embeddings":[{"values":[1]},{"values":[2]}]}`)
	if err != nil || res.Text != "[[1],[2]]" {
		t.Errorf("%q, %v", res.Text, err)
	}
	quiet := providertest.Least(providers.Request{Task: providers.Transcription})
	res, _, _, err = ask(t, quiet, `{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":40,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":32}]}}`)
	if err != nil || res.Text != "" || res.Usage != (providers.Usage{InputTokens: 8, AudioInputTokens: 32}) {
		t.Errorf("%q, %+v, %v", res.Text, res.Usage, err)
	}
}

func TestPicturesAndSoundInATextAreKeptBesideIt(t *testing.T) {
	t.Parallel()
	pcm := base64.StdEncoding.EncodeToString(media.PCM(1, 8000, time.Second))
	said := strings.Replace(strings.Replace(drawn, `{"text":"Here it is:"}`, `{"text":"Here it is:"},{"inlineData":{"mimeType":"audio/L16;codec=pcm;rate=8000","data":"`+pcm+`"}}`, 1), `"finishReason"`, `"groundingMetadata":{"webSearchQueries":["a","b"]},"finishReason"`, 1)
	res, _, _, err := ask(t, providers.Request{Task: providers.Text, Model: "gemini-3.1-flash-image"}, said)
	if err != nil || res.Text != "Here it is:" || len(res.Blobs) != 2 || res.Blobs[0].MIME != "audio/pcm" || res.Blobs[1].MIME != "image/png" {
		t.Fatalf("%q, %d media, %v", res.Text, len(res.Blobs), err)
	}
	if want := (providers.Usage{InputTokens: 8, ImageOutputTokens: 1290, OutputTokens: 12, ReasoningTokens: 7, WebSearches: 2}); res.Usage != want {
		t.Errorf("used %+v, want %+v", res.Usage, want)
	}
}

func TestAKeyIsCheckedForFree(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		kind   providers.Kind
	}{
		{200, `{"models":[{"name":"models/m"}]}`, ""},
		{400, `{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}`, providers.Unauthorised},
		{200, `{"hello":1}`, providers.MalformedResponse},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/v1beta/models" || r.Header.Get("X-Goog-Api-Key") != "a-key" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		client := wire.NewClient(wire.Config{})
		p, err := connect(server.URL, client)
		if err != nil {
			t.Fatal(err)
		}
		err = p.(*gemini.Provider).CheckKey(t.Context(), "a-key")
		e, failed := errors.AsType[*providers.Error](err)
		if failed != (c.kind != "") || failed && (e.Kind != c.kind || e.Billing != providers.Unbilled) {
			t.Errorf("%s: %v", c.body, err)
		}
		client.CloseIdleConnections()
		server.Close()
	}
}

package gemini_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/gemini"
)

func TestABodyArrivesAsItWasGiven(t *testing.T) {
	t.Parallel()
	for body, model := range map[string]string{
		`{"contents":[{"parts":[{"text":"a"}],"nextMonth":1}],"generationConfig":{"newest":{"a":[1]}},"inventedTomorrow":true}`: "gemini-3.8-flash",
		`{"model":"models/gemini-3.8-flash","contents":[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"AQ=="}}]}]}`:    "models/gemini-3.8-flash",
	} {
		req := own("generateContent", body)
		req.Model = model
		_, sent, fields, err := ask(t, req, answered)
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, fields); diff != "" || sent.URL.Path != "/v1beta/models/gemini-3.8-flash:generateContent" {
			t.Errorf("%s, body differs (-want +got):\n%s", sent.URL, diff)
		}
	}
}

func TestABodyIsReadForItsPriceAndForOtherVendors(t *testing.T) {
	t.Parallel()
	can := gemini.Descriptor().Capabilities()
	named, unknown, err := can.Named(own("generateContent", `{"systemInstruction":{"parts":[{"text":"s"}]},
		"contents":[{"role":"user","parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"AQ=="}}]},
			{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Ulm"}},"thoughtSignature":"eA=="}]},
			{"role":"user","parts":[{"functionResponse":{"name":"weather","response":{"sky":"blue"}}}]}],
		"tools":[{"functionDeclarations":[{"name":"weather","parametersJsonSchema":{"type":"object"}}]}],
		"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["weather"]}},"serviceTier":"flex",
		"generationConfig":{"maxOutputTokens":9,"stopSequences":["x"],"responseMimeType":"application/json","responseJsonSchema":{"type":"object"},"thinkingConfig":{"thinkingLevel":"HIGH"}}}`))
	want := providers.Request{
		Task: providers.Text, Model: "gemini-3.8-flash", System: "s", MaxTokens: 9, Stop: []string{"x"}, Effort: "high", ServiceTier: "flex",
		Messages: []providers.Message{
			{Role: "user", Parts: []providers.Part{{Type: providers.TextPart, Text: "a"}, {Type: providers.ImagePart, MIME: "image/png", Data: []byte{1}}}},
			{Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "call_weather", Name: "weather", Arguments: `{"city":"Ulm"}`}}},
			{Role: "tool", ToolCallID: "call_weather", Content: `{"sky":"blue"}`},
		},
		Tools:          []providers.Tool{{Name: "weather", Parameters: raw(`{"type":"object"}`)}},
		ToolChoice:     &providers.ToolChoice{Mode: "tool", Name: "weather"},
		ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "answer", Schema: raw(`{"type":"object"}`)}},
	}
	if diff := cmp.Diff(want, named); diff != "" || err != nil || len(unknown) > 0 {
		t.Errorf("unknown %v, %v, differs (-want +got):\n%s", unknown, err, diff)
	}
	for body, field := range map[string]string{
		`{"contents":[{"parts":[{"text":"a","videoMetadata":{}}]}]}`:                                          "contents[0].parts[0].videoMetadata",
		`{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"topK":4}}`:                               "generationConfig.topK",
		`{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"responseModalities":["AUDIO"]}}`:         "generationConfig.responseModalities",
		`{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"parameters":{}}]}]}`:      "tools[0].functionDeclarations[0].parameters",
		`{"contents":[{"parts":[{"text":"a"}]}],"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED"}}}`: "toolConfig.functionCallingConfig.mode",
	} {
		if _, unknown, err := can.Named(own("generateContent", body)); err != nil || len(unknown) != 1 || unknown[0] != field {
			t.Errorf("%s: unknown %v, %v, want %s", body, unknown, err, field)
		}
	}
}

func TestABodyIsAskedAgainInGooglesWords(t *testing.T) {
	t.Parallel()
	can := gemini.Descriptor().Capabilities()
	got, err := can.Revised(own("generateContent", `{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"topK":1}}`), providers.Revision{Answer: "b", Objection: "c", MaxTokens: 7})
	want := `{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"b"}]},{"role":"user","parts":[{"text":"c"}]}],"generationConfig":{"maxOutputTokens":7,"topK":1}}`
	if err != nil || string(got.Body) != want {
		t.Errorf("%s, %v", got.Body, err)
	}
}

package providers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// A round of tools: two calls of the same tool, of numbers that no float64 holds, and what it said of
// each, in the words of each vendor.
func TestARoundOfToolsIsTheSameConversationInEachVendorsWords(t *testing.T) {
	t.Parallel()
	const one, two = `{"id":9007199254740993}`, `{"id":12345678901234567890.10}`
	want := func(first, second string, said ...string) []providers.Message {
		return []providers.Message{
			{Role: "user", Content: "who are they?"},
			{Role: "assistant", Content: "I look", ToolCalls: []providers.ToolCall{{ID: first, Name: "find", Arguments: one}, {ID: second, Name: "find", Arguments: two}}},
			{Role: "tool", ToolCallID: first, Content: said[0]},
			{Role: "tool", ToolCallID: second, Content: said[1]},
			{Role: "user", Content: "and?"},
		}
	}
	quoted := func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }
	tr := providers.Translation{Capabilities: kinds.CapabilitiesOf, Kinds: map[string]string{"openai": "openai", "anthropic": "anthropic", "gemini": "gemini", "other": "openai-compatible"}}
	for name, c := range map[string]struct {
		from, endpoint, body string
		want                 []providers.Message
	}{
		"chat": {
			"openai", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"who are they?"},
			{"role":"assistant","content":"I look","refusal":null,"annotations":[],"tool_calls":[
				{"id":"c1","type":"function","function":{"name":"find","arguments":"` + quoted(one) + `"}},{"id":"c2","type":"function","function":{"name":"find","arguments":"` + quoted(two) + `"}}]},
			{"role":"tool","tool_call_id":"c1","content":"Ada"},{"role":"tool","tool_call_id":"c2","content":"Alan"},{"role":"user","content":"and?"}]}`,
			want("c1", "c2", "Ada", "Alan"),
		},
		"responses": {
			"openai", "/v1/responses", `{"model":"m","input":[{"role":"user","content":"who are they?"},
			{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"I look","annotations":[]}]},
			{"type":"function_call","id":"fc_1","status":"completed","call_id":"c1","name":"find","arguments":"` + quoted(one) + `"},
			{"type":"function_call","id":"fc_2","status":"completed","call_id":"c2","name":"find","arguments":"` + quoted(two) + `"},
			{"type":"function_call_output","call_id":"c1","output":"Ada"},{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"Alan"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"and?"}]}]}`,
			want("c1", "c2", "Ada", "Alan"),
		},
		"messages": {
			"anthropic", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"who are they?"},
			{"role":"assistant","content":[{"type":"text","text":"I look"},{"type":"tool_use","id":"c1","name":"find","input":` + one + `},{"type":"tool_use","id":"c2","name":"find","input":` + two + `}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"Ada"},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"Alan"}]},{"type":"text","text":"and?"}]}]}`,
			want("c1", "c2", "Ada", "Alan"),
		},
		"gemini": {
			"gemini", "/v1beta/models/{model}:generateContent", `{"contents":[{"role":"user","parts":[{"text":"who are they?"}]},
			{"role":"model","parts":[{"text":"I look"},{"functionCall":{"id":"c1","name":"find","args":` + one + `},"thoughtSignature":"AAAA"},{"functionCall":{"id":"c2","name":"find","args":` + two + `}}]},
			{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"find","response":{"n":1}}},{"functionResponse":{"id":"c2","name":"find","response":{"n":2}}},{"text":"and?"}]}]}`,
			want("c1", "c2", `{"n":1}`, `{"n":2}`),
		},
		"gemini, without ids": {
			"gemini", "/v1beta/models/{model}:generateContent", `{"contents":[{"role":"user","parts":[{"text":"who are they?"}]},
			{"role":"model","parts":[{"text":"I look"},{"functionCall":{"name":"find","args":` + one + `}},{"functionCall":{"name":"find","args":` + two + `}}]},
			{"role":"user","parts":[{"functionResponse":{"name":"find","response":{"n":1}}},{"functionResponse":{"name":"find","response":{"n":2}}},{"text":"and?"}]}]}`,
			want("call_find", "call_find_2", `{"n":1}`, `{"n":2}`),
		},
	} {
		for to, kind := range tr.Kinds {
			if kind == c.from {
				continue
			}
			req := providers.Request{Task: providers.Text, Model: "m", Endpoint: c.endpoint, Body: json.RawMessage(c.body)}
			got, err := tr.Translate(c.from, to, req)
			if diff := cmp.Diff(c.want, got.Messages); err != nil || diff != "" {
				t.Errorf("%s for %s: %v (-want +got)\n%s", name, to, err, diff)
			}
		}
	}
}

func TestWhatOnlyOneVendorHasIsNamedAndNotLeftOut(t *testing.T) {
	t.Parallel()
	tr := providers.Translation{Capabilities: kinds.CapabilitiesOf, Kinds: map[string]string{"openai": "openai", "anthropic": "anthropic", "gemini": "gemini"}}
	const generate, messages, responses = "/v1beta/models/{model}:generateContent", "/v1/messages", "/v1/responses"
	google := func(part string) string {
		return `{"contents":[{"role":"user","parts":[{"text":"look"},` + part + `]}]}`
	}
	for name, c := range map[string]struct{ from, to, endpoint, body, says string }{
		"a film":                       {"gemini", "anthropic", generate, google(`{"fileData":{"mimeType":"video/mp4","fileUri":"https://example.com/a.mp4"}}`), "contents[0].parts[1].fileData"},
		"a file of Google's":           {"gemini", "anthropic", generate, google(`{"fileData":{"mimeType":"image/png","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/f"}}`), "contents[0].parts[1].fileData"},
		"a film of YouTube's":          {"gemini", "anthropic", generate, google(`{"fileData":{"fileUri":"https://www.youtube.com/watch?v=9hE5-98ZeCg"}}`), "contents[0].parts[1].fileData"},
		"a picture's blur":             {"gemini", "openai", generate, google(`{"inlineData":{"mimeType":"image/png","data":"AAAA","blur":1}}`), "contents[0].parts[1].inlineData.blur"},
		"a picture that is not base64": {"gemini", "openai", generate, google(`{"inlineData":{"mimeType":"image/png","data":"*"}}`), "contents[0].parts[1].inlineData.data"},
		"a resolution of Google's":     {"gemini", "openai", generate, google(`{"inlineData":{"mimeType":"image/png","data":"AAAA"},"mediaResolution":{"level":"MEDIA_RESOLUTION_ULTRA_HIGH"}}`), "contents[0].parts[1].mediaResolution"},
		"a tool's answer after a text": {"gemini", "openai", generate, google(`{"functionResponse":{"name":"f","response":{}}}`), "contents[0].parts[1] (functionResponse after other parts)"},
		"a text after a call": {
			"gemini", "openai", generate, `{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}},{"text":"I look"}]}]}`,
			"contents[1].parts[1] (a part after functionCall)",
		},
		"a bucket of its": {"gemini", "anthropic", generate, google(`{"fileData":{"mimeType":"application/pdf","fileUri":"gs://bucket/a.pdf"}}`), "contents[0].parts[1].fileData"},
		"a picture as a system prompt": {
			"gemini", "openai", generate, `{"systemInstruction":{"parts":[{"text":"be"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]},"contents":[{"parts":[{"text":"a"}]}]}`,
			"systemInstruction.parts[1]",
		},
		"parts of a tool's answer": {"gemini", "openai", generate, `{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},
			{"role":"user","parts":[{"functionResponse":{"name":"f","response":{},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}]}`, "contents[2].parts[0].functionResponse.parts"},
		"how a function is called": {"gemini", "openai", generate, `{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f","behavior":"NON_BLOCKING"}]}]}`, "functionDeclarations[0].behavior"},
		"citations":                {"anthropic", "openai", messages, `{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"},"citations":{"enabled":true}}]}]}`, "content[0].citations"},
		"reasoning":                {"openai", "anthropic", responses, `{"input":[{"type":"reasoning","id":"r","summary":[],"encrypted_content":"x"},{"role":"user","content":"a"}]}`, "(reasoning)"},
		"an odd answer of a tool":  {"openai", "anthropic", responses, `{"input":[{"type":"function_call_output","call_id":"c","output":[]}]}`, "(function_call_output)"},
		"a call of another sort":   {"openai", "anthropic", responses, `{"input":[{"type":"custom_tool_call","call_id":"c","name":"f","input":"x"}]}`, "(custom_tool_call)"},
		"a failed tool":            {"anthropic", "openai", messages, `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","is_error":true,"content":"no"}]}]}`, "is_error"},
		"a picture from a tool": {"anthropic", "openai", messages, `{"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}`, "content[0] (image)"},
	} {
		req := providers.Request{Task: providers.Text, Model: "m", Endpoint: c.endpoint, Body: json.RawMessage(c.body)}
		if got, err := tr.Translate(c.from, c.to, req); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a word of %s: %+v", name, err, c.says, got)
		}
	}
}

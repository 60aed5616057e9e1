package frontdoor_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"

	"oneflow/access"
	"oneflow/internal/fakeprovider"
)

// withTools answers chats about the weather as vendors do: first with the call of a tool,
// then, once the body has what the tool said, with a text. A body in another form than the
// vendor's is refused.
func withTools(mux *http.ServeMux, others http.Handler) {
	for path, c := range map[string]struct{ form, result, call, text string }{
		"/openai/v1/chat/completions": {
			`"parameters":`, `"tool_call_id":"`,
			`{"id":"c1","object":"chat.completion","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,
				"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Ulm\"}"}}]}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`,
			`{"id":"c2","object":"chat.completion","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"12 degrees"}}],
				"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`,
		},
		"/anthropic/v1/messages": {
			`"input_schema":`, `"tool_result"`,
			`{"id":"m1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"tool_use","id":"call_1","name":"get_weather","input":{"city":"Ulm"}}],
				"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}`,
			`{"id":"m2","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"text","text":"12 degrees"}],
				"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}`,
		},
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			has := func(s string) bool { return bytes.Contains(body, []byte(s)) }
			switch {
			case err != nil:
				panic(http.ErrAbortHandler)
			case !has("get_weather"):
				r.Body = io.NopCloser(bytes.NewReader(body))
				others.ServeHTTP(w, r)
				return
			case !has(c.form):
				w.WriteHeader(http.StatusBadRequest)
			}
			w.Header().Set("Content-Type", "application/json")
			if has(c.result) {
				_, _ = io.WriteString(w, c.text)
			} else {
				_, _ = io.WriteString(w, c.call)
			}
		})
	}
}

const city = `{"type":"object","properties":{"city":{"type":"string"}}}`

func TestCallsOfToolsGoThroughAnyVendorToAnyClient(t *testing.T) {
	t.Parallel()
	h := open(t, fakeprovider.Config{}, true)
	token := h.token(t, access.Enqueue, "")
	o, a := h.openai(token), h.anthropic(token)
	var schema map[string]any
	must(t, json.Unmarshal([]byte(city), &schema))
	for _, model := range []string{"gpt-5.4-mini", "claude-haiku-5-5"} {
		params := chat(model, "How warm is it?")
		params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "get_weather", Parameters: schema})}
		stream := o.Chat.Completions.NewStreaming(t.Context(), params)
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			all.AddChunk(stream.Current())
		}
		res, err := o.Chat.Completions.New(t.Context(), params)
		if err != nil || stream.Err() != nil {
			t.Errorf("%s: %v %v", model, err, stream.Err())
			continue
		}
		for name, choices := range map[string][]openai.ChatCompletionChoice{"whole": res.Choices, "stream": all.Choices} {
			if len(choices) != 1 || choices[0].FinishReason != "tool_calls" || len(choices[0].Message.ToolCalls) != 1 {
				t.Fatalf("%s of %s: %+v", name, model, choices)
			}
			if c := choices[0].Message.ToolCalls[0]; c.ID == "" || c.Function.Name != "get_weather" || c.Function.Arguments != `{"city":"Ulm"}` {
				t.Errorf("%s of %s: %+v", name, model, c)
			}
		}
		params.Messages = append(params.Messages, res.Choices[0].Message.ToParam(), openai.ToolMessage("12", res.Choices[0].Message.ToolCalls[0].ID))
		if res, err = o.Chat.Completions.New(t.Context(), params); err != nil || res.Choices[0].Message.Content != "12 degrees" {
			t.Errorf("%s, told the result: %+v %v", model, res, err)
		}

		ask := anthropic.MessageNewParams{
			Model: model, MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("How warm is it?"))},
			Tools: []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{Name: "get_weather", InputSchema: anthropic.ToolInputSchemaParam{Properties: schema["properties"]}}}},
		}
		events := a.Messages.NewStreaming(t.Context(), ask)
		var streamed anthropic.Message
		for events.Next() {
			must(t, streamed.Accumulate(events.Current()))
		}
		m, err := a.Messages.New(t.Context(), ask)
		if err != nil || events.Err() != nil {
			t.Errorf("%s: %v %v", model, err, events.Err())
			continue
		}
		for name, m := range map[string]*anthropic.Message{"whole": m, "stream": &streamed} {
			if m.StopReason != "tool_use" || len(m.Content) != 1 || m.Content[0].Type != "tool_use" || m.Content[0].Name != "get_weather" || string(m.Content[0].Input) != `{"city":"Ulm"}` {
				t.Fatalf("%s of %s: %+v", name, model, m)
			}
		}
		ask.Messages = append(ask.Messages, m.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(m.Content[0].ID, "12", false)))
		if m, err = a.Messages.New(t.Context(), ask); err != nil || len(m.Content) != 1 || m.Content[0].Text != "12 degrees" {
			t.Errorf("%s, told the result: %+v %v", model, m, err)
		}
	}
}

package batches

import (
	"bytes"
	"cmp"
	"encoding/json"

	"oneflow/providers"
)

// ToolCalls returns the calls of tools that stand in the vendor's own answer, whoever the
// vendor is.
func (r Record) ToolCalls() []providers.ToolCall {
	raw := bytes.ToValidUTF8(r.Raw, []byte("\uFFFD"))
	var body struct {
		Choices []struct {
			Message struct {
				ToolCalls []struct {
					ID       string
					Function struct{ Name, Arguments string }
				} `json:"tool_calls"`
			}
		}
		Content []struct {
			Type, ID, Name string
			Input          json.RawMessage
		}
		Output []struct {
			Type, Name, Arguments string
			CallID                string `json:"call_id"`
		}
		Candidates []struct {
			Content struct {
				Parts []struct {
					FunctionCall *struct {
						ID, Name string
						Args     json.RawMessage
					}
				}
			}
		}
	}
	_ = json.Unmarshal(raw, &body) //nolint:musttag // names differ by their case alone; a body of another form has none of them
	var calls []providers.ToolCall
	add := func(id, name, arguments string) {
		calls = append(calls, providers.ToolCall{ID: id, Name: name, Arguments: cmp.Or(arguments, "{}")})
	}
	if len(body.Choices) > 0 {
		for _, c := range body.Choices[0].Message.ToolCalls {
			add(c.ID, c.Function.Name, c.Function.Arguments)
		}
	}
	for _, c := range body.Content {
		if c.Type == "tool_use" {
			add(c.ID, c.Name, string(c.Input))
		}
	}
	for _, c := range body.Output {
		if c.Type == "function_call" {
			add(c.CallID, c.Name, c.Arguments)
		}
	}
	if len(body.Candidates) > 0 {
		for _, p := range body.Candidates[0].Content.Parts {
			if c := p.FunctionCall; c != nil {
				add(cmp.Or(c.ID, "call_"+c.Name), c.Name, string(c.Args))
			}
		}
	}
	return calls
}

// chatCalls are calls of tools as OpenAI's chat has them.
func chatCalls(calls []providers.ToolCall) []chatCall {
	var out []chatCall
	for _, c := range calls {
		out = append(out, chatCall{c.ID, "function", chatFunction{c.Name, c.Arguments}})
	}
	return out
}

// inputOf is the input of a call as Anthropic has it: an object.
func inputOf(c providers.ToolCall) json.RawMessage {
	if raw := json.RawMessage(c.Arguments); json.Valid(raw) {
		return raw
	}
	raw, err := json.Marshal(map[string]string{"arguments": c.Arguments})
	if err != nil {
		return json.RawMessage("{}")
	}
	return raw
}

package batches

import (
	"bytes"
	"cmp"
	"encoding/json"

	"oneflow/providers"
)

// said is one of the answers that stand in a vendor's own, whoever the vendor is.
type said struct {
	text   string
	finish string // the vendor's own word; empty: it is not there
	calls  []providers.ToolCall
}

// parts are a text that is in one piece, or in several.
type parts string

// UnmarshalJSON takes a string, or a list of parts; anything else is no text.
func (p *parts) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, (*string)(p)) == nil {
		return nil
	}
	var list []struct {
		Text    string `json:"text"`
		Thought bool   `json:"thought"`
	}
	_ = json.Unmarshal(data, &list) // anything else is none
	for _, one := range list {
		if !one.Thought {
			*p += parts(one.Text)
		}
	}
	return nil
}

// answers are all that stand in the vendor's answer: several, where so many were asked for (n). Only
// OpenAI's chat and Google have such; calls of tools are read of all.
func (r Record) answers() []said {
	raw := bytes.ToValidUTF8(r.Raw, []byte("\uFFFD"))
	var body struct {
		Choices []struct {
			FinishReason string `json:"finish_reason"`
			Message      struct {
				Content   parts
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
			FinishReason string
			Content      struct {
				Parts []struct {
					Text         string
					Thought      bool
					FunctionCall *struct {
						ID, Name string
						Args     json.RawMessage
					}
				}
			}
		}
	}
	_ = json.Unmarshal(raw, &body) //nolint:musttag // names differ by their case alone; a body of another form has none of them
	var all []said
	var one said
	add := func(id, name, arguments string) {
		one.calls = append(one.calls, providers.ToolCall{ID: id, Name: name, Arguments: cmp.Or(arguments, "{}")})
	}
	for _, c := range body.Choices {
		one = said{text: string(c.Message.Content), finish: c.FinishReason}
		for _, call := range c.Message.ToolCalls {
			add(call.ID, call.Function.Name, call.Function.Arguments)
		}
		all = append(all, one)
	}
	for _, c := range body.Candidates {
		one = said{finish: c.FinishReason}
		for _, p := range c.Content.Parts {
			if !p.Thought {
				one.text += p.Text
			}
			if call := p.FunctionCall; call != nil {
				add(cmp.Or(call.ID, "call_"+call.Name), call.Name, string(call.Args))
			}
		}
		all = append(all, one)
	}
	if len(all) > 0 {
		return all
	}
	one = said{}
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
	return []said{one}
}

// Answers returns the texts of all answers, the first of which is Text, where several were asked for
// (n); nil where there is one.
func (r Record) Answers() []string {
	if r.Task != providers.Text {
		return nil
	}
	all := r.answers()
	if len(all) < 2 {
		return nil
	}
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = one.text
	}
	texts[0] = r.Text
	return texts
}

// ToolCalls returns the calls of tools of the answer, or of the first where there are several.
func (r Record) ToolCalls() []providers.ToolCall { return r.answers()[0].calls }

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

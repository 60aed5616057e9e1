package frontdoor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

// result is a job that has ended.
type result struct {
	batches.Record
	// plain asks for the text alone.
	plain bool
}

func (r result) failed() bool { return r.State != jobs.Succeeded }

// problem returns the HTTP status and the words for a job that has no result.
func (r result) problem() (status int, message string) {
	message = orElse(r.ErrorMessage, "the job ended as "+string(r.State))
	switch r.State {
	case jobs.Expired:
		return http.StatusGatewayTimeout, "the job was not done in time"
	case jobs.Cancelled:
		return http.StatusConflict, "the job was cancelled"
	case jobs.Unknown, jobs.Scheduled, jobs.Queued, jobs.Running, jobs.Retrying, jobs.Succeeded, jobs.Failed:
	}
	switch providers.Kind(r.ErrorClass) { //nolint:exhaustive // all others are of the provider's making
	case providers.InvalidRequest, providers.Moderated:
		return http.StatusBadRequest, message
	case providers.NotFound:
		return http.StatusNotFound, message
	case providers.TooLarge:
		return http.StatusRequestEntityTooLarge, message
	}
	return http.StatusBadGateway, message
}

// said is an answer of text in no vendor's form.
type said struct {
	text   string
	tools  []providers.ToolCall
	finish providers.Finish
	usage  providers.Usage
}

func (r result) said() said {
	s := said{text: r.Text, finish: providers.FinishOf(r.FinishReason), tools: r.ToolCalls()}
	_ = json.Unmarshal(r.Usage, &s.usage) // what cannot be read is not known
	if len(s.tools) > 0 {
		s.finish = providers.FinishToolCalls
	}
	return s
}

// raw is the vendor's body as text that JSON can carry.
func (r result) raw() []byte { return bytes.ToValidUTF8(r.Raw, []byte("\uFFFD")) }

// input counts all input tokens, as OpenAI does.
func (s said) input() int64 {
	return s.usage.InputTokens + s.usage.CachedInputTokens + s.usage.CacheWriteTokens
}

// own reports whether a body has the form of an endpoint's answers.
func own(path string, raw []byte) bool {
	var body struct {
		Object, Type    string
		Choices         []struct{ Message json.RawMessage }
		Output, Content []json.RawMessage
	}
	valid := json.Unmarshal(raw, &body) == nil //nolint:musttag // names differ by their case alone
	switch path {
	case chatPath:
		return valid && len(body.Choices) > 0 && len(body.Choices[0].Message) > 2
	case responsesPath:
		return valid && body.Object == "response" && body.Output != nil
	case messagesPath:
		return valid && body.Type == "message" && body.Content != nil
	}
	return json.Valid(raw)
}

// writeBody answers with the vendor's own body where it has the endpoint's form, else with
// one that says the same.
func writeBody(_ *FrontDoor, w http.ResponseWriter, r *http.Request, res result) {
	w.Header().Set("X-Oneflow-Provider", headerValue(res.Provider))
	if raw := res.raw(); own(r.URL.Path, raw) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(raw) //nolint:gosec // JSON is no page, and nosniff says so
		return
	}
	switch r.URL.Path {
	case responsesPath:
		answer(w, http.StatusOK, res.response())
	case messagesPath:
		answer(w, http.StatusOK, res.message())
	default:
		answer(w, http.StatusOK, res.chat())
	}
}

// headerValue is a name as a header may have it.
func headerValue(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, []byte(s)))
}

type object = map[string]any

// chat is the answer as OpenAI's chat has it.
func (r result) chat() object {
	s := r.said()
	message := object{"role": "assistant", "content": r.Text, "refusal": nil}
	if len(s.tools) > 0 {
		message["tool_calls"] = chatTools(s.tools, false)
		if r.Text == "" {
			message["content"] = nil
		}
	}
	return object{
		"id": "chatcmpl-" + r.ID, "object": "chat.completion", "created": r.FinishedAt.Unix(), "model": r.Model,
		"choices": []object{{"index": 0, "message": message, "logprobs": nil, "finish_reason": s.chatFinish()}},
		"usage":   s.chatUsage(),
	}
}

// chatTools are calls of functions as OpenAI's chat has them; in a stream each has its place.
func chatTools(tools []providers.ToolCall, placed bool) []object {
	var out []object
	for i, t := range tools {
		o := object{"id": t.ID, "type": "function", "function": object{"name": t.Name, "arguments": t.Arguments}}
		if placed {
			o["index"] = i
		}
		out = append(out, o)
	}
	return out
}

func (s said) chatFinish() string {
	switch s.finish {
	case providers.FinishLength, providers.FinishToolCalls:
		return string(s.finish)
	case providers.FinishFilter:
		return "content_filter"
	case providers.FinishStop, providers.FinishPause, providers.FinishOther:
	}
	return "stop"
}

func (s said) chatUsage() object {
	return object{
		"prompt_tokens": s.input(), "completion_tokens": s.usage.OutputTokens, "total_tokens": s.input() + s.usage.OutputTokens,
		"prompt_tokens_details": object{"cached_tokens": s.usage.CachedInputTokens},
	}
}

// response is the answer as OpenAI's Responses has it.
func (r result) response() object {
	s := r.said()
	output := []object{}
	if r.Text != "" || len(s.tools) == 0 {
		output = append(output, object{
			"type": "message", "id": "msg_" + r.ID, "status": "completed", "role": "assistant",
			"content": []object{{"type": "output_text", "text": r.Text, "annotations": []any{}}},
		})
	}
	for _, t := range s.tools {
		output = append(output, object{"type": "function_call", "id": "fc_" + t.ID, "call_id": t.ID, "name": t.Name, "arguments": t.Arguments, "status": "completed"})
	}
	status, why := "completed", any(nil)
	if s.finish == providers.FinishLength {
		status, why = "incomplete", object{"reason": "max_output_tokens"}
	}
	return object{
		"id": "resp_" + r.ID, "object": "response", "created_at": r.FinishedAt.Unix(), "status": status, "model": r.Model, "output": output,
		"error": nil, "incomplete_details": why, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true,
		"temperature": nil, "top_p": nil, "tool_choice": "auto", "tools": []any{},
		"usage": object{
			"input_tokens": s.input(), "input_tokens_details": object{"cached_tokens": s.usage.CachedInputTokens},
			"output_tokens": s.usage.OutputTokens, "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": s.input() + s.usage.OutputTokens,
		},
	}
}

// message is the answer as Anthropic has it.
func (r result) message() object {
	s := r.said()
	content := []object{}
	if r.Text != "" {
		content = append(content, object{"type": "text", "text": r.Text})
	}
	for _, t := range s.tools {
		content = append(content, object{"type": "tool_use", "id": t.ID, "name": t.Name, "input": s.input0(t)})
	}
	return object{
		"id": "msg_" + r.ID, "type": "message", "role": "assistant", "model": r.Model, "content": content,
		"stop_reason": s.stopReason(), "stop_sequence": nil, "usage": s.messageUsage(),
	}
}

// input0 is the input of a call as an object.
func (said) input0(t providers.ToolCall) json.RawMessage {
	if raw := json.RawMessage(t.Arguments); json.Valid(raw) {
		return raw
	}
	return encoded(object{"arguments": t.Arguments})
}

func (s said) messageUsage() object {
	return object{
		"input_tokens": s.usage.InputTokens, "output_tokens": s.usage.OutputTokens,
		"cache_creation_input_tokens": s.usage.CacheWriteTokens, "cache_read_input_tokens": s.usage.CachedInputTokens,
	}
}

func (s said) stopReason() string {
	switch s.finish {
	case providers.FinishLength:
		return "max_tokens"
	case providers.FinishToolCalls:
		return "tool_use"
	case providers.FinishFilter:
		return "refusal"
	case providers.FinishStop, providers.FinishPause, providers.FinishOther:
	}
	return "end_turn"
}

const (
	// maxPicture and maxSound bound what is read of one artefact.
	maxPicture = 64 << 20
	maxSound   = 512 << 20
)

// writeImages answers with the pictures in base64.
func writeImages(f *FrontDoor, w http.ResponseWriter, r *http.Request, res result) {
	var data []object
	for _, a := range res.Artifacts {
		from, err := f.cfg.Objects.OpenURL(r.Context(), a.URL)
		var picture []byte
		if err == nil {
			picture, err = io.ReadAll(io.LimitReader(from, maxPicture))
			_ = from.Close()
		}
		if err != nil {
			f.broken(w, r, err)
			return
		}
		data = append(data, object{"b64_json": base64.StdEncoding.EncodeToString(picture)})
	}
	answer(w, http.StatusOK, object{"created": res.FinishedAt.Unix(), "data": data})
}

// writeSpeech answers with the sound itself.
func writeSpeech(f *FrontDoor, w http.ResponseWriter, r *http.Request, res result) {
	if len(res.Artifacts) == 0 {
		fail(w, http.StatusBadGateway, "", "", "the answer holds no sound")
		return
	}
	from, err := f.cfg.Objects.OpenURL(r.Context(), res.Artifacts[0].URL)
	if err != nil {
		f.broken(w, r, err)
		return
	}
	defer func() { _ = from.Close() }()
	w.Header().Set("Content-Type", headerValue(res.Artifacts[0].MIME))
	_, _ = io.Copy(w, io.LimitReader(from, maxSound))
}

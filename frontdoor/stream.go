package frontdoor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// event is one server-sent event. Without a name it has data alone.
type event struct {
	name string
	data any // a string is sent as it is
}

// answerStream sends a job's result as events. The headers go out at once, since the
// job is accepted; until it has ended comments keep the connection alive.
func (f *FrontDoor) answerStream(w http.ResponseWriter, r *http.Request, ask asking, id uuid.UUID) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	conn := http.NewResponseController(w)
	send := func(text string) bool {
		_, err := w.Write([]byte(text)) //nolint:gosec // events are no page, and nosniff says so
		return err == nil && conn.Flush() == nil
	}
	ended := make(chan bool, 1)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	go func() { ended <- f.wait(ctx, ask, id) }()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	there := send(": accepted\n\n")
	for {
		select {
		case ok := <-ended:
			if r.Context().Err() != nil {
				return
			}
			for _, e := range f.events(r.Context(), ask, id, ok) {
				if there = there && send(e.text()); !there {
					return
				}
			}
			return
		case <-tick.C:
			if there = there && send(": waiting\n\n"); !there {
				stop() // the client is gone: wait sees to its job
			}
		}
	}
}

// events returns those to send of a job that has ended.
func (f *FrontDoor) events(ctx context.Context, ask asking, id uuid.UUID, ok bool) []event {
	if !ok {
		return []event{ask.endpoint.broke(http.StatusGatewayTimeout, "the job was not done in time")}
	}
	res, err := f.result(ctx, id)
	switch {
	case err != nil:
		f.cfg.Log.Warn().Err(err).Stringer("job", id).Msg("result of a stream cannot be read")
		return []event{ask.endpoint.broke(http.StatusServiceUnavailable, "the database does not answer")}
	case res.failed():
		return []event{ask.endpoint.broke(res.problem())}
	}
	return ask.endpoint.stream(res, ask.options)
}

// text is the event as it is sent. JSON has no line ends of its own.
func (e event) text() string {
	var b strings.Builder
	if e.name != "" {
		fmt.Fprintf(&b, "event: %s\n", e.name)
	}
	data, isText := e.data.(string)
	if !isText {
		raw, err := json.Marshal(e.data)
		if err != nil {
			raw = []byte("null")
		}
		data = string(raw)
	}
	fmt.Fprintf(&b, "data: %s\n\n", data)
	return b.String()
}

// pieces cuts a text into what is sent at a time, at the ends of characters.
func pieces(text string) []string {
	const most = 400
	var out []string
	runes := []rune(text)
	for len(runes) > 0 {
		n := min(most, len(runes))
		out = append(out, string(runes[:n]))
		runes = runes[n:]
	}
	return out
}

// streamChat sends chunks as OpenAI's chat does.
func streamChat(res result, o streamOptions) []event {
	s := res.said()
	chunk := func(delta object, finish any) object {
		return object{
			"id": "chatcmpl-" + res.ID, "object": "chat.completion.chunk", "created": res.FinishedAt.Unix(), "model": res.Model,
			"choices": []object{{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}},
		}
	}
	all := []event{{data: chunk(object{"role": "assistant", "content": ""}, nil)}}
	for _, p := range pieces(s.text) {
		all = append(all, event{data: chunk(object{"content": p}, nil)})
	}
	if len(s.tools) > 0 {
		all = append(all, event{data: chunk(object{"tool_calls": chatTools(s.tools, true)}, nil)})
	}
	all = append(all, event{data: chunk(object{}, s.chatFinish())})
	if o.IncludeUsage {
		last := chunk(nil, nil)
		last["choices"], last["usage"] = []object{}, s.chatUsage()
		all = append(all, event{data: last})
	}
	return append(all, event{data: "[DONE]"})
}

// brokeOpenAI is OpenAI's event for a failure.
func brokeOpenAI(status int, message string) event {
	return event{data: map[string]vendorError{"error": errorOf(status, "", "", message)}}
}

// streamResponse sends events as OpenAI's Responses does.
func streamResponse(res result, _ streamOptions) []event {
	whole := any(res.response())
	if raw := res.raw(); own(responsesPath, raw) {
		whole = json.RawMessage(raw)
	}
	begun := res.response()
	begun["status"], begun["output"], begun["usage"] = "in_progress", []any{}, nil
	n := 0
	named := func(kind string, data object) event {
		data["type"], data["sequence_number"] = kind, n
		n++
		return event{kind, data}
	}
	all := []event{named("response.created", object{"response": begun})}
	item := "msg_" + res.ID
	for _, p := range pieces(res.Text) {
		all = append(all, named("response.output_text.delta", object{"item_id": item, "output_index": 0, "content_index": 0, "delta": p, "logprobs": []any{}}))
	}
	if res.Text != "" {
		all = append(all, named("response.output_text.done", object{"item_id": item, "output_index": 0, "content_index": 0, "text": res.Text, "logprobs": []any{}}))
	}
	for i, t := range res.said().tools {
		all = append(all, named("response.function_call_arguments.done", object{"item_id": "fc_" + t.ID, "output_index": i + 1, "name": t.Name, "arguments": t.Arguments}))
	}
	return append(all, named("response.completed", object{"response": whole}))
}

// brokeResponse is the failure of a response.
func brokeResponse(status int, message string) event {
	e := errorOf(status, "", "", message)
	return event{"error", object{"type": "error", "code": e.Type, "message": message, "param": nil, "sequence_number": 0}}
}

// streamMessage sends events as Anthropic does.
func streamMessage(res result, _ streamOptions) []event {
	s := res.said()
	begun := res.message()
	begun["content"], begun["stop_reason"] = []any{}, nil
	named := func(kind string, data object) event {
		data["type"] = kind
		return event{kind, data}
	}
	all := []event{named("message_start", object{"message": begun})}
	at := 0
	block := func(start object, deltas []object) {
		all = append(all, named("content_block_start", object{"index": at, "content_block": start}))
		for _, d := range deltas {
			all = append(all, named("content_block_delta", object{"index": at, "delta": d}))
		}
		all = append(all, named("content_block_stop", object{"index": at}))
		at++
	}
	if s.text != "" {
		var deltas []object
		for _, p := range pieces(s.text) {
			deltas = append(deltas, object{"type": "text_delta", "text": p})
		}
		block(object{"type": "text", "text": ""}, deltas)
	}
	for _, t := range s.tools {
		block(object{"type": "tool_use", "id": t.ID, "name": t.Name, "input": object{}}, []object{{"type": "input_json_delta", "partial_json": t.Arguments}})
	}
	return append(all,
		named("message_delta", object{"delta": object{"stop_reason": s.stopReason(), "stop_sequence": nil}, "usage": s.messageUsage()}),
		named("message_stop", object{}))
}

// brokeAnthropic is Anthropic's event for a failure.
func brokeAnthropic(status int, message string) event {
	return event{"error", anthropicErrorOf(status, message)}
}

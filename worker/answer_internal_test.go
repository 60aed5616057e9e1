package worker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// capped is a price list of models whose answers end at so many tokens.
type capped int64

func (capped) Reserve(string, providers.Request, time.Time) (billing.NanoUSD, int64, bool) {
	return 0, 1000, true
}

func (capped) Cost(string, string, providers.Usage, time.Time) (billing.NanoUSD, []string, bool) {
	return 0, nil, true
}

func (c capped) LongestAnswer(string, string) int64 { return int64(c) }

const number = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`

func structured(change func(*providers.Request)) providers.Request {
	req := providers.Request{
		Task: providers.Text, Model: "m", Prompt: "how many?",
		ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "a", Schema: json.RawMessage(number)}},
	}
	if change != nil {
		change(&req)
	}
	return req
}

func TestAnAnswerIsASuccessOnlyIfItIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	h := &handler{cfg: Config{Prices: capped(1000)}}
	body := func(endpoint, body string) func(*providers.Request) {
		return func(r *providers.Request) {
			*r = providers.Request{Task: providers.Text, Model: "m", Endpoint: endpoint, Body: json.RawMessage(body)}
		}
	}
	for name, tt := range map[string]struct {
		change func(*providers.Request)
		res    providers.Response
		want   providers.Kind
	}{
		"it fits":                           {nil, providers.Response{Text: `{"n":3}`, FinishReason: "stop"}, ""},
		"it breaks the schema":              {nil, providers.Response{Text: `{"n":"3"}`, FinishReason: "stop"}, providers.OffSchema},
		"no JSON":                           {nil, providers.Response{Text: "three", FinishReason: "end_turn"}, providers.OffSchema},
		"it calls a tool":                   {nil, providers.Response{FinishReason: "tool_calls"}, ""},
		"cut, and so broken":                {nil, providers.Response{Text: `{"n":`, FinishReason: "length"}, providers.Cut},
		"cut, and whole":                    {nil, providers.Response{Text: `{"n":3}`, FinishReason: "length"}, ""},
		"cut where that is kept":            {func(r *providers.Request) { r.ResponseFormat = nil }, providers.Response{Text: "one", FinishReason: "MAX_TOKENS"}, ""},
		"cut where that fails":              {func(r *providers.Request) { r.ResponseFormat, r.OnCut = nil, providers.FailCut }, providers.Response{Text: "one", FinishReason: "max_tokens"}, providers.Cut},
		"cut where that is asked again":     {func(r *providers.Request) { r.ResponseFormat, r.OnCut = nil, providers.RetryCut }, providers.Response{Text: "one", FinishReason: "length"}, providers.Cut},
		"of a chat's own body":              {body("/v1/chat/completions", `{"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":`+number+`}}}`), providers.Response{Text: "[]"}, providers.OffSchema},
		"of a response's own body":          {body("/v1/responses", `{"text":{"format":{"type":"json_schema","name":"a","schema":`+number+`}}}`), providers.Response{Text: "[]"}, providers.OffSchema},
		"of a message's own body":           {body("/v1/messages", `{"output_config":{"format":{"type":"json_schema","schema":`+number+`}}}`), providers.Response{Text: "[]"}, providers.OffSchema},
		"paused, with a body of its own":    {body("/v1/messages", `{"messages":[]}`), providers.Response{FinishReason: "pause_turn", Raw: []byte(`{"content":[{"type":"text","text":"a"}]}`)}, providers.Paused},
		"paused, and no way to go on":       {func(r *providers.Request) { r.ResponseFormat = nil }, providers.Response{Text: "a", FinishReason: "pause_turn", Raw: []byte(`{"content":[]}`)}, ""},
		"a picture is not looked at at all": {func(r *providers.Request) { r.Task = providers.Image }, providers.Response{FinishReason: "length"}, ""},
	} {
		req := structured(tt.change)
		miss := h.judge(req, kinds.Named("", req).ResponseFormat, tt.res, nil)
		if got := kindOf(miss); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	paused := structured(body("/v1/messages", `{"messages":[]}`))
	var before []jobs.Miss
	for range maxPauses {
		before = append(before, jobs.Miss{Kind: providers.Paused})
	}
	if miss := h.judge(paused, nil, providers.Response{Text: "a", FinishReason: "pause_turn", Raw: []byte(`{"content":[{"type":"text"}]}`)}, before); miss != nil {
		t.Errorf("it is gone on with for ever: %+v", miss)
	}
}

func kindOf(miss *jobs.Miss) providers.Kind {
	if miss == nil {
		return ""
	}
	return miss.Kind
}

func TestWhatIsAskedNextGoesOnFromAllThatCame(t *testing.T) {
	t.Parallel()
	h := &handler{cfg: Config{Prices: capped(1000)}}
	off := jobs.Miss{Kind: providers.OffSchema, Message: "/n: got string, want integer", Answer: `{"n":"3"}`}
	cut := jobs.Miss{Kind: providers.Cut, Message: "cut", OutputTokens: 100}
	two, none := 2, 0
	retryCut := func(r *providers.Request) { r.OnCut, r.MaxTokens = providers.RetryCut, 100 }
	for name, tt := range map[string]struct {
		change func(*providers.Request)
		misses []jobs.Miss
		sends  string // part of the request; empty: nothing is sent
	}{
		"the first":               {nil, nil, `"prompt":"how many?"`},
		"asked again":             {nil, []jobs.Miss{off}, `"messages":[{"role":"user","content":"how many?"},{"role":"assistant","content":"{\"n\":\"3\"}"},{"role":"user","content":"The answer does not fit the JSON schema that was asked for: /n: got string, want integer.`},
		"not twice":               {nil, []jobs.Miss{off, off}, ""},
		"twice where it may":      {func(r *providers.Request) { r.Reask = &two }, []jobs.Miss{off, off}, `{"role":"assistant"`},
		"never":                   {func(r *providers.Request) { r.Reask = &none }, []jobs.Miss{off}, ""},
		"a higher cap":            {retryCut, []jobs.Miss{cut}, `"max_tokens":400`},
		"the highest cap":         {retryCut, []jobs.Miss{cut, {Kind: providers.Cut, OutputTokens: 400}}, `"max_tokens":1000`},
		"no cap above that":       {retryCut, []jobs.Miss{cut, {Kind: providers.Cut, OutputTokens: 400}, {Kind: providers.Cut, OutputTokens: 1000}}, ""},
		"no cap, but the model's": {func(r *providers.Request) { r.OnCut = providers.RetryCut }, []jobs.Miss{{Kind: providers.Cut, OutputTokens: 1000}}, ""},
		"cut where that fails":    {func(r *providers.Request) { r.OnCut = providers.FailCut }, []jobs.Miss{cut}, ""},
		"a chat's own body": {
			func(r *providers.Request) {
				*r = providers.Request{Task: providers.Text, Endpoint: "/v1/chat/completions", Body: json.RawMessage(`{"messages":[{"role":"user","content":"q"}],"max_tokens":9}`), OnCut: providers.RetryCut}
			},
			[]jobs.Miss{off, {Kind: providers.Cut, OutputTokens: 9}},
			`"max_tokens":36,"messages":[{"role":"user","content":"q"},{"content":"{\"n\":\"3\"}","role":"assistant"},{"content":"The answer`,
		},
		"a response's own body": {
			func(r *providers.Request) {
				*r = providers.Request{Task: providers.Text, Endpoint: "/v1/responses", Body: json.RawMessage(`{"input":"q"}`)}
			},
			[]jobs.Miss{off},
			`"input":[{"content":"q","role":"user"},{"content":"{\"n\":\"3\"}","role":"assistant"}`,
		},
		"a paused message": {
			func(r *providers.Request) {
				*r = providers.Request{Task: providers.Text, Endpoint: "/v1/messages", Body: json.RawMessage(`{"messages":[{"role":"user","content":"q"}]}`)}
			},
			[]jobs.Miss{{Kind: providers.Paused, Answer: `{"content":[{"type":"server_tool_use","id":"a"}]}`}},
			`{"content":[{"type":"server_tool_use","id":"a"}],"role":"assistant"}]`,
		},
	} {
		req, end := h.next(jobs.Job{Request: structured(tt.change)}, tt.misses)
		data, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case tt.sends == "" && (end == nil || end.State != jobs.Failed || end.Class != string(tt.misses[0].Kind)):
			t.Errorf("%s: it goes on with %s", name, data)
		case tt.sends != "" && (end != nil || !strings.Contains(string(data), tt.sends)):
			t.Errorf("%s: it sends %s, ends %+v, want %s", name, data, end, tt.sends)
		}
	}
}

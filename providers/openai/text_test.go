package openai_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/media"
	"oneflow/providers"
	"oneflow/providers/providertest"
)

const completion = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5.4-mini-2026-03-17",
	"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hi\u0000 there","refusal":null}}],
	"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
		"prompt_tokens_details":{"cached_tokens":60,"audio_tokens":0},
		"completion_tokens_details":{"reasoning_tokens":20}}}`

func TestTextIsAskedForInOpenAIsWords(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}`)
	for name, tt := range map[string]struct {
		req     providers.Request
		changes []change
		want    string
	}{
		"the least": {
			text(), nil,
			`{"model":"gpt-6-luna","messages":[{"role":"user","content":"canary of the prompt"}]}`,
		},
		"everything": {
			providers.Request{
				Task: providers.Text, Model: "gpt-4.1", System: "Be brief.", Prompt: prompt, MaxTokens: 9,
				Temperature: new(0.0), TopP: new(0.5), Stop: []string{"A", "B"}, Seed: new(int64(0)),
				ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
					Name: "n", Description: "d", Schema: schema, Strict: new(true),
				}},
				Extra: map[string]json.RawMessage{
					"logit_bias": json.RawMessage(`{"1":-100}`),
					"odd.na|me":  json.RawMessage(`null`),
				},
				Effort: "low", ServiceTier: "flex",
			},
			nil,
			`{"model":"gpt-4.1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"canary of the prompt"}],
			"max_completion_tokens":9,"temperature":0,"top_p":0.5,"stop":["A","B"],"seed":0,
			"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","strict":true,
				"schema":{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}}},
			"reasoning_effort":"low","logit_bias":{"1":-100},"odd.na|me":null,"service_tier":"flex"}`,
		},
		"a conversation": {
			providers.Request{Task: providers.Text, Messages: []providers.Message{
				{Role: "system", Content: "s"},
				{Role: "user", Content: "u"},
				{Role: "assistant", Content: "a"},
				{Role: "user", Content: prompt},
			}, ResponseFormat: &providers.ResponseFormat{Type: "json_object"}},
			nil,
			`{"model":"gpt-6-luna","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},
			{"role":"assistant","content":"a"},{"role":"user","content":"canary of the prompt"}],
			"response_format":{"type":"json_object"}}`,
		},
		"a compatible server": {
			providers.Request{
				Task: providers.Text, Model: "qwen3:8b", Prompt: prompt, MaxTokens: 9,
				ResponseFormat: &providers.ResponseFormat{Type: "text"},
				Extra:          map[string]json.RawMessage{"chat_template_kwargs": json.RawMessage(`{"enable_thinking":false}`)},
			},
			[]change{compatible},
			`{"model":"qwen3:8b","messages":[{"role":"user","content":"canary of the prompt"}],"max_tokens":9,
			"response_format":{"type":"text"},"chat_template_kwargs":{"enable_thinking":false}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(completion))
			providertest.Generate(t, provider(t, s, tt.changes...), tt.req)
			calls := s.Requests()
			if len(calls) != 1 || calls[0].Method != http.MethodPost || calls[0].URL != "/v1/chat/completions" {
				t.Fatalf("calls = %+v", calls)
			}
			if got := calls[0].Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type = %q", got)
			}
			sameJSON(t, calls[0].Body, tt.want)
		})
	}
}

func TestASchemaKeepsItsOrder(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	req := text()
	schema := `{"type":"object","properties":{"zebra":{"type":"string"},"ant":{"type":"string"}}}`
	req.ResponseFormat = &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "n", Schema: json.RawMessage(schema)}}
	providertest.Generate(t, provider(t, s), req)
	var got struct {
		ResponseFormat struct {
			JSONSchema struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	if err := json.Unmarshal(s.Requests()[0].Body, &got); err != nil || string(got.ResponseFormat.JSONSchema.Schema) != schema {
		t.Errorf("schema = %s, %v, want %s", got.ResponseFormat.JSONSchema.Schema, err, schema)
	}
}

func TestTextComesBackWhole(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ratelimit-Limit-Tokens", "90000")
		w.Header().Set("X-Ratelimit-Remaining-Tokens", "89000")
		w.Header().Set("X-Ratelimit-Reset-Tokens", "6m0s")
		saysJSON(completion)(w, r)
	})
	got := providertest.Generate(t, provider(t, s), text())
	if got.Latency <= 0 {
		t.Errorf("latency = %s", got.Latency)
	}
	got.Latency = 0
	want := providers.Response{
		Provider: "mine", Model: "gpt-5.4-mini-2026-03-17", Text: "Hi\x00 there", FinishReason: "stop",
		RequestID: "req_1", Status: 200, Raw: []byte(completion),
		Usage:  providers.Usage{InputTokens: 40, CachedInputTokens: 60, OutputTokens: 50, ReasoningTokens: 20},
		Limits: providers.RateLimits{Tokens: &providers.RateLimit{Limit: 90000, Remaining: 89000, Reset: 6 * time.Minute}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("response differs (-want +got):\n%s", diff)
	}
}

func TestUsageDoesNotOverlap(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		usage string
		want  providers.Usage
	}{
		"none":   {`null`, providers.Usage{}},
		"simple": {`{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}`, providers.Usage{InputTokens: 3, OutputTokens: 4}},
		"nulls": {
			`{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":null,"completion_tokens_details":null}`,
			providers.Usage{InputTokens: 3, OutputTokens: 4},
		},
		"all parts": {
			`{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
			"prompt_tokens_details":{"cached_tokens":10,"cache_write_tokens":20,"audio_tokens":30},
			"completion_tokens_details":{"audio_tokens":5,"reasoning_tokens":6}}`,
			providers.Usage{
				InputTokens: 40, CachedInputTokens: 10, CacheWriteTokens: 20, AudioInputTokens: 30,
				OutputTokens: 45, AudioOutputTokens: 5, ReasoningTokens: 6,
			},
		},
		"parts beyond the whole": {
			`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":99,"cache_write_tokens":1}}`,
			providers.Usage{CachedInputTokens: 10, OutputTokens: 5},
		},
		"reasoning beside the answer": {
			`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}`,
			providers.Usage{InputTokens: 10, OutputTokens: 12, ReasoningTokens: 7},
		},
		"below zero": {
			`{"prompt_tokens":-1,"completion_tokens":-1,"total_tokens":-2}`,
			providers.Usage{Implausible: true, Reported: `{"prompt_tokens":-1,"completion_tokens":-1,"total_tokens":-2}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":`+tt.usage+`}`))
			if diff := cmp.Diff(tt.want, providertest.Generate(t, provider(t, s), text()).Usage); diff != "" {
				t.Errorf("usage differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextInOtherShapes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ body, text, id, model string }{
		"parts": {
			`{"id":"gen-1","choices":[{"message":{"content":[{"type":"thinking"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}`,
			"ab", "gen-1", "gpt-6-luna",
		},
		"a tool is called": {
			`{"id":"gen-2","model":"m","choices":[{"message":{"content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`,
			"", "gen-2", "m",
		},
		"cut by the cap": {
			`{"id":"gen-3","model":"m","choices":[{"message":{"content":"half a"},"finish_reason":"length"}]}`, "half a", "gen-3", "m",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tt.body)) })
			got := providertest.Generate(t, provider(t, s), text())
			if got.Text != tt.text || got.RequestID != tt.id || got.Model != tt.model {
				t.Errorf("response = %+v", got)
			}
		})
	}
}

func TestTextThatIsNoUseIsAFailure(t *testing.T) {
	t.Parallel()
	const used = `"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}`
	spent := providers.Usage{InputTokens: 3, OutputTokens: 4}
	for name, tt := range map[string]struct {
		body    string
		kind    providers.Kind
		billing providers.Billing
		code    string
		usage   providers.Usage
	}{
		"nothing at all":      {`{}`, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"an empty body":       {``, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a page":              {`<html>` + prompt + `</html>`, providers.NotFound, providers.Unbilled, "", providers.Usage{}},
		"half an answer":      {completion[:200], providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a list":              {`[` + completion + `]`, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"no choices":          {`{"choices":[],` + used + `}`, providers.Unreadable, providers.Billed, "", spent},
		"no message":          {`{"choices":[{}]}`, providers.Unreadable, providers.Billed, "", providers.Usage{}},
		"empty text":          {`{"choices":[{"message":{"content":""},"finish_reason":"stop"}],` + used + `}`, providers.Unreadable, providers.Billed, "stop", spent},
		"blank text":          {`{"choices":[{"message":{"content":" \n"},"finish_reason":"stop"}],` + used + `}`, providers.Unreadable, providers.Billed, "stop", spent},
		"reasoning ate it":    {`{"choices":[{"message":{"content":null},"finish_reason":"length"}],` + used + `}`, providers.InvalidRequest, providers.Billed, "length", spent},
		"speech is no speech": {`{"choices":[{"message":{"content":null,"audio":{"id":"a","data":"` + png64 + `","transcript":"hi"}},"finish_reason":"stop"}],` + used + `}`, providers.Unreadable, providers.Billed, "", spent},
		"content of a kind":   {`{"choices":[{"message":{"content":{"x":1}},"finish_reason":7}],` + used + `}`, providers.Unreadable, providers.Billed, "", spent},
		"choices of a kind":   {`{"choices":{"0":{}},` + used + `}`, providers.Unreadable, providers.Billed, "", spent},
		"a stream":            {"data: " + completion + "\n\ndata: [DONE]\n\n", providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a sentence":          {`the model is loading`, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a number":            {`7`, providers.MalformedResponse, providers.Billed, "", providers.Usage{}},
		"a refusal":           {`{"choices":[{"message":{"content":null,"refusal":"` + prompt + `"},"finish_reason":"stop"}],` + used + `}`, providers.Moderated, providers.Billed, "refusal", spent},
		"a filter":            {`{"choices":[{"message":{"content":"half"},"finish_reason":"content_filter"}],` + used + `}`, providers.Moderated, providers.Billed, "content_filter", spent},
		"a wrapped 429":       {`{"error":{"code":429,"message":"` + prompt + `"}}`, providers.RateLimited, providers.Unbilled, "", providers.Usage{}},
		"a wrapped 502":       {`{"error":{"code":502,"message":"x"},"id":"gen-1"}`, providers.Overloaded, providers.BillingUnknown, "", providers.Usage{}},
		"a wrapped no money":  {`{"error":{"code":"insufficient_quota"}}`, providers.OutOfMoney, providers.Unbilled, "insufficient_quota", providers.Usage{}},
		"a broken upstream":   {`{"choices":[{"message":{"content":"half"},"finish_reason":"error"}]}`, providers.Unknown, providers.BillingUnknown, "error", providers.Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(tt.body))
			e := failure(t, provider(t, s), text())
			if e.Kind != tt.kind || e.Billing != tt.billing || e.Code != tt.code || e.Status != 200 || !e.Sent {
				t.Errorf("error = %+v", e)
			}
			if diff := cmp.Diff(tt.usage, e.Usage); diff != "" {
				t.Errorf("usage differs (-want +got):\n%s", diff)
			}
			if string(e.Body) != tt.body {
				t.Errorf("body = %q", e.Body)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls were made", n)
			}
		})
	}
}

func TestSpeechAndPicturesInAnAnswerAreKeptBesideItsText(t *testing.T) {
	t.Parallel()
	wav := base64.StdEncoding.EncodeToString(media.WAV(1, 8000, time.Second))
	pcm := base64.StdEncoding.EncodeToString(media.PCM(2, 8000, time.Second))
	png := `{"type":"image_url","image_url":{"url":"data:image/png;base64,` + png64 + `"}}`
	for name, tt := range map[string]struct {
		message string
		text    string
		kinds   []string
	}{
		"speech":                 {`{"content":null,"audio":{"id":"a","data":"` + wav + `","transcript":"hi"}}`, "hi", []string{"audio/wav"}},
		"speech as bare samples": {`{"content":"written","audio":{"id":"a","data":"` + pcm + `","transcript":"said"}}`, "written", []string{"audio/pcm"}},
		"pictures":               {`{"content":"","images":[` + png + `,` + png + `]}`, "", []string{"image/png", "image/png"}},
		"a picture and a text":   {`{"content":"a fox","images":[` + png + `]}`, "a fox", []string{"image/png"}},
		"a picture in parts":     {`{"content":[{"type":"text","text":"here"},` + png + `]}`, "here", []string{"image/png"}},
		"an address alone":       {`{"content":[{"type":"image_url","image_url":"data:image/png;base64,` + png64 + `"}]}`, "", []string{"image/png"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(`{"choices":[{"message":`+tt.message+`,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`))
			req := text()
			req.Model = "m"
			got := providertest.Generate(t, provider(t, s, compatible), req)
			var kinds []string
			for _, b := range got.Blobs {
				kinds = append(kinds, b.MIME)
			}
			if got.Text != tt.text || !slices.Equal(kinds, tt.kinds) || got.FinishReason != "stop" {
				t.Errorf("text %q, media %v, finish %q", got.Text, kinds, got.FinishReason)
			}
		})
	}
	t.Run("a picture that cannot be had is paid for, and kept as it came", func(t *testing.T) {
		t.Parallel()
		body := `{"choices":[{"message":{"content":"","images":[{"type":"image_url","image_url":{"url":"http://10.0.0.1/a.png"}}]},"finish_reason":"stop"}]}`
		e := failure(t, provider(t, providertest.Serve(t, saysJSON(body))), text())
		if e.Kind != providers.Unreadable || e.Billing != providers.Billed || string(e.Body) != body {
			t.Errorf("%+v", e)
		}
	})
}

func TestSearchesOfTheWebAreCounted(t *testing.T) {
	t.Parallel()
	const used = `"usage":{"input_tokens":3,"output_tokens":4}`
	body := `{"id":"r","status":"completed","output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}},
		{"type":"web_search_call","action":7},{"type":"image_generation_call","result":"` + png64 + `"},{"type":"message","content":[{"type":"output_text","text":"found"}]}],` + used + `}`
	got := providertest.Generate(t, provider(t, providertest.Serve(t, saysJSON(body))), providers.Request{
		Task: providers.Text, Model: "gpt-6-luna", Endpoint: "/v1/responses", Body: json.RawMessage(`{"model":"gpt-6-luna","input":"a","tools":[{"type":"web_search"}]}`),
	})
	if got.Usage.WebSearches != 2 || got.Text != "found" || got.FinishReason != "completed" || len(got.Blobs) != 1 {
		t.Errorf("%d searches, %q, %q, %d pictures", got.Usage.WebSearches, got.Text, got.FinishReason, len(got.Blobs))
	}
}

func TestOddNumbersDoNotCostAnAnswer(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"10000000000000000000", "18446744073709551615", "1e30", "-5", `"12"`, `"x"`, "1.5", "true", "[]", "{}"} {
		s := providertest.Serve(t, saysJSON(`{"created":`+n+`,"model":`+n+`,"id":`+n+`,"choices":[{"index":`+n+`,"message":{"content":"x"},"finish_reason":`+n+`}],"usage":{
			"prompt_tokens":`+n+`,"completion_tokens":`+n+`,"total_tokens":`+n+`,"prompt_tokens_details":`+n+`,"completion_tokens_details":{"reasoning_tokens":`+n+`}}}`))
		req := text()
		req.MaxTokens = 100
		got := providertest.Generate(t, provider(t, s), req)
		if got.Text != "x" || got.Usage.InputTokens < 0 || got.Usage.InputTokens > 1<<19 || got.Usage.TotalOutput() < 0 || got.Usage.TotalOutput() > 1<<17 {
			t.Errorf("%s: got %+v", n, got.Usage)
		}
		if plain := n == `"12"`; got.Usage.Implausible == plain {
			t.Errorf("%s: got %+v", n, got.Usage)
		}
		for _, whole := range []string{`null`, n, `[` + n + `]`} {
			s := providertest.Serve(t, saysJSON(`{"choices":[{"message":{"content":"x"}}],"usage":`+whole+`}`))
			if got := providertest.Generate(t, provider(t, s), req); got.Text != "x" || got.Usage.TotalInput()+got.Usage.TotalOutput() != 0 {
				t.Errorf("usage %s: got %+v", whole, got.Usage)
			}
		}
	}
}

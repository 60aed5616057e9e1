package openai_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
)

func FuzzAnswers(f *testing.F) {
	providertest.FuzzAnswers(f, []providers.Request{{Task: providers.Text}, {Task: providers.Image}, {Task: providers.Audio}, {Task: providers.Video}},
		func(client *http.Client, key string) (providers.Provider, error) {
			return openai.New(openai.Config{
				Name: "mine", BaseURL: "http://127.0.0.1:1", Client: client,
				Key: func(context.Context) (string, error) { return key, nil }, Compatible: true, Guarded: client, PollEvery: time.Nanosecond,
				Models: map[providers.Task]string{providers.Text: "m", providers.Image: "i", providers.Audio: "a", providers.Video: "v"},
			})
		},
		`{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":-1}}}`,
		`{"choices":[{"message":{"content":null,"refusal":"no","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}`,
		`{"created":1,"data":[{"b64_json":"iVBORw0KGgogYW5kIHNvIG9u"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3,"input_tokens_details":{"text_tokens":1,"image_tokens":0}}}`,
		`{"data":[{"url":"https://example.com/a.png"},{"url":"file:///etc/passwd"}]}`,
		`{"id":"video_1","object":"video","status":"in_progress","progress":7,"model":"v"}`,
		`{"id":"video_1","status":"completed","seconds":"4","size":"1280x720"}`,
		`{"id":"../../x","status":"failed","error":{"code":"moderation_blocked","message":"m"}}`,
		`{}`, `[]`, `null`, `{"error":"text"}`, `{"choices":[]}`,
	)
}

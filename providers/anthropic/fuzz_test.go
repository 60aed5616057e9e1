package anthropic_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func FuzzAnswers(f *testing.F) {
	providertest.FuzzAnswers(f, []providers.Request{{Task: providers.Text}, {Task: providers.Text, Messages: nil, MaxTokens: 5}},
		func(client *http.Client, key string) (providers.Provider, error) {
			return anthropic.New(anthropic.Config{
				Name: "mine", BaseURL: "http://127.0.0.1:1", Client: client,
				Key: func(context.Context) (string, error) { return key, nil },
			})
		},
		`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_creation_input_tokens":1,"cache_read_input_tokens":2,"output_tokens":5}}`,
		`{"content":[{"type":"thinking","thinking":"x"},{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"output_tokens":-5}}`,
		`{"content":[],"stop_reason":"refusal"}`, `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`,
		`{}`, `[]`, `null`,
	)
}

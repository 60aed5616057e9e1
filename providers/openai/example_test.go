package openai_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/wire"
)

// A server that speaks OpenAI's protocol, such as vLLM or Ollama, needs an address
// and no key.
func Example() {
	local := httptest.NewServer(saysJSON(`{"choices":[{"message":{"content":"Blue."},"finish_reason":"stop"}]}`))
	defer local.Close()

	provider, err := openai.New(openai.Config{
		Name:       "local-vllm",
		BaseURL:    local.URL + "/v1",
		Compatible: true,
		Client:     wire.NewClient(wire.Config{}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := provider.Generate(context.Background(), providers.Request{
		Task: providers.Text, Model: "qwen3:8b", Prompt: "What colour is the sky?",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Text, res.FinishReason)
	// Output: Blue. stop
}

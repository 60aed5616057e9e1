package gemini_test

import (
	"net/http"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/gemini"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func TestGeminiHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: gemini.Descriptor(),
		New: providertest.Service(fakeprovider.New, func(url string, client *http.Client) (providers.Provider, error) {
			return connect(url+"/gemini", client)
		}),
		Requests: []providers.Request{{Task: providers.Text}, {Task: providers.Image}, {Task: providers.Embedding}, {Task: providers.Transcription}, {Task: providers.Video}},
		Expect: map[providertest.Fault]providertest.Failure{
			// Google answers 200 with a block reason and what the prompt took.
			providertest.Moderated: {Kind: providers.Moderated, Billing: providers.Billed, Sent: true},
		},
		// What is no text is refused before it costs anything.
		ExpectOf: map[providers.Task]map[providertest.Fault]providertest.Failure{
			providers.Video:     {providertest.Moderated: {Kind: providers.Moderated, Billing: providers.Unbilled, Sent: true}},
			providers.Embedding: {providertest.Moderated: {Kind: providers.Moderated, Billing: providers.Unbilled, Sent: true}},
		},
		Nameless: []providers.Task{providers.Embedding},
	})
}

func connect(url string, client *http.Client) (providers.Provider, error) {
	return gemini.New(gemini.Config{
		Name: "mine", BaseURL: url, Client: client, PollEvery: time.Millisecond,
		Key: wire.Given(providertest.Key),
	})
}

func FuzzAnswers(f *testing.F) {
	providertest.FuzzAnswers(f, []providers.Request{
		{Task: providers.Text},
		{Task: providers.Image},
		{Task: providers.Text, MaxTokens: 5},
		{Task: providers.Video},
		providertest.Least(providers.Request{Task: providers.Transcription}),
	},
		func(client *http.Client, key string) (providers.Provider, error) {
			return gemini.New(gemini.Config{
				Name: "mine", BaseURL: "http://127.0.0.1:1", Client: client, Guarded: client, PollEvery: time.Millisecond,
				Key: wire.Given(key),
			})
		},
		answered, drawn,
		`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":-5}}`,
		`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokensDetails":[{"modality":"AUDIO","tokenCount":1e300}]}}`,
		`{"candidates":[{"finishReason":"MAX_TOKENS"}],"usageMetadata":{"thoughtsTokenCount":9}}`,
		`{"name":"models/veo/operations/1","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{"uri":"http://127.0.0.1:1/v1beta/files/1:download"}}]}}}`,
		`{"name":"models/veo/operations/1","done":true,"error":{"code":13,"message":"canary of the prompt"}}`,
		`{"name":"models/veo/operations/1","done":true,"response":{"generateVideoResponse":{"raiMediaFilteredCount":1}}}`, `{"name":"../../x"}`,
		`{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}`, `{}`, `[]`, `null`,
	)
}

const (
	answered = `{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"Hi "},{"text":"there"}],"role":"model"},"finishReason":"STOP","index":0}],
	"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":20,"totalTokenCount":185,"cachedContentTokenCount":30,"thoughtsTokenCount":50,"toolUsePromptTokenCount":15,
	"promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":40}],"cacheTokensDetails":[{"modality":"TEXT","tokenCount":20},{"modality":"AUDIO","tokenCount":10}]},
	"modelVersion":"gemini-3.5-flash-lite-001","responseId":"abc-123"}`
	drawn = `{"candidates":[{"content":{"parts":[{"text":"Here it is:"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="}}]},"finishReason":"STOP"}],
	"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":1295,"thoughtsTokenCount":7,"totalTokenCount":1310,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]},"modelVersion":"gemini-3.1-flash-image"}`
)

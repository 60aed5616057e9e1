package elevenlabs_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/providertest"
)

func FuzzAnswers(f *testing.F) {
	providertest.FuzzAnswers(f, []providers.Request{{Task: providers.Audio}, {Task: providers.Audio, ResponseFormat: nil}},
		func(client *http.Client, key string) (providers.Provider, error) {
			return elevenlabs.New(elevenlabs.Config{
				Name: "mine", BaseURL: "http://127.0.0.1:1", Client: client,
				Key: func(context.Context) (string, error) { return key, nil },
			})
		},
		`{"detail":{"status":"quota_exceeded","message":"m"}}`, `{"detail":[{"loc":["body"],"msg":"m","type":"t"}]}`, `{}`,
	)
}

package elevenlabs_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/providertest"
)

func TestElevenLabsHoldsToTheContract(t *testing.T) {
	t.Parallel()
	fake := func(t *testing.T) providertest.Fake[fakeprovider.Fault] {
		t.Helper()
		server, err := fakeprovider.New(fakeprovider.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		return server
	}
	providertest.Run(t, providertest.Config{
		Descriptor: elevenlabs.Descriptor(),
		New: providertest.Service(fake, func(_ *testing.T, url string, client *http.Client) (providers.Provider, error) {
			return elevenlabs.New(elevenlabs.Config{
				Name: "mine", BaseURL: url + "/elevenlabs", Client: client,
				Key: func(context.Context) (string, error) { return providertest.Key, nil },
			})
		}),
		Requests: []providers.Request{{Task: providers.Audio}},
		Expect: map[providertest.Fault]providertest.Failure{
			// It says system_busy with 429: to wait is what it asks for.
			providertest.Overloaded: {Kind: providers.RateLimited, Billing: providers.Unbilled, Sent: true},
		},
	})
}

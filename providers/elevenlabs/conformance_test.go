package elevenlabs_test

import (
	"net/http"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func TestElevenLabsHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: elevenlabs.Descriptor(),
		New: providertest.Service(fakeprovider.New, func(url string, client *http.Client) (providers.Provider, error) {
			return elevenlabs.New(elevenlabs.Config{
				Name: "mine", BaseURL: url + "/elevenlabs", Client: client,
				Key: wire.Given(providertest.Key),
			})
		}),
		Requests: []providers.Request{{Task: providers.Audio}},
		Expect: map[providertest.Fault]providertest.Failure{
			// It says system_busy with 429: to wait is what it asks for.
			providertest.Overloaded: {Kind: providers.RateLimited, Billing: providers.Unbilled, Sent: true},
		},
	})
}

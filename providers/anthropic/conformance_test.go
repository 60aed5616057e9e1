package anthropic_test

import (
	"net/http"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
	"oneflow/providers/wire"
)

func TestAnthropicHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: anthropic.Descriptor(),
		New: providertest.Service(fakeprovider.New, func(url string, client *http.Client) (providers.Provider, error) {
			return anthropic.New(anthropic.Config{
				Name: "mine", BaseURL: url + "/anthropic", Client: client,
				Key: wire.Given(providertest.Key),
			})
		}),
		Requests: []providers.Request{{Task: providers.Text}},
	})
}

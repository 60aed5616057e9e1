package stability_test

import (
	"net/http"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/providertest"
	"oneflow/providers/stability"
	"oneflow/providers/wire"
)

func TestStabilityHoldsToTheContract(t *testing.T) {
	t.Parallel()
	providertest.Run(t, providertest.Config{
		Descriptor: stability.Descriptor(),
		New: providertest.Service(fakeprovider.New, func(url string, client *http.Client) (providers.Provider, error) {
			return stability.New(stability.Config{
				Name: "mine", BaseURL: url + "/stability", Client: client,
				Key: wire.Given(providertest.Key),
			})
		}),
		Requests: []providers.Request{{Task: providers.Image}},
	})
}

package anthropic_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

func TestAnthropicHoldsToTheContract(t *testing.T) {
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
		Descriptor: anthropic.Descriptor(),
		New: providertest.Service(fake, func(_ *testing.T, url string, client *http.Client) (providers.Provider, error) {
			return anthropic.New(anthropic.Config{
				Name: "mine", BaseURL: url + "/anthropic", Client: client,
				Key: func(context.Context) (string, error) { return providertest.Key, nil },
			})
		}),
		Requests: []providers.Request{{Task: providers.Text}},
	})
}

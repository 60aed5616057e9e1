package stability_test

import (
	"context"
	"net/http"
	"testing"

	"oneflow/providers"
	"oneflow/providers/providertest"
	"oneflow/providers/stability"
)

func FuzzAnswers(f *testing.F) {
	providertest.FuzzAnswers(f, []providers.Request{{Task: providers.Image}},
		func(client *http.Client, key string) (providers.Provider, error) {
			return stability.New(stability.Config{
				Name: "mine", BaseURL: "http://127.0.0.1:1", Client: client,
				Key: func(context.Context) (string, error) { return key, nil },
			})
		},
		`{"image":"iVBORw0KGgogYW5kIHNvIG9u","finish_reason":"SUCCESS","seed":1}`, `{"id":"x","name":"content_moderation","errors":["no"]}`, `{}`,
	)
}

package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"oneflow/webhooks"
	"oneflow/worker"
)

const (
	// secretVariable holds what webhooks are signed with.
	secretVariable = "ONEFLOW_WEBHOOK_SECRET" //nolint:gosec // a name
	// webhooksEvery is the time between two looks for events to send, and for batches that
	// have ended.
	webhooksEvery = 500 * time.Millisecond
	// webhooksKept is the time for which what was sent is known.
	webhooksKept = 30 * 24 * time.Hour
)

// newWebhooks makes what tells applications of batches and jobs that have ended.
func newWebhooks(o WorkerOptions) []worker.Background {
	sender := webhooks.NewSender(webhooks.Config{
		Store: o.Store, Allow: o.Config.Webhooks.Allow, Agent: "OneFlow",
		Secrets: func() ([]webhooks.Secret, error) { return secrets(o.Getenv, o.Config.Webhooks.SecretFile) },
	})
	return []worker.Background{
		{Name: "note the end of batches", Every: webhooksEvery, Run: func(ctx context.Context) error {
			_, err := o.Store.EndBatches(ctx)
			return err
		}},
		{Name: "call webhooks", Every: webhooksEvery, Run: sender.Round},
		{Name: "forget webhooks", Every: time.Hour, Run: func(ctx context.Context) error { return o.Store.ForgetWebhooks(ctx, webhooksKept) }},
	}
}

// maxSecrets bounds the file of secrets, in bytes.
const maxSecrets = 4096

// secrets reads those to sign with, each time anew. No error shows one.
func secrets(getenv func(string) string, file string) ([]webhooks.Secret, error) {
	if getenv != nil {
		if text := getenv(secretVariable); text != "" {
			list, err := webhooks.ParseSecrets(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", secretVariable, err)
			}
			return list, nil
		}
	}
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // the path is the operator's own
	if err == nil && len(text) > maxSecrets {
		err = errors.New("it is too long for a secret")
	}
	if err != nil {
		return nil, fmt.Errorf("webhooks.secret_file: %w", err)
	}
	list, err := webhooks.ParseSecrets(string(text))
	if err == nil && len(list) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("webhooks.secret_file %s: %w", file, err)
	}
	return list, nil
}

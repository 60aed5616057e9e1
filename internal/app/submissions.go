package app

import (
	"context"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

const (
	// submissionsEvery is the most time until a submission is seen where no notice came.
	submissionsEvery = 250 * time.Millisecond
	// keysKept is the time for which an idempotency key is known after its job was accepted.
	keysKept = 30 * 24 * time.Hour
)

// newSubmissions makes what accepts submissions.
func newSubmissions(o WorkerOptions, producer *jobs.Producer) *batches.Submissions {
	return &batches.Submissions{
		Store: o.Store, Producer: producer, Input: cli.Input(o.Config),
		Provider: func(ctx context.Context, task providers.Task, best bool) (name, why string, err error) {
			return first(ctx, o.Store, o.Config, task, best, func(provider string) bool { return hasKey(o.Config, provider, o.Keys) })
		},
		Funds: func(ctx context.Context, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error) {
			return funds(ctx, o, account)
		},
	}
}

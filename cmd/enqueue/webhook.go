package main

import (
	"fmt"

	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/webhooks"
)

// webhookFlags say whom to tell that a batch has ended.
type webhookFlags struct {
	Webhook    string `help:"Call this URL when the batch has finished; what is sent is signed. monitor webhooks shows what came of it." placeholder:"URL"`
	WebhookPer string `help:"Call it for each job, too, when that has ended: job, or batch." enum:"batch,job" default:"batch" placeholder:"WHAT"`
}

// check refuses a URL that no worker would call.
func (f webhookFlags) check(cfg config.Config) error {
	if f.Webhook == "" && f.WebhookPer == "job" {
		return cli.Fail(cli.Usage, fmt.Errorf("--webhook-per job: name the URL with --webhook"))
	}
	if f.Webhook == "" {
		return nil
	}
	if err := webhooks.CheckURL(f.Webhook, cfg.Webhooks.Allow); err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("--webhook %w", err))
	}
	return nil
}

// perJob reports whether each job is told of.
func (f webhookFlags) perJob() bool { return f.WebhookPer == "job" }

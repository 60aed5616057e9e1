// Command monitor shows what happens, in a browser or in the terminal, and takes
// operators' orders: which providers are used, within which limits, in which order.
package main

import (
	"context"
	"os"

	"oneflow/internal/cli"
)

func main() { os.Exit(cli.Main("monitor", cli.WithDevEnvironment(run))) }

// grammar is the command line.
type grammar struct {
	cli.Services `group:"Global flags:"`
	cli.Logging  `group:"Global flags:"`
	Config       string `help:"The configuration file; default: oneflow.yaml where it exists." group:"Global flags:" placeholder:"FILE" env:"ONEFLOW_CONFIG"`

	Serve  serveCmd  `cmd:"" help:"Serve the monitor's pages, its JSON and asynqmon until SIGINT or SIGTERM."`
	Status statusCmd `cmd:"" help:"Show the overview in the terminal."`
	Health healthCmd `cmd:"" help:"Ask a running monitor whether it is ready."`

	Providers     providersCmd     `cmd:"" help:"See how the providers do; enable or disable one, and hold its circuit breaker."`
	Limits        limitsCmd        `cmd:"" help:"List the limits, and set them while workers run."`
	Chains        chainsCmd        `cmd:"" help:"List which providers are asked for which task, and set it while workers run."`
	Best          bestCmd          `cmd:"" help:"Rank the providers for a task by success, latency and price."`
	Budget        budgetCmd        `cmd:"" help:"Cap what may be spent: for an account, a provider, a model or a batch; by the hour, day, week, month, or in all."`
	Wallet        walletCmd        `cmd:"" help:"Give accounts a balance, pay in, and see what was charged."`
	Cache         cacheCmd         `cmd:"" help:"See how many answers are kept for requests that are made again, and forget them."`
	Alerts        alertsCmd        `cmd:"" help:"List what people have to know of: budgets that are spent, bills above their bound, an hour that costs far more than is usual."`
	Webhooks      webhooksCmd      `cmd:"" help:"See what applications were told, and what failed and why; send it again."`
	ExportMetrics exportMetricsCmd `cmd:"" help:"Write the figures of providers and models by the hour, for other programs."`
	Token         tokenCmd         `cmd:"" help:"Make and revoke the tokens by which programs and people use the monitor."`
	Audit         auditCmd         `cmd:"" help:"List what was done through the monitor, and by whom."`

	cli.About
}

type session struct{ cli.Session }

func run(ctx context.Context, args []string, env cli.Env) error {
	var g grammar
	parsed, done, err := program().Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	if err := cli.CheckConfig(g.Config); err != nil {
		return err
	}
	log, closeLog, err := g.Logger(env.Err)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	return cli.Run(parsed, &session{cli.Session{Ctx: ctx, Env: env, Log: log, Services: g.Services, ConfigPath: g.Config}})
}

// Command dev runs everything on one laptop: its own Postgres and Redis, a
// worker and the monitor, in one process.
package main

import (
	"context"
	"os"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/internal/cli"
)

func main() { os.Exit(cli.Main("dev", run)) }

// grammar is the command line.
type grammar struct {
	cli.Logging
	Config string `help:"The configuration file; default: oneflow.yaml where it exists." placeholder:"FILE" env:"ONEFLOW_CONFIG"`
	Dir    string `help:"Where data and installed binaries live; default: .oneflow in the project's folder." placeholder:"FOLDER" env:"ONEFLOW_DIR"`

	Up    upCmd    `cmd:"" default:"withargs" help:"Bring everything up and stay until Ctrl-C; data is kept."`
	Demo  demoCmd  `cmd:"" help:"Bring everything up, run a thousand sample prompts, show what came of it, and leave."`
	Setup setupCmd `cmd:"" help:"Install Postgres and Redis where they are missing."`
}

type session struct {
	ctx    context.Context //nolint:containedctx // of the process, which lasts as long as this
	env    cli.Env
	log    zerolog.Logger
	logged bool // the log goes to a file of the user's choice
	config config.Config
	dir    string
}

func run(ctx context.Context, args []string, env cli.Env) error {
	var g grammar
	parsed, done, err := cli.Parse(&g, args, env, "dev", "Run everything on this machine, for trying out and developing.")
	if err != nil || done {
		return err
	}
	log, closeLog, err := g.Logger(env.Err)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	cfg, err := config.Load(g.Config)
	if err == nil {
		cfg, err = cfg.WithEnvironment(env.Getenv)
	}
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	return parsed.Run(&session{ctx: ctx, env: env, log: log, logged: g.LogFile != "", config: cfg, dir: g.Dir})
}

// logTo sends the log to a file.
func (s *session) logTo(path string) (closeLog func() error, err error) {
	s.log, closeLog, err = cli.Logging{LogLevel: "info", LogFile: path}.Logger(s.env.Err)
	return closeLog, err
}

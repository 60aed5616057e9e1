// Command dev runs everything on one laptop: its own Postgres and Redis, a
// worker and the monitor, in one process.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/internal/devstack"
)

func main() { os.Exit(cli.Main("dev", run)) }

// grammar is the command line.
type grammar struct {
	cli.Logging `group:"Global flags:"`
	Config      string `help:"The configuration file; default: oneflow.yaml where it exists." group:"Global flags:" placeholder:"FILE" env:"ONEFLOW_CONFIG"`
	Dir         string `help:"Where data and installed binaries live; default: .oneflow in the project's folder." group:"Global flags:" placeholder:"FOLDER" env:"ONEFLOW_DIR"`

	Up    upCmd    `cmd:"" help:"Bring everything up and stay until Ctrl-C; data is kept."`
	Demo  demoCmd  `cmd:"" help:"Bring everything up, run a thousand sample prompts, show what came of it, and leave."`
	Setup setupCmd `cmd:"" help:"Install Postgres and Redis where they are missing."`

	cli.About
}

type session struct {
	cli.Session
	logged bool // the log goes to a file of the user's choice
	config config.Config
	dir    string // where data is
	found  bool   // dir is the folder that commands look into by themselves
}

func run(ctx context.Context, args []string, env cli.Env) error {
	var g grammar
	parsed, done, err := program().Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	log, closeLog, err := g.Logger(env.Err)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	s := &session{Session: cli.Session{Ctx: ctx, Env: env, Log: log, ConfigPath: g.Config}, logged: g.LogFile != "" || g.Verbose || g.LogLevel != "info", found: g.Dir == ""}
	if s.config, err = s.LoadConfig(); err != nil {
		return err
	}
	dir, err := devstack.DataDir()
	if g.Dir != "" {
		dir, err = filepath.Abs(g.Dir)
	}
	if err != nil {
		return err
	}
	s.dir = dir
	if err := s.keepIn(dir); err != nil {
		return err
	}
	return cli.Run(parsed, s)
}

// keepIn moves what has its default place into the folder of the data.
func (s *session) keepIn(dir string) error {
	defaults, err := config.Parse(nil, "defaults")
	if err != nil {
		return err
	}
	if s.config.Artifacts == defaults.Artifacts {
		s.config.Artifacts = filepath.Join(dir, "artifacts")
	}
	if s.config.State == defaults.State {
		s.config.State = dir
	}
	return nil
}

// logTo sends the log to a file, and errors to stderr too, unless the user has said where the log goes: a line for each
// job would hide what people want to see. closeLog is called at the end.
func (s *session) logTo(path string) (closeLog func() error, err error) {
	if s.logged {
		return func() error { return nil }, nil
	}
	file, closeLog, err := cli.Logging{LogLevel: "info", LogFile: path}.Logger(s.Env.Err)
	if err != nil {
		return nil, err
	}
	s.Log = file.Hook(zerolog.HookFunc(func(_ *zerolog.Event, level zerolog.Level, message string) {
		if level >= zerolog.ErrorLevel {
			fmt.Fprintf(s.Env.Err, "%s: %s (see %s)\n", level, message, relative(path))
		}
	}))
	return closeLog, nil
}

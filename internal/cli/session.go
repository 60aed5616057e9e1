package cli

import (
	"context"

	"github.com/rs/zerolog"

	"oneflow/config"
)

// Session is one run of a command, as its subcommands share it.
type Session struct {
	Ctx      context.Context //nolint:containedctx // of the process, which lasts as long as this
	Env      Env
	Log      zerolog.Logger
	Services Services
	// ConfigPath is the configuration file; empty: the usual one.
	ConfigPath string
}

// LoadConfig reads the configuration. A fault in it ends the command with Usage.
func (s *Session) LoadConfig() (config.Config, error) {
	cfg, err := config.Load(s.ConfigPath, s.Env.Getenv)
	if err != nil {
		return config.Config{}, Fail(Usage, err)
	}
	return cfg, nil
}

package cli

import (
	"context"
	"fmt"
	"os"

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

// CheckConfig fails where a configuration file was named that is not there: also for commands
// that read nothing of it, since whoever names one expects it to hold.
func CheckConfig(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", path)
	}
	if err != nil {
		return Fail(Usage, fmt.Errorf("--config: %w: name a file that is there, also in ONEFLOW_CONFIG, or none: then oneflow.yaml is read, where it exists", err))
	}
	return nil
}

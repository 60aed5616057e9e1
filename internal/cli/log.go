package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// Logging are the flags of what is logged where. EnvFile is the file that WithDevEnvironment has read.
type Logging struct {
	LogLevel string `help:"debug, info, warn or error." default:"info" enum:"debug,info,warn,error" env:"ONEFLOW_LOG_LEVEL"`
	Verbose  bool   `short:"v" help:"Log everything: short for --log-level debug."`
	EnvFile  string `hidden:"" env:"ONEFLOW_ENV_FILE"`
	LogFile  string `help:"Append the log to this file, as JSON, in place of stderr." placeholder:"FILE" env:"ONEFLOW_LOG_FILE"`
}

// Logger makes the log: readable lines on a terminal, else JSON. The caller
// calls closeLog at the end.
func (l Logging) Logger(stderr io.Writer) (log zerolog.Logger, closeLog func() error, err error) {
	if l.Verbose {
		l.LogLevel = "debug"
	}
	level, err := zerolog.ParseLevel(l.LogLevel)
	if err != nil {
		return zerolog.Nop(), nil, Fail(Usage, fmt.Errorf("--log-level %q: must be debug, info, warn or error", l.LogLevel))
	}
	closeLog = func() error { return nil }
	out := stderr
	switch {
	case l.LogFile != "":
		f, err := os.OpenFile(l.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return zerolog.Nop(), nil, Fail(Usage, fmt.Errorf("--log-file: %w", err))
		}
		out, closeLog = f, f.Close
	case IsTerminal(stderr):
		out = zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly}
	}
	log = zerolog.New(out).Level(level).With().Timestamp().Logger()
	if l.EnvFile != "" {
		log.Debug().Str("file", l.EnvFile).Msg("the environment is that of the running `make dev`")
	}
	return log, closeLog, nil
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

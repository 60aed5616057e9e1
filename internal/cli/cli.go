// Package cli is what the commands share: parsing, exit codes, connecting,
// logging, and what is printed. It may import the domain packages, config, store
// and migrations, and is imported by the commands only.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"oneflow/jobs"
)

// The exit codes of all commands.
const (
	OK          = 0
	Failure     = 1   // anything that has no code of its own
	Usage       = 2   // wrong use, or wrong configuration
	Unavailable = 3   // a dependency is down
	Unsafe      = 4   // a configuration that could lose jobs
	JobsFailed  = 5   // all went well, but jobs have failed
	OverBudget  = 6   // the budget stops it
	Interrupted = 130 // Ctrl-C
)

// ExitError is an error with an exit code. Err may be nil: then nothing is printed.
type ExitError struct {
	Code int
	Err  error
}

// Error is the cause's text.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Fail gives err an exit code.
func Fail(code int, err error) error { return &ExitError{Code: code, Err: err} }

// Env holds what a command gets from its surroundings.
type Env struct {
	In     io.Reader
	Out    io.Writer // data
	Err    io.Writer // progress and logs
	Getenv func(string) string
}

// Main runs a command until it ends or SIGINT or SIGTERM comes, which ends ctx;
// a second signal ends the process at once. It returns the exit code.
func Main(name string, run func(ctx context.Context, args []string, env Env) error) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	// The errors of Redis' client are returned as well; here they would stand between our lines.
	logging.Disable()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan int, 1)
	go func() {
		done <- Code(name, os.Stderr, run(ctx, os.Args[1:], Env{os.Stdin, os.Stdout, os.Stderr, os.Getenv}))
	}()
	for first := true; ; first = false {
		select {
		case code := <-done:
			return code
		case <-signals:
			if !first {
				fmt.Fprintf(os.Stderr, "%s: stopped at once by a second signal\n", name)
				return Interrupted
			}
			stop()
		}
	}
}

// Code prints err and returns its exit code.
func Code(name string, stderr io.Writer, err error) int {
	if err == nil {
		return OK
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		exit = &ExitError{Code: codeOf(err), Err: err}
	}
	switch {
	case !ok && exit.Code == Interrupted:
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
	case exit.Err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	return exit.Code
}

func codeOf(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrBatchRemoved):
		return Usage
	}
	return Failure
}

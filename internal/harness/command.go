package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Command is one command to run.
type Command struct {
	// Name is that of the program, such as "worker".
	Name string
	Args []string
	// Env holds further variables, which win over those of the fleet.
	Env []string
	// Bin is the folder with the program. Default: the fleet's.
	Bin string
	// Stdin is the input. Default: none.
	Stdin io.Reader
}

// String is the command line.
func (c Command) String() string { return strings.Join(append([]string{c.Name}, c.Args...), " ") }

// Result holds the output and the exit code of a command that ran to its end.
type Result struct {
	Stdout, Stderr string
	State          *os.ProcessState
}

// Run runs a command to its end. Where its exit code is not 0, the error wraps an [exec.ExitError] and holds what was
// written to stderr, and the result is whole all the same.
func (f *Fleet) Run(ctx context.Context, c Command) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := f.prepare(ctx, c)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ended := make(chan error, 1)
	err := startTied(cmd, func(err error) { ended <- err })
	if err == nil {
		err = <-ended
	}
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), State: cmd.ProcessState}
	f.mu.Lock()
	f.printed = append(f.printed, r.Stdout, r.Stderr)
	f.mu.Unlock()
	if err != nil {
		return r, fmt.Errorf("%s: %w\n%s", c, err, r.Stderr)
	}
	return r, nil
}

// ExitCode is the exit code that an error of Run or of a process stands for; 0 for nil and for every other error.
func ExitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// prepare makes a command that has not started yet. It is killed when ctx ends.
func (f *Fleet) prepare(ctx context.Context, c Command) *exec.Cmd {
	bin := c.Bin
	if bin == "" {
		bin = f.Bin
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, c.Name), c.Args...) //nolint:gosec // our own commands
	cmd.Dir, cmd.Stdin, cmd.SysProcAttr = f.Dir, c.Stdin, tied()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"), "HOME=" + f.Dir, "ONEFLOW_CONFIG=" + f.ConfigFile(),
		"DATABASE_URL=" + f.DatabaseURL, "REDIS_URL=" + f.RedisURL, "GOTRACEBACK=all",
	}
	cmd.Env = append(append(cmd.Env, f.Env...), c.Env...)
	return cmd
}

// startTied starts a command that does not outlive this process; ended gets what Wait returned.
func startTied(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error)
	go func() {
		// On Linux the child is tied to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

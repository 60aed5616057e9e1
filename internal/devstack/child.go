//go:build linux || darwin

package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// command is a program to run as a child that does not outlive us.
type command struct {
	name    string // for messages: "Postgres"
	path    string
	args    []string
	dir     string
	env     []string
	stdin   string // given whole: secrets go this way, since arguments can be read by everybody
	logFile string // takes what the child prints; truncated at the start
	account *account
	orphan  syscall.Signal // what the child gets when we die
}

// child is a running program.
type child struct {
	name    string
	pid     int
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{} // closed when it has ended and err is set
	err     error
}

// startChild starts a program and keeps a goroutine on it until it has ended.
func startChild(c command) (*child, error) {
	log, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("devstack: start %s: open its log: %w", c.name, err)
	}
	cmd := exec.Command(c.path, c.args...) //nolint:gosec,noctx // a program we found ourselves; it ends by a signal of our choice, not by a context's SIGKILL
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, log, log
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	cmd.SysProcAttr = attributes(c.account)
	tieBefore(cmd, c.orphan)
	ch := &child{name: c.name, cmd: cmd, logFile: c.logFile, exited: make(chan struct{})}

	started := make(chan error)
	go func() {
		// On Linux the child is killed when the thread that started it ends, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		closeQuietly(log)
		if err != nil {
			started <- fmt.Errorf("devstack: start %s (%s)%s: %w", c.name, c.path, c.account.as(), err)
			return
		}
		untie, err := tieAfter(cmd, c.orphan)
		if err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			started <- err
			return
		}
		ch.pid = cmd.Process.Pid
		started <- nil
		ch.err = cmd.Wait()
		untie()
		close(ch.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return ch, nil
}

// runChild runs a program to its end; when ctx is over first, it is killed.
func runChild(ctx context.Context, c command) error {
	c.orphan = syscall.SIGKILL
	ch, err := startChild(c)
	if err != nil {
		return err
	}
	select {
	case <-ch.exited:
	case <-ctx.Done():
		err := ch.stop(signalStep{syscall.SIGKILL, time.Second})
		return errors.Join(fmt.Errorf("devstack: %s (%s) did not end in time: %w", c.name, c.path, ctx.Err()), err)
	}
	if ch.err != nil {
		return fmt.Errorf("devstack: %s (%s)%s failed: %w%s", c.name, c.path, c.account.as(), ch.err, ch.logTail())
	}
	return nil
}

// signalStep is a signal and how long to wait for it to work.
type signalStep struct {
	signal syscall.Signal
	wait   time.Duration
}

// stop sends the signals in turn until the child has ended.
func (c *child) stop(steps ...signalStep) error {
	for _, step := range steps {
		if err := c.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("devstack: stop %s (pid %d): %w", c.name, c.pid, err)
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-c.exited:
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	return fmt.Errorf("devstack: %s (pid %d) does not stop: end it by hand (kill -9 %d)", c.name, c.pid, c.pid)
}

// ready waits until try succeeds. It gives up when the child ends or ctx is over, and then shows the end of its log.
func (c *child) ready(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.exited:
			cancel(errExited)
		case <-ctx.Done():
		}
	}()
	err := await(ctx, startLimit, try)
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errExited) {
		return fmt.Errorf("devstack: %s %w: %s%s", c.name, errExited, c.ending(), c.logTail())
	}
	return fmt.Errorf("devstack: %s was started but cannot be reached: %w%s", c.name, err, c.logTail())
}

// errExited says that a server ended while we waited for it.
var errExited = errors.New("ended while starting")

// ending returns the error that the child ended with, once it has.
func (c *child) ending() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

// logTail is the end of the child's log, to be put behind an error.
func (c *child) logTail() string {
	const size = 2000
	f, err := os.Open(c.logFile)
	if err != nil {
		return ""
	}
	defer closeQuietly(f)
	if info, err := f.Stat(); err == nil && info.Size() > size {
		if _, err := f.Seek(-size, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(f)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\nend of " + c.logFile + ":\n" + strings.TrimSpace(string(text))
}

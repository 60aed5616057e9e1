package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// Process is a command that runs in the background.
type Process struct {
	// Log is the file that takes what it writes to stdout and stderr.
	Log string
	// Pid is its process id.
	Pid int

	process *os.Process
	done    chan struct{}
	err     error
}

// Start starts a command in the background. It is killed when ctx ends, and when this process does.
func (f *Fleet) Start(ctx context.Context, c Command) (*Process, error) {
	f.mu.Lock()
	f.started++
	p := &Process{Log: filepath.Join(f.Dir, fmt.Sprintf("%02d-%s.log", f.started, c.Name)), done: make(chan struct{})}
	f.logs = append(f.logs, p.Log)
	f.mu.Unlock()
	log, err := os.Create(p.Log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd := f.prepare(ctx, c)
	cmd.Stdout, cmd.Stderr = log, log
	err = startTied(cmd, func(err error) {
		p.err = err
		close(p.done)
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c, err)
	}
	p.process, p.Pid = cmd.Process, cmd.Process.Pid
	return p, nil
}

// Worker starts a worker that serves the named providers (default: all).
func (f *Fleet) Worker(ctx context.Context, providers ...string) (*Process, error) {
	args := []string{"run"}
	for _, p := range providers {
		args = append(args, "--provider", p)
	}
	return f.Start(ctx, Command{Name: "worker", Args: args})
}

// Monitor starts a monitor on a free loopback port, waits until it listens, and returns its address, with a slash at the
// end.
func (f *Fleet) Monitor(ctx context.Context) (p *Process, url string, err error) {
	p, err = f.Start(ctx, Command{Name: "monitor", Args: []string{"serve", "--listen", "127.0.0.1:0"}})
	if err != nil {
		return nil, "", err
	}
	err = Until(ctx, 20*time.Millisecond, "the monitor to listen", func() (bool, error) {
		url = regexp.MustCompile(`http://[0-9.:]+/`).FindString(p.Text())
		if url == "" && !p.Alive() {
			return false, fmt.Errorf("the monitor ended: %w\n%s", p.err, p.Text())
		}
		return url != "", nil
	})
	return p, url, err
}

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive reports whether it runs.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for its end, and returns how it ended.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Text is everything that it has written so far.
func (p *Process) Text() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return ""
	}
	return string(text)
}

// Signal sends it a signal, and ignores that it has ended.
func (p *Process) Signal(sig syscall.Signal) { _ = p.process.Signal(sig) }

// Kill is kill -9. It returns when the process has ended.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop sends SIGTERM, waits, and returns how it ended. What has not ended within limit is killed, which is an error.
func (p *Process) Stop(limit time.Duration) error {
	p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("did not end within %s of SIGTERM: see %s", limit, p.Log)
	}
}

// Files returns the number of file descriptors that it has open; 0 where the system does not tell.
func (p *Process) Files() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
	if err != nil {
		return 0
	}
	return len(entries)
}

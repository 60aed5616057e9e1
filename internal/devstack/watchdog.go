//go:build linux || darwin

package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watchdogScript waits for the end of its input, which comes when the last holder of the pipe's other end is gone, and
// then passes the signal on.
const watchdogScript = `read -r _; kill -"$1" "$2" 2>/dev/null`

// startWatchdog ties a process to us where the kernel cannot: a shell reads a pipe that only we hold open, so that it
// notices our end, however it comes. untie must be called once the process has ended, before its pid can be used again.
func startWatchdog(pid int, sig syscall.Signal, cred *syscall.Credential) (untie func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("devstack: make a pipe for the watchdog: %w", err)
	}
	defer closeQuietly(r)
	//nolint:gosec,noctx // two numbers of ours; it has to outlive every context
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "watchdog", strconv.Itoa(int(sig)), strconv.Itoa(pid))
	cmd.Stdin, cmd.Dir, cmd.Env = r, "/", []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("devstack: start the watchdog: %w", err), w.Close())
	}
	return func() {
		_ = cmd.Process.Kill() // first, or the end of its input would make it act
		_ = cmd.Wait()
		_ = w.Close()
	}, nil
}

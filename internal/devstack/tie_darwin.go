package devstack

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tieBefore has nothing to prepare: there is no parent death signal here.
func tieBefore(*exec.Cmd, syscall.Signal) {}

// tieAfter puts a watchdog beside the child.
func tieAfter(cmd *exec.Cmd, sig syscall.Signal) (untie func(), err error) {
	return startWatchdog(cmd.Process.Pid, sig, cmd.SysProcAttr.Credential)
}

// workingDir is a process' working directory, as lsof says it.
func workingDir(ctx context.Context, pid int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "lsof", "-a", "-d", "cwd", "-Fn", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
	if err != nil {
		return "", fmt.Errorf("lsof -p %d: %w", pid, err)
	}
	for line := range strings.Lines(string(out)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "n"); ok {
			return dir, nil
		}
	}
	return "", fmt.Errorf("lsof -p %d names no working directory", pid)
}

// freeBytes is 0: there is no file system in memory to look at.
func freeBytes(string) uint64 { return 0 }

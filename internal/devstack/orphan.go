//go:build linux || darwin

package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const orphanLimit = 10 * time.Second // for an orphan to end by itself after its signal, then again after SIGKILL

// stopOrphans ends servers that a killed process left behind in a folder that is claimed by us now. Usually they are
// just stopping by themselves and only need to be waited for.
func stopOrphans(ctx context.Context, dir string, log io.Writer) error {
	pidFiles, err := filepath.Glob(filepath.Join(dir, postgresFolder+"*", dataFolder, "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("devstack: look for servers in %s: %w", dir, err)
	}
	for _, file := range pidFiles {
		if err := stopOrphan(ctx, "Postgres", file, syscall.SIGINT, log); err != nil {
			return err
		}
	}
	return stopOrphan(ctx, "Redis", filepath.Join(dir, redisFolder, "redis.pid"), syscall.SIGTERM, log)
}

// stopOrphan ends the server that wrote a pid file. Both servers run inside their data folder, which tells them from a
// stranger that got the same pid later: then the pid file is stale and goes, since Postgres would believe it.
func stopOrphan(ctx context.Context, name, pidFile string, sig syscall.Signal, log io.Writer) error {
	pid, err := readPID(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("devstack: read %s: %w; if no server runs there, remove that file", pidFile, err)
	}
	dir := filepath.Dir(pidFile)
	if pid <= 1 || !runsIn(ctx, pid, dir) {
		if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("devstack: remove the stale %s: %w", pidFile, err)
		}
		return nil
	}
	if log != nil {
		say(log, "Stopping %s (pid %d), left behind in %s", name, pid, dir)
	}
	for _, s := range []syscall.Signal{sig, syscall.SIGKILL} {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("devstack: stop %s (pid %d), left behind in %s: %w", name, pid, dir, err)
		}
		err := await(ctx, orphanLimit, func(ctx context.Context) error {
			if runsIn(ctx, pid, dir) {
				return errors.New("it is still running")
			}
			return nil
		})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("devstack: %s (pid %d), left behind in %s, does not stop: end it by hand (kill -9 %d)", name, pid, dir, pid)
}

// readPID reads the first line of a pid file; an empty one, which a server killed in the act may leave, is pid 0.
func readPID(file string) (int, error) {
	f, err := os.Open(file) //nolint:gosec // a fixed name in a folder of ours
	if err != nil {
		return 0, err
	}
	defer closeQuietly(f)
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return 0, lines.Err()
	}
	text := strings.TrimSpace(lines.Text())
	if text == "" {
		return 0, nil
	}
	return strconv.Atoi(text)
}

// runsIn reports whether a process lives and has dir as its working directory.
func runsIn(ctx context.Context, pid int, dir string) bool {
	got, err := workingDir(ctx, pid)
	if err != nil {
		return false
	}
	want, err := filepath.EvalSymlinks(dir)
	return err == nil && got == want
}

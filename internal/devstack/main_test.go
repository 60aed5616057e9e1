//go:build linux || darwin

package devstack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// helperVar makes this test binary start a stack and wait to be killed; its value is a folder to persist in, or "throwaway".
const helperVar = "DEVSTACK_TEST_HELPER"

// watchVar makes this test binary put a watchdog on the pid in it and wait to be killed.
const watchVar = "DEVSTACK_TEST_WATCH"

func TestMain(m *testing.M) {
	if pid := os.Getenv(watchVar); pid != "" {
		n, err := strconv.Atoi(pid)
		if err == nil {
			_, err = startWatchdog(n, syscall.SIGINT, nil)
		}
		fmt.Fprintln(os.Stdout, "ready", err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if mode := os.Getenv(helperVar); mode != "" {
		if err := helper(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // a process of its own
		}
		return
	}
	m.Run()
}

// running is a helper process' report of its stack.
type running struct {
	Folder   string `json:"folder"`
	Postgres int    `json:"postgres"`
	Redis    int    `json:"redis"` // 0 when it is the stand-in
}

func helper(mode string) error {
	o := Options{Getenv: clean, Log: os.Stderr}
	if mode != "throwaway" {
		o.Dir, o.Persist = mode, true
	}
	s, err := Start(context.Background(), o)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(describe(s)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until we are killed
	return err
}

// startHelper starts a stack in a process of its own.
func startHelper(t *testing.T, mode string) (*exec.Cmd, running) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), helperVar+"="+mode)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the helper process told nothing: %v", err)
	}
	var r running
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("the helper process told %q: %v", line, err)
	}
	return cmd, r
}

// describe reads the pids of a stack from the files that the servers wrote themselves.
func describe(s *Stack) running {
	r := running{Folder: s.Dir}
	files, _ := filepath.Glob(filepath.Join(s.Dir, "postgres-*", "data", "postmaster.pid"))
	if len(files) == 1 {
		r.Postgres, _ = readPID(files[0])
	}
	r.Redis, _ = readPID(filepath.Join(s.Dir, "redis", "redis.pid"))
	return r
}

// clean is an environment that gives nothing but PATH.
func clean(key string) string {
	if key == "PATH" {
		return os.Getenv("PATH")
	}
	return ""
}

// env is an environment of the given pairs alone.
func env(pairs map[string]string) func(string) string {
	return func(key string) string { return pairs[key] }
}

// folderFor is a folder for persistent data that the servers' account can reach, unlike t.TempDir's, which is 0700.
func folderFor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, ".oneflow")
}

func start(t *testing.T, o Options) *Stack {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = clean
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// query runs one statement in the stack's database and returns its single value.
func query(t *testing.T, s *Stack, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func redisClient(t *testing.T, s *Stack) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually polls, within a minute, what another process does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := await(t.Context(), time.Minute, func(context.Context) error {
		if ok() {
			return nil
		}
		return fmt.Errorf("not yet")
	})
	if err != nil {
		t.Fatalf("%s: not within a minute", what)
	}
}

// lives reports whether a pid is a running process; a zombie is none.
func lives(pid int) bool {
	_, err := workingDir(context.Background(), pid)
	return pid > 0 && err == nil
}

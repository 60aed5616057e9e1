//go:build linux || darwin

package devstack

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

// pathWithout is the PATH without the folders that hold any of the programs.
func pathWithout(t *testing.T, programs ...string) string {
	t.Helper()
	var kept []string
next:
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		for _, p := range programs {
			if _, err := os.Stat(filepath.Join(dir, p)); err == nil {
				continue next
			}
		}
		kept = append(kept, dir)
	}
	return strings.Join(kept, string(filepath.ListSeparator))
}

// script writes an executable shell script.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	// A process that starts meanwhile would have the file open for a moment, and the system runs no file that is written to.
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGivenServiceThatDoesNotAnswerFailsWithin5sNamingTheVariable(t *testing.T) {
	t.Parallel()
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts and never speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	for name, tc := range map[string]struct{ variable, scheme, addr string }{
		"closed Postgres": {"DATABASE_URL", "postgres", "127.0.0.1:1"},
		"mute Postgres":   {"DATABASE_URL", "postgres", mute.Addr().String()},
		"closed Redis":    {"REDIS_URL", "redis", "127.0.0.1:1"},
		"mute Redis":      {"REDIS_URL", "redis", mute.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folderFor(t)
			_, err := Start(t.Context(), Options{Dir: dir, Persist: true, Getenv: env(map[string]string{
				"PATH": os.Getenv("PATH"), tc.variable: tc.scheme + "://me:hush@" + tc.addr + "/0",
			})})
			wantError(t, err, tc.variable, tc.addr, "does not answer after 5s", "docker compose up -d", "unset "+tc.variable)
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows the password: %v", err)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s was made: a service of our own was started instead", dir)
			}
		})
	}
}

func TestGivenServicesAreUsedAndLeftAlone(t *testing.T) {
	t.Parallel()
	given := start(t, Options{})
	s := start(t, Options{Getenv: env(map[string]string{"DATABASE_URL": given.DatabaseURL, "REDIS_URL": given.RedisURL})})
	if s.DatabaseURL != given.DatabaseURL || s.RedisURL != given.RedisURL || s.OwnPostgres || s.OwnRedis || s.Dir != "" {
		t.Errorf("got %+v", s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if query(t, given, `SELECT 'alive'`) != "alive" {
		t.Error("Close stopped a given Postgres")
	}
}

func TestWhatIsNoUseIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		lasts time.Duration
	}{
		"silent": {errors.New("connection refused"), 5 * time.Second}, "refused": {finalError{errors.New("wrong password")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, tries := time.Now(), 0
				err := await(t.Context(), 5*time.Second, func(context.Context) error { tries++; return c.err })
				if took := time.Since(began); !errors.Is(err, c.err) || took != c.lasts || (tries > 1) != (c.lasts > 0) {
					t.Errorf("%v after %s and %d tries", err, took, tries)
				}
			})
		})
	}
}

func TestAWrongPasswordIsARefusal(t *testing.T) {
	t.Parallel()
	given := start(t, Options{})
	for variable, raw := range map[string]string{
		"DATABASE_URL": "postgres://oneflow:hush@" + hostPort(given.DatabaseURL) + "/oneflow",
		"REDIS_URL":    "redis://:hush@" + hostPort(given.RedisURL) + "/0",
	} {
		_, err := Start(t.Context(), Options{Getenv: env(map[string]string{"PATH": os.Getenv("PATH"), variable: raw})})
		wantError(t, err, variable, "refuses us")
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestURLThatIsNoneIsNotShown(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Getenv: env(map[string]string{"DATABASE_URL": "postgres://me:hush@h:port/x", "REDIS_URL": "redis://x"})})
	wantError(t, err, "DATABASE_URL is no Postgres URL")
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestMissingPostgresNamesTheCommands(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Dir: folderFor(t), Getenv: env(map[string]string{"PATH": t.TempDir()}), search: []string{}})
	wantError(t, err, "make setup", "apt-get install postgresql redis-server", "brew install", "docker compose up -d postgres redis")
}

func TestProgramsThatDoNotWorkAreRejectedWithTheReason(t *testing.T) {
	t.Parallel()
	base := filepath.Dir(folderFor(t))
	wrapped, lonely := filepath.Join(base, "wrapped"), filepath.Join(base, "lonely")
	script(t, wrapped, "postgres", `echo "postgres (PostgreSQL) 17.1"`)
	script(t, wrapped, "initdb", "")
	program, err := newFinder(Options{Getenv: clean}, nil).postgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(lonely, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lonely, "postgres"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = newFinder(Options{Getenv: env(map[string]string{"PATH": wrapped + ":" + lonely}), search: []string{}}, nil).postgres(t.Context())
	wantError(t, err, "is a script around the server", "has no initdb beside it")
}

func TestHighestMajorVersionWins(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, v := range []string{"9", "16", "100"} {
		if err := os.MkdirAll(filepath.Join(base, v, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := finder{globs: []string{filepath.Join(base, "*", "bin")}}.wellKnownDirs()
	if len(got) != 1 || len(got[0]) != 3 || filepath.Base(filepath.Dir(got[0][0])) != "100" || filepath.Base(filepath.Dir(got[0][2])) != "9" {
		t.Errorf("got %v", got)
	}
}

package harness_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oneflow/internal/harness"
)

// newFleet makes a fleet whose only command is a shell script.
func newFleet(t *testing.T, script string) *harness.Fleet {
	t.Helper()
	f := &harness.Fleet{Dir: t.TempDir(), Bin: t.TempDir()}
	// A process that starts meanwhile would have the file open for a moment, and the system runs no file that is written to.
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(f.Bin, "worker"), []byte("#!/bin/sh\n"+script), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestACommandGetsTheFleetsEnvironmentAndNothingOfOurs(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "a real key")
	f := newFleet(t, `echo "$OPENAI_API_KEY|$DATABASE_URL|$ONEFLOW_CONFIG|$A|$(pwd)"; cat`)
	f.DatabaseURL, f.Env = "postgres://fleet", []string{"A=fleet"}
	r, err := f.Run(t.Context(), harness.Command{Name: "worker", Env: []string{"A=command"}, Stdin: strings.NewReader("input")})
	dir, symlinkErr := filepath.EvalSymlinks(f.Dir)
	if want := "|postgres://fleet|" + f.ConfigFile() + "|command|" + dir + "\ninput"; err != nil || symlinkErr != nil || r.Stdout != want {
		t.Errorf("%v %v\n got %q\nwant %q", err, symlinkErr, r.Stdout, want)
	}
}

func TestAFailedCommandTellsItsExitCodeAndWhatItWrote(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `echo half; echo reason >&2; exit 5`)
	r, err := f.Run(t.Context(), harness.Command{Name: "worker", Args: []string{"run"}})
	if harness.ExitCode(err) != 5 || !strings.Contains(err.Error(), "worker run") || !strings.Contains(err.Error(), "reason") || r.Stdout != "half\n" {
		t.Errorf("%v, %q", err, r.Stdout)
	}
	if all, err := f.Output(); err != nil || !strings.Contains(all, "half") || !strings.Contains(all, "reason") {
		t.Errorf("the output of all commands is %q %v", all, err)
	}
}

func TestAProcessIsStoppedOrKilled(t *testing.T) {
	t.Parallel()
	started := func(script string) *harness.Process {
		f := newFleet(t, script)
		p, err := f.Worker(t.Context(), "mock")
		if err != nil {
			t.Fatal(err)
		}
		err = harness.Until(t.Context(), time.Millisecond, "the script to start", func() (bool, error) { return strings.Contains(p.Text(), "run --provider mock"), nil })
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	polite := started(`trap 'echo bye; exit 0' TERM; echo "$@"; while :; do read -t 1 x || sleep 0.01; done`)
	if err := polite.Stop(time.Minute); err != nil || polite.Alive() || !strings.Contains(polite.Text(), "bye") {
		t.Errorf("stopped: %v, alive %v, it wrote %q", err, polite.Alive(), polite.Text())
	}
	deaf := started(`trap '' TERM; echo "$@"; while :; do sleep 0.01; done`)
	if err := deaf.Stop(50 * time.Millisecond); err == nil || deaf.Alive() {
		t.Errorf("one that does not stop: %v, alive %v", err, deaf.Alive())
	}
}

func TestUntilTellsWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	why := errors.New("not done in time")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := harness.Until(ctx, time.Millisecond, "rain", func() (bool, error) { cancel(why); return false, nil })
	if !errors.Is(err, why) || !strings.Contains(err.Error(), "rain") {
		t.Error(err)
	}
	broken := errors.New("broken")
	if err := harness.Until(t.Context(), time.Hour, "rain", func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestALogIsReadUpToItsLastWholeLine(t *testing.T) {
	t.Parallel()
	type line struct{ N int }
	path := filepath.Join(t.TempDir(), "log")
	if lines, err := harness.ReadLog[line](path); err != nil || len(lines) != 0 {
		t.Errorf("a log that is not there: %v %v", lines, err)
	}
	for text, want := range map[string]int{"{\"N\":1}\n{\"N\":2}\n": 2, "{\"N\":1}\n{\"N\":": 1, "{\"N\":": 0} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if lines, err := harness.ReadLog[line](path); err != nil || len(lines) != want {
			t.Errorf("%q: %v %v", text, lines, err)
		}
	}
	if err := os.WriteFile(path, []byte("no JSON\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.ReadLog[line](path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a line that is none: %v", err)
	}
}

func TestALeakIsShownInItsSurroundings(t *testing.T) {
	t.Parallel()
	if err := harness.Leak("nothing here", "key"); err != nil {
		t.Error(err)
	}
	if err := harness.Leak("Authorization: Bearer sk-1 ok", "x", "sk-1"); err == nil || !strings.Contains(err.Error(), "Bearer sk-1 ok") {
		t.Error(err)
	}
}

package failpoint_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build compiles a program that hits two places and then says that it lives. It is
// in this module, since the package is internal.
func build(t *testing.T, tags string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "hits")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", out, "./testdata/hits")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

// hits runs it with some points armed, and returns its exit code and what it said.
func hits(t *testing.T, program, points string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), "ONEFLOW_FAILPOINTS="+points)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

func TestAReleaseHasNoFailpoints(t *testing.T) {
	t.Parallel()
	program := build(t, "")
	if code, said := hits(t, program, "first=exit,second=panic"); code != 0 || said != "lives\n" {
		t.Errorf("armed in a release, it ended with %d and said %q", code, said)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("ONEFLOW_FAILPOINTS")) {
		t.Error("a release knows the variable")
	}
	// This test would notice it.
	text, err = os.ReadFile(build(t, "failpoints"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("ONEFLOW_FAILPOINTS")) {
		t.Error("a program with failpoints does not know the variable either")
	}
}

func TestAFailpointDoesWhatTheVariableSays(t *testing.T) {
	t.Parallel()
	program := build(t, "failpoints")
	for _, c := range []struct {
		points string
		code   int
		says   string
	}{
		{"", 0, "lives"},
		{"elsewhere=exit", 0, "lives"},
		{"first=exit", 137, "failpoint first: exit"},
		{"first=exit@2", 0, "lives"},
		{"second=exit@2", 137, "failpoint second: exit"},
		{"second=panic@3", 2, "panic: failpoint second"},
		{"second[red]=exit", 137, "failpoint second: exit"},
		{"second[blue]=exit", 0, "lives"},
		{"first=sleep:1ms", 0, "failpoint first: sleep"},
		{"first=oom", 2, "out of memory"},
		{"first=explode", 2, `there is no action "explode"`},
		{"first", 2, "want place=action"},
	} {
		if code, said := hits(t, program, c.points); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%q: it ended with %d, want %d, and said %.300q, want %q", c.points, code, c.code, said, c.says)
		}
	}
}

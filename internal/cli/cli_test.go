package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

func TestAnErrorBecomesItsExitCodeAndOneLine(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, cli.OK, ""},
		{cause, cli.Failure, "enqueue: the cause\n"},
		{cli.Fail(cli.Usage, cause), cli.Usage, "enqueue: the cause\n"},
		{fmt.Errorf("while trying: %w", cli.Fail(cli.Unavailable, cause)), cli.Unavailable, "enqueue: while trying: the cause\n"},
		{cli.Fail(cli.JobsFailed, nil), cli.JobsFailed, ""},
		{fmt.Errorf("x: %w", jobs.ErrNotFound), cli.Usage, "enqueue: x: no such job or batch\n"},
		{fmt.Errorf("read: %w", context.Canceled), cli.Interrupted, "enqueue: interrupted\n"},
		{cli.Fail(cli.Interrupted, cause), cli.Interrupted, "enqueue: the cause\n"},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), cli.Failure, "enqueue: read: context deadline exceeded\n"},
	} {
		var stderr bytes.Buffer
		if code := cli.Code("enqueue", &stderr, c.err); code != c.code || stderr.String() != c.text {
			t.Errorf("%v: exit %d, %q, want %d, %q", c.err, code, stderr.String(), c.code, c.text)
		}
	}
	if err := cli.Fail(cli.Unsafe, cause); !errors.Is(err, cause) || err.Error() != "the cause" {
		t.Errorf("%v hides its cause", err)
	}
	if got := cli.Fail(cli.OverBudget, nil).Error(); got != "exit 6" {
		t.Error(got)
	}
}

type grammar struct {
	cli.Logging
	Paint paintCmd `cmd:"" help:"Paint it."`
}

type paintCmd struct {
	Colour string `enum:"red,blue" default:"red" help:"Which."`
	What   string `arg:"" help:"What to paint."`
}

func parse(args ...string) (g grammar, done bool, stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	_, done, err = cli.Parse(&g, args, cli.Env{Out: &out, Err: &errs}, "brush", "Paints things.")
	return g, done, out.String(), errs.String(), err
}

func TestArgumentsAreParsed(t *testing.T) {
	t.Parallel()
	g, done, _, _, err := parse("paint", "--colour", "blue", "door")
	if err != nil || done || g.Paint.Colour != "blue" || g.Paint.What != "door" || g.LogLevel != "info" {
		t.Errorf("%+v, %v, %v", g, done, err)
	}
}

func TestWrongUseHasExitCode2AndSaysWhereHelpIs(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing": {}, "an unknown command": {"point", "door"}, "an unknown flag": {"paint", "--color", "red", "door"}, "a missing argument": {"paint"},
		"one too many": {"paint", "door", "wall"}, "a value that is not on offer": {"paint", "--colour", "pink", "door"}, "a bad log level": {"paint", "door", "--log-level", "loud"},
	} {
		_, done, stdout, _, err := parse(args...)
		var stderr bytes.Buffer
		if code := cli.Code("brush", &stderr, err); code != cli.Usage || done || stdout != "" || !strings.HasSuffix(stderr.String(), "(brush --help shows the usage)\n") {
			t.Errorf("%s: exit %d, done %v, stdout %q, stderr %q", name, code, done, stdout, stderr.String())
		}
	}
}

func TestAnArgumentThatIsNoTextIsRefusedNotChanged(t *testing.T) {
	t.Parallel()
	_, _, _, _, err := parse("paint", "caf\xe9")
	if code := cli.Code("brush", &bytes.Buffer{}, err); code != cli.Usage || !strings.Contains(err.Error(), `argument 2, "caf\xe9", is not valid UTF-8`) {
		t.Error(err)
	}
}

func TestHelpGoesToStdoutAndIsNoError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"-h"}, {"paint", "--help"}, {"paint", "--colour", "pink", "--help"}} {
		_, done, stdout, stderr, err := parse(args...)
		if err != nil || !done || stderr != "" || !strings.HasPrefix(stdout, "Usage: brush") {
			t.Errorf("%q: %v, %v\n%s%s", args, done, err, stdout, stderr)
		}
	}
}

func TestAGrammarThatIsWrongIsNoUsageError(t *testing.T) {
	t.Parallel()
	var bad struct {
		A string `short:"xx"`
	}
	if _, _, err := cli.Parse(&bad, nil, cli.Env{}, "x", "x"); err == nil || cli.Code("x", &bytes.Buffer{}, err) != cli.Failure {
		t.Error(err)
	}
}

package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

func TestAProgramWithoutCommandsTakesItsFlags(t *testing.T) {
	t.Parallel()
	var g struct {
		Rounds int `help:"Rounds." default:"3"`
	}
	chosen, done, err := cli.Program{Name: "bench"}.Parse(&g, []string{"--rounds", "2"}, cli.Env{Out: io.Discard, Err: io.Discard})
	if err != nil || done || chosen == nil || g.Rounds != 2 {
		t.Errorf("%v, %v, %v, %d rounds; want the program itself, and 2", chosen, done, err, g.Rounds)
	}
	if _, _, err := (cli.Program{Name: "bench"}).Parse(&g, []string{"more"}, cli.Env{Out: io.Discard, Err: io.Discard}); err == nil {
		t.Error("an argument that it does not take was taken")
	}
}

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
	cli.Logging `group:"Global flags:"`

	Paint paintCmd `cmd:"" help:"Paint it."`
	Text  textCmd  `cmd:"" help:"Write it."`
	Brush struct {
		Wash struct{} `cmd:"" help:"Wash it."`
	} `cmd:"" help:"Look after the brush."`

	cli.About
}

type textCmd struct {
	Prompt string        `arg:""`
	In     time.Duration `help:"When."`
	Times  int           `help:"How often."`
	Mood   string        `help:"How." enum:"gay,grim," default:""`
}

type paintCmd struct {
	Colour string `enum:"red,blue" default:"red" help:"Which."`
	What   string `arg:"" help:"What to paint."`
}

func parse(args ...string) (g grammar, done bool, stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	_, done, err = cli.Program{Name: "brush", Description: "Paints things.", Examples: map[string][]string{"paint": {"brush paint door"}}}.Parse(&g, args, cli.Env{Out: &out, Err: &errs})
	return g, done, out.String(), errs.String(), err
}

func TestArgumentsAreParsed(t *testing.T) {
	t.Parallel()
	g, done, _, _, err := parse("paint", "--colour", "blue", "door")
	if err != nil || done || g.Paint.Colour != "blue" || g.Paint.What != "door" || g.LogLevel != "info" {
		t.Errorf("%+v, %v, %v", g, done, err)
	}
}

func TestWrongUseSaysWhatIsWrongAndWhoseHelpShowsTheUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                            `a command is missing (brush --help shows the usage)`,
		"point door":                  `unexpected argument point, did you mean "paint"? (brush --help shows the usage)`,
		"brush":                       `a command is missing after brush brush: wash (brush brush --help shows the usage)`,
		"paint --color red door":      `unknown flag --color, did you mean "--colour"? (brush paint --help shows the usage)`,
		"paint":                       `WHAT is missing (brush paint --help shows the usage)`,
		"paint door wall":             `unexpected argument wall (brush paint --help shows the usage)`,
		"paint --colour pink door":    `--colour: must be red or blue, got "pink" (brush paint --help shows the usage)`,
		"paint door --log-level loud": `--log-level: must be debug, info, warn or error, got "loud" (brush paint --help shows the usage)`,
		"text hello world":            `unexpected argument world: put the whole prompt in quotes, as in brush text "Write a haiku" (brush text --help shows the usage)`,
		"text -5":                     `unknown flag -5: a prompt that begins with - goes after --, as in brush text -- "-5 degrees" (brush text --help shows the usage)`,
		"text a --mood odd":           `--mood: must be gay or grim, got "odd" (brush text --help shows the usage)`,
		"text a --in soon":            `--in: must be a duration such as 30s, 5m, 12h, 90d or 2w, got "soon" (brush text --help shows the usage)`,
		"text a --times x":            `--times: must be a whole number, got "x" (brush text --help shows the usage)`,
	} {
		_, done, stdout, _, err := parse(strings.Fields(args)...)
		var stderr bytes.Buffer
		if code := cli.Code("brush", &stderr, err); code != cli.Usage || done || stdout != "" || stderr.String() != "brush: "+want+"\n" {
			t.Errorf("%s: exit %d, done %v, stdout %q, stderr %q", args, code, done, stdout, stderr.String())
		}
	}
}

func TestANegativeNumberIsTheValueOfTheFlagBeforeIt(t *testing.T) {
	t.Parallel()
	g, _, _, _, err := parse("text", "--times", "-5", "--in", "-1d", "--", "--times")
	if err != nil || g.Text.Times != -5 || g.Text.In != -24*time.Hour || g.Text.Prompt != "--times" {
		t.Errorf("%+v, %v", g.Text, err)
	}
}

func TestDurationsHaveDaysAndWeeks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "30s": 30 * time.Second} {
		if g, _, _, _, err := parse("text", "a", "--in", text); err != nil || g.Text.In != want {
			t.Errorf("%s: %s, %v", text, g.Text.In, err)
		}
	}
}

func TestHelpHasExamplesAndACommandsOwnFlagsFirst(t *testing.T) {
	t.Parallel()
	_, _, help, _, _ := parse("paint", "--help")
	last := -1
	for _, part := range []string{"Examples:\n\n    brush paint door", "Flags:", "--colour", "Global flags:", "--log-level"} {
		at := strings.Index(help, part)
		if at <= last {
			t.Errorf("%q is not there, or too early:\n%s", part, help)
		}
		last = at
	}
}

func TestTheVersionIsPrinted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--version"}, {"paint", "--version"}} {
		if _, done, out, _, err := parse(args...); err != nil || !done || !strings.HasPrefix(out, "brush ") || !strings.Contains(out, "(go1.") {
			t.Errorf("%q: %q, %v", args, out, err)
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
	if _, _, err := (cli.Program{Name: "x"}).Parse(&bad, nil, cli.Env{}); err == nil || cli.Code("x", &bytes.Buffer{}, err) != cli.Failure {
		t.Error(err)
	}
}

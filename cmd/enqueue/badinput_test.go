package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/golden"
)

// corpus is the folder with files that people bring by mistake; each NAME has a
// NAME.txt beside it, which is what they are told.
const corpus = "../../testdata/badinput"

func TestABadFileIsToldLineByLineAndItsMendedLinesAreAdded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(corpus, "*"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	tried := 0
	for _, path := range files {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".txt" {
			continue
		}
		tried++
		id := strings.ReplaceAll(name, " ", "-")
		r := s.enqueue("batch", path, "--batch-id", id, "-o", "json")
		golden.Compare(t, filepath.Join("..", corpus, name+".txt"), r.err+r.out)
		first := s.report(r)
		if (r.code == cli.OK) != (first.Rejected == 0 && first.Accepted > 0) {
			t.Errorf("%s: exit code %d, %+v", name, r.code, first)
		}
		if filepath.Ext(path) != ".jsonl" { // no other format is mended line by line
			continue
		}
		bad := places(name, r.err)
		if r.code == cli.Usage { // the whole file is refused
			if first.Accepted+first.Rejected != 0 || len(bad) != 1 {
				t.Errorf("%s: %+v", name, r)
			}
			continue
		}
		if len(bad) != first.Rejected || first.Accepted == 0 {
			t.Errorf("%s: %d lines are named, %+v", name, len(bad), first)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(data, []byte("\n"))
		for _, n := range bad {
			lines[n-1] = fmt.Appendf(nil, `{"prompt":"mended %d"}`, n)
		}
		mended := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(mended, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		r = s.enqueue("batch", mended, "--batch-id", id, "-o", "json")
		if again := s.report(r); r.code != cli.OK || again != (report{id, first.Rejected, first.Accepted, 0}) {
			t.Errorf("%s, mended: %+v after %+v", name, r, first)
		}
	}
	if tried < 15 {
		t.Errorf("only %d files", tried)
	}
}

// places are the lines of the file that stderr names.
func places(name, stderr string) (lines []int) {
	for _, m := range regexp.MustCompile(`(?m)^(?:enqueue: )?`+regexp.QuoteMeta(name)+`:(\d+)(?::\d+)?: `).FindAllStringSubmatch(stderr, -1) {
		n, _ := strconv.Atoi(m[1])
		lines = append(lines, n)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`: the same as in line \d+: lines? ([0-9, ]+)`).FindAllStringSubmatch(stderr, -1) {
		for number := range strings.SplitSeq(m[1], ", ") {
			n, _ := strconv.Atoi(strings.TrimSpace(number))
			lines = append(lines, n)
		}
	}
	return lines
}

// maxRSS is the most memory that reading anything may take.
const maxRSS = 200 << 20

// commands is the folder of the commands as a user has them, once build has built them.
var commands string

var build = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-ldflags=-s", "-o", commands+"/", ".", "../monitor").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return nil
})

// binary is the command as a user has it.
func binary(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(commands, "enqueue")
}

// child runs the built command on the site, and holds how much memory it took.
func (s *site) child(program string, in io.Reader, errs io.Writer, args ...string) (code int, out string) {
	s.t.Helper()
	var stdout bytes.Buffer
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	told, tells, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = told.Close() }()
	cmd := exec.CommandContext(s.t.Context(), self, append([]string{program, "batch", "-", "-o", "json", "--provider", "mock"}, args...)...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.database, "REDIS_URL="+s.redis, measures+"=1")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = s.t.TempDir(), in, &stdout, errs, []*os.File{tells}
	err = cmd.Run()
	_ = tells.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	var rss int64
	if _, err := fmt.Fscan(told, &rss, &code); err != nil {
		s.t.Fatal("no word of its memory: ", err)
	}
	s.t.Logf("peak RSS %d MiB", rss>>20)
	if rss > maxRSS {
		s.t.Errorf("%q took %d MiB", args, rss>>20)
	}
	return code, stdout.String()
}

// measures is the variable that has this program run its arguments, and write to its file 3 how much memory they took,
// in bytes, and the exit code: a child counts as its own what the process had that started it, and a test program may have much.
const measures = "ONEFLOW_TEST_MEASURES"

func measure() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...) //nolint:noctx // it is the test that says what
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		panic(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		panic("no rusage")
	}
	rss := usage.Maxrss
	if runtime.GOOS == "linux" { // in KiB
		rss <<= 10
	}
	if _, err := fmt.Fprintln(os.NewFile(3, "measured"), rss, cmd.ProcessState.ExitCode()); err != nil {
		panic(err)
	}
}

// generated are rows from a function of their line, made as they are read.
type generated struct {
	n, lines int
	row      func(n int) string
	rest     string
}

func (g *generated) Read(p []byte) (int, error) {
	if g.rest == "" {
		if g.n == g.lines {
			return 0, io.EOF
		}
		g.n++
		g.rest = g.row(g.n) + "\n"
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func TestNoInputTakesMuchMemory(t *testing.T) { //nolint:tparallel // each case is large: one after the other
	t.Parallel()
	enqueue := binary(t)
	large := `{"prompt":"` + strings.Repeat("a", 10_000_000) + `"}`
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	_, _ = w.Write(make([]byte, 16<<20))
	_ = w.Close()
	for _, c := range []struct { //nolint:paralleltest // see above
		name string
		in   io.Reader
		want report
		code int
		told string
	}{
		{
			name: "prompts of 10 MB",
			in:   &generated{lines: 6, row: func(n int) string { return strings.Replace(large, "aaaa", fmt.Sprintf("%04d", n), 1) }},
			want: report{"b1", 6, 0, 0},
		},
		{
			name: "nesting of 10,001, and of 8 million",
			in: &generated{lines: 4, row: func(n int) string {
				depth := []int{0, 10_001, 8_000_000, 0}[n-1]
				return `{"provider":"openai","prompt":"a","extra":{"a":` + strings.Repeat("[", depth) + `1` + strings.Repeat("]", depth) + `}}`
			}},
			want: report{"b1", 2, 0, 2}, code: cli.Failure,
			told: "stdin:2: nested deeper than 100 levels\n",
		},
		{
			name: "a gzip bomb of 4 GiB",
			in:   &generated{lines: 1, row: func(int) string { return strings.Repeat(member.String(), 256) }},
			want: report{"b1", 0, 0, 0}, code: cli.Usage,
			told: "enqueue: stdin: is no text\n",
		},
		{
			name: "many keys in one line",
			in: &generated{lines: 2, row: func(n int) string {
				if n == 2 {
					return `{"prompt":"a"}`
				}
				var b strings.Builder
				b.WriteString(`{"prompt":"a"`)
				for i := range 1_000_000 {
					fmt.Fprintf(&b, `,"k%d":1`, i)
				}
				return b.String() + `}`
			}},
			want: report{"b1", 1, 0, 1}, code: cli.Failure,
			told: "stdin:1: more than 100,000 names and values in one line\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			var errs bytes.Buffer
			code, out := s.child(enqueue, c.in, &errs, "--batch-id", "b1")
			if code != c.code || !strings.HasPrefix(errs.String(), c.told) {
				t.Errorf("exit code %d, want %d: %.1000s", code, c.code, errs.String())
			}
			if got := s.report(result{out: out}); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// A line that never ends is told as soon as it is too long, and the program ends
// with its input.
func TestALineWithoutEndIsToldBeforeItEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	told := make(chan struct{})
	in, pen := io.Pipe()
	errs := &screen{when: "stdin:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller\n", then: func() { close(told) }}
	go func() {
		piece := bytes.Repeat([]byte("x"), 1<<20)
		_, _ = io.WriteString(pen, "{\"prompt\":\"before\"}\n")
		early := false
		for range 4000 {
			select {
			case <-told:
				early = true
			default:
				_, _ = pen.Write(piece)
				continue
			}
			break
		}
		if !early {
			t.Error("4 GB of a line, and nothing was told")
		}
		for range 300 { // and it is not kept
			_, _ = pen.Write(piece)
		}
		_ = pen.Close()
	}()
	code, out := s.child(binary(t), in, errs, "--batch-id", "b1")
	if got := s.report(result{out: out}); code != cli.Failure || got != (report{"b1", 1, 0, 1}) || strings.Count(errs.String(), "stdin:2: ") != 1 {
		t.Errorf("exit code %d, %+v: %s", code, got, errs)
	}
}

func TestManyLinesOfWhichOneInAHundredIsBadAreTakenInAndMended(t *testing.T) {
	t.Parallel()
	const n = 20_000
	s := newSite(t)
	enqueue := binary(t)
	rows := func(mended bool) io.Reader {
		return &generated{lines: n, row: func(n int) string {
			if n%100 == 0 && !mended {
				return fmt.Sprintf(`{"prompt":"row %d","promt":1}`, n)
			}
			return fmt.Sprintf(`{"prompt":"row %d"}`, n)
		}}
	}
	var errs bytes.Buffer
	code, out := s.child(enqueue, rows(false), &errs, "--batch-id", "b1")
	if got := s.report(result{out: out}); code != cli.Failure || got != (report{"b1", n - n/100, 0, n / 100}) {
		t.Errorf("exit code %d, %+v", code, got)
	}
	if got := len(places("stdin", errs.String())); got != 1+maxReported || !strings.HasPrefix(errs.String(), "stdin:100: unknown field") || !strings.Contains(errs.String(), " and 179 more lines\n") {
		t.Errorf("%d lines are named: %s", got, errs.String())
	}
	code, out = s.child(enqueue, rows(true), io.Discard, "--batch-id", "b1")
	if got := s.report(result{out: out}); code != cli.OK || got != (report{"b1", n / 100, n - n/100, 0}) {
		t.Errorf("mended: exit code %d, %+v", code, got)
	}
	if s.jobs() != n {
		t.Errorf("%d jobs", s.jobs())
	}
}

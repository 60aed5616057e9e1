package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/cli"
	"oneflow/internal/golden"
	"oneflow/jobs"
)

// report holds what `batch -o json` prints.
type report struct {
	BatchID    string `json:"batch_id"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
	Rejected   int    `json:"rejected"`
}

func (s *site) report(r result) report {
	s.t.Helper()
	if strings.Count(r.out, "\n") != 1 {
		s.t.Errorf("not one line: %+v", r)
	}
	return decoded[report](s.t, r.out)
}

func TestABatchTellsWhatBecameOfItsRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := file(t,
		`{"custom_id":"a","prompt":"`+canary+`"}`, ``, `{"custom_id":"b","promt":"`+canary+`","colour":"red"}`, `{"custom_id":"a","prompt":"again"}`, `{"prompt":"no id"}`, `{"prompt":"`+canary, `{"prompt":"last"}`)
	r := s.enqueue("batch", path, "-o", "json", "--batch-id", "b1")
	if diff := cmp.Diff(report{"b1", 3, 0, 3}, s.report(r)); diff != "" || r.code != cli.Failure {
		t.Errorf("%+v: %s", r, diff)
	}
	want := `prompts.jsonl:3: unknown field "promt": did you mean "prompt"? To keep it as a column of your own, name the prompt's column with --map prompt=…
prompts.jsonl:4: custom_id "a": used before on line 1
prompts.jsonl:6:27: not valid JSON: the line ends too early
enqueue: left out 3 bad lines: mend what is wrong and run the same command with --batch-id b1 to add them
`
	if diff := cmp.Diff(want, r.err); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
	if got := one[string](s, `SELECT string_agg(lane || seq, ' ' ORDER BY seq) || (SELECT ' ' || source || (sealed_at IS NOT NULL) FROM batches) FROM jobs WHERE batch_id = 'b1'`); got != "bulk1 bulk5 bulk7 prompts.jsonltrue" {
		t.Error(got)
	}
	r = s.enqueue("batch", file(t, `{"prompt":"a"}`, `{"prompt":"b"}`), "--batch-id", "b2")
	if r.code != cli.OK || r.err != "follow it with: enqueue watch b2\n" {
		t.Errorf("%+v", r)
	}
	golden.Compare(t, "batch.txt", r.out)
	r = s.enqueue("batch", file(t, `{"question":"why?","id":7,"answer":"x"}`), "--map", "prompt=question", "--map", "custom_id=id", "--task", "text", "--set", "max_tokens=9", "--lane", "high", "-o", "json")
	if got := one[string](s, `SELECT concat_ws(' ', custom_id, lane, request) FROM jobs WHERE batch_id = $1`, s.report(r).BatchID); got != `7 high {"task":"text","model":"mock-text","prompt":"why?","max_tokens":9}` {
		t.Error(got)
	}
}

func TestManyBadLinesAreCountedButNotAllShown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, strict := range []bool{false, true} {
		args := []string{"batch", "-", "-o", "json", "--format", "jsonl"}
		if strict {
			args = append(args, "--strict")
		}
		r := s.run(t.Context(), strings.NewReader(strings.Repeat("bad\n", 50)), args...)
		want := "stdin:1:1: not valid JSON\nstdin: the same as in line 1: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 and 29 more lines\n"
		if !strings.HasPrefix(r.err, want) || !strings.Contains(r.err, "50 bad lines") || r.code != cli.Failure {
			t.Errorf("strict %v: %+v", strict, r)
		}
		var different strings.Builder
		for i := range 50 {
			fmt.Fprintf(&different, "{\"prompt\":\"p\",\"lane\":\"l%d\"}\n", i)
		}
		r = s.run(t.Context(), strings.NewReader(different.String()), args...)
		if n := strings.Count(r.err, "stdin:"); n != maxReported || !strings.Contains(r.err, "… 30 more bad lines with other reasons are counted but not shown\n") {
			t.Errorf("strict %v: %d shown: %+v", strict, n, r)
		}
	}
}

func TestAColumnThatIsNotThereIsToldOfOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.enqueue("batch", file(t, `{"q":"a"}`, `{"q":"b"}`, `{"q":"c"}`), "--map", "prompt=question", "--batch-id", "b1")
	want := "prompts.jsonl:1: column \"question\", mapped to prompt, is not there; the line has q\nprompts.jsonl: the same as in line 1: lines 2, 3\n"
	if r.code != cli.Failure || !strings.HasPrefix(r.err, want) || strings.Count(r.err, "question") != 1 {
		t.Errorf("%+v", r)
	}
}

func TestStrictAcceptsNothingIfALineIsBad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	text := lines(1, 2500) + "bad\n" + lines(2501, 2)
	path := file(t, text)
	for name, r := range map[string]result{
		"a file": s.enqueue("batch", path, "--strict", "-o", "json"),
		"stdin":  s.run(t.Context(), strings.NewReader(text), "batch", "-", "--strict", "-o", "json"),
	} {
		rep := s.report(r)
		if r.code != cli.Failure || rep != (report{rep.BatchID, 0, 0, 1}) || rep.BatchID == "" || !strings.Contains(r.err, ":2501:1: not valid JSON") || !strings.HasSuffix(r.err, "enqueue: 1 bad line: nothing was accepted, because of --strict\n") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := one[int64](s, `SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM batches)`); n != 0 {
		t.Errorf("%d jobs and batches are there", n)
	}
	if r := s.enqueue("batch", path, "--strict", "--batch-id", "b1"); r.code != cli.Failure || r.out != "" {
		t.Errorf("for people: %+v", r)
	}
	if r := s.enqueue("batch", path, "--strict", "--batch-id", "b1", "-o", "json"); s.report(r) != (report{"b1", 0, 0, 1}) {
		t.Errorf("%+v", r)
	}
	good := strings.Replace(text, "bad\n", "", 1)
	if r := s.run(t.Context(), strings.NewReader(good), "batch", "-", "--strict", "-o", "json"); r.code != cli.OK || s.report(r).Accepted != 2502 {
		t.Errorf("%+v", r)
	}
	// Standard input that is a file, of which somebody has read a part.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(int64(strings.Index(text, "bad\n")+4), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if r := s.run(t.Context(), f, "batch", "-", "--strict", "-o", "json"); r.code != cli.OK || s.report(r).Accepted != 2 {
		t.Errorf("the rest of a file: %+v", r)
	}
}

func TestTheSameRowsAgainUnderTheSameBatchIDAddNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	lines := []string{`{"custom_id":"a","prompt":"1"}`, `{"prompt":"2"}`, `{"prompt":"2"}`, `{"prompt":"3","task":"image"}`, `{"custom_id":"b","prompt":"1"}`}
	take := func(lines ...string) (report, result) {
		r := s.run(t.Context(), strings.NewReader(strings.Join(lines, "\n")), "batch", "-", "--batch-id", "b1", "-o", "json")
		return s.report(r), r
	}
	if rep, r := take(lines...); rep != (report{"b1", 5, 0, 0}) || r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	reversed := slices.Clone(lines)
	slices.Reverse(reversed)
	for _, again := range [][]string{lines, reversed} {
		if rep, r := take(again...); rep != (report{"b1", 0, 5, 0}) || r.code != cli.OK {
			t.Errorf("%+v", r)
		}
	}
	if rep, r := take(append(lines, `{"prompt":"2"}`, `{"prompt":"new"}`)...); rep != (report{"b1", 2, 5, 0}) || r.code != cli.OK {
		t.Errorf("more rows: %+v", r)
	}
	rep, r := take(`{"prompt":"new"}`, `{"custom_id":"a","prompt":"changed"}`)
	if rep != (report{"b1", 0, 1, 1}) || r.code != cli.Failure || !strings.HasPrefix(r.err, "stdin:2: the batch has this custom_id already, with other content: the first is kept\n") {
		t.Errorf("another row of the same id: %+v", r)
	}
	if s.jobs() != 7 {
		t.Errorf("%d jobs", s.jobs())
	}
	if rep, r := take(); rep != (report{"b1", 0, 0, 0}) || r.code != cli.OK || r.err != "enqueue: stdin held no rows: nothing was accepted\n" {
		t.Errorf("no rows: %+v", r)
	}
	other := s.run(t.Context(), strings.NewReader(strings.Join(lines, "\n")), "batch", "-", "-o", "json")
	if rep := s.report(other); rep.Accepted != 5 || rep.BatchID == "b1" {
		t.Errorf("another batch: %+v", other)
	}
}

func TestARowWithAnotherChainOrFallbackIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	take := func(row string) (report, result) {
		r := s.run(t.Context(), strings.NewReader(row), "batch", "-", "--batch-id", "b1", "--append", "-o", "json")
		return s.report(r), r
	}
	for i, route := range []string{`"chain":["mock"]`, `"chain":["mock","openai"]`, `"chain":["mock","anthropic"]`, `"fallback":"never"`, `"fallback":"always"`} {
		row := `{"prompt":"1","provider":"mock",` + route + `}`
		if rep, r := take(row); rep != (report{"b1", 1, 0, 0}) {
			t.Errorf("%s: %+v", row, r)
		}
		if rep, r := take(row); rep != (report{"b1", 0, 1, 0}) {
			t.Errorf("%s, again: %+v", row, r)
		}
		named, want := `{"custom_id":"a","prompt":"1","provider":"mock",`+route+`}`, report{"b1", 0, 0, 1}
		if i == 0 {
			want = report{"b1", 1, 0, 0}
		}
		rep, r := take(named)
		if rep != want || i > 0 && !strings.Contains(r.err, "the batch has this custom_id already, with other content") {
			t.Errorf("%s: %+v", named, r)
		}
	}
	if n := one[int64](s, `SELECT count(DISTINCT (chain, fallback)) FROM jobs`); n != 5 || s.jobs() != 6 {
		t.Errorf("%d routes of %d jobs, want 5 of 6", n, s.jobs())
	}
}

func TestAnEmptyFileIsNoBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const said = "enqueue: null held no rows: nothing was accepted\n"
	for _, flags := range [][]string{nil, {"--watch"}, {"--strict"}, {"--batch-id", "b1"}} {
		if r := s.enqueue(append([]string{"batch", "/dev/null"}, flags...)...); r.code != cli.OK || r.out != "" || r.err != said {
			t.Errorf("%q: %+v", flags, r)
		}
	}
	if r := s.enqueue("batch", "/dev/null", "--batch-id", "b1", "-o", "json"); r.code != cli.OK || s.report(r) != (report{"b1", 0, 0, 0}) || r.err != said {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("batch", file(t, "bad"), "--batch-id", "b1", "--watch", "-o", "json"); r.code != cli.Failure || s.report(r) != (report{"b1", 0, 0, 1}) || strings.Contains(r.err, "no rows") {
		t.Errorf("nothing but a bad line: %+v", r)
	}
	if n := one[int64](s, `SELECT count(*) FROM batches`); n != 0 {
		t.Errorf("%d batches are there", n)
	}
}

func TestARerunThatDiesLeavesAFinishedBatchFinished(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 2)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	state := func() string { return decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out).State }
	rerun := func(text string, until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		in, pen := io.Pipe() // which nobody closes
		done := make(chan result, 1)
		go func() { done <- s.run(ctx, in, "batch", "-", "--batch-id", "b1") }()
		if _, err := io.WriteString(pen, text); err != nil {
			t.Fatal(err)
		}
		s.until("the rerun is under way", until)
		cancel()
		if r := <-done; r.code != cli.Interrupted {
			t.Errorf("%+v", r)
		}
	}
	since := one[time.Time](s, `SELECT clock_timestamp()`)
	rerun(lines(1, 2), func() bool {
		return one[int64](s, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'commit%' AND backend_start > $1`, since) > 0
	})
	if got := state(); got != jobs.BatchRunning {
		t.Errorf("nothing new came: %s", got)
	}
	rerun(lines(1, 3), func() bool { return s.jobs() == 3 })
	if got := state(); got != jobs.BatchOpen {
		t.Errorf("a row came: %s", got)
	}
	if r := s.run(t.Context(), strings.NewReader(lines(1, 3)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK || state() != jobs.BatchRunning {
		t.Errorf("%+v, %s", r, state())
	}
}

func TestStatusHasAFixedShape(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 5)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	id := func(n int) string { return one[string](s, `SELECT id::text FROM jobs WHERE seq = $1`, n) }
	s.finish(id(1), "one", "")
	s.finish(id(2), "", "the key was refused")
	s.enqueue("cancel", id(3))
	r := s.enqueue("status", "b1", "-o", "json")
	table := s.enqueue("status", "b1")
	if r.code != cli.OK || table.code != cli.OK || r.err+table.err != "bring them back with: enqueue retry b1; list them with: enqueue jobs b1 --failed\n" {
		t.Errorf("%+v %+v", r, table)
	}
	failed := id(2)
	golden.Compare(t, "status.txt", regexp.MustCompile(`"at": "[^"]*"`).ReplaceAllString(strings.ReplaceAll(r.out+table.out, failed, "JOB"), `"at": "NOW"`))
	r = s.enqueue("status", strings.ToUpper(failed), "-o", "json")
	table = s.enqueue("status", failed)
	golden.Compare(t, "status-job.txt", strings.ReplaceAll(r.out+table.out, failed, "JOB"))
	for _, command := range []string{"status", "watch", "cancel", "export"} {
		for _, id := range []string{"none", "018f5e3a-0000-7000-8000-000000000000", "a/b", "--batch-id=x", ""} {
			if r := s.enqueue(command, "--", id); r.code != cli.Usage || r.out != "" || r.err != "enqueue: "+strings.TrimPrefix(map[bool]string{true: "export " + id + ": "}[command == "export"], "")+id+": no such job or batch\n" {
				t.Errorf("%s %q: %+v", command, id, r)
			}
		}
	}
}

func TestWatchEndsWithTheOutcomeOfTheBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for batch, failure := range map[string]string{"good": "", "bad": "the key was refused"} {
		done := make(chan result, 1)
		go func() {
			done <- s.run(t.Context(), strings.NewReader(lines(1, 2)), "batch", "-", "--batch-id", batch, "--watch")
		}()
		s.until("the batch is sealed", func() bool {
			return one[int64](s, `SELECT count(*) FROM batches WHERE id = $1 AND sealed_at IS NOT NULL`, batch) == 1
		})
		ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs WHERE batch_id = $1`, batch)
		s.finish(ids[0], "one", "")
		s.finish(ids[1], "two", failure)
		r := <-done
		code, state, last := cli.OK, jobs.BatchFinished, "2/2 done, "
		if failure != "" {
			code, state, last = cli.JobsFailed, jobs.BatchPartial, "enqueue: 1 of 2 jobs failed\n"
		}
		if r.code != code || !strings.Contains(r.err, last) || !strings.Contains(r.out, "succeeded") {
			t.Errorf("%s: %+v", batch, r)
		}
		if again := s.enqueue("watch", batch, "-o", "json"); again.code != code || decoded[batchStatus](t, again.out).State != state {
			t.Errorf("%s: %+v", batch, again)
		}
	}
}

func TestAnExportIsWholeInInputOrderAndReplacesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	id := func(n int) string { return one[string](s, `SELECT id::text FROM jobs WHERE seq = $1`, n) }
	s.finish(id(3), "three \"quoted\" <b>", "")
	s.finish(id(1), "one", "")
	s.finish(id(2), "", "the key was refused")
	const unfinished = "enqueue: 1 jobs have not finished and have no result yet: export again after `enqueue watch b1`\n"
	r := s.enqueue("export", "b1")
	if r.code != cli.OK || r.err != unfinished {
		t.Errorf("%+v", r)
	}
	text := r.out
	for n := 1; n <= 4; n++ {
		text = strings.ReplaceAll(text, id(n), fmt.Sprintf("JOB-%d", n))
	}
	golden.Compare(t, "export.jsonl", text)

	dir := t.TempDir()
	path := filepath.Join(dir, "out.jsonl")
	for _, instead := range []string{"", ", in place of the file that was there"} {
		if r := s.enqueue("export", "b1", "--out", path); r.code != cli.OK || r.out != "" || r.err != "wrote 4 lines to "+path+instead+"\n"+unfinished {
			t.Errorf("%+v", r)
		}
	}
	if r := s.enqueue("export", "none", "--out", path); r.code != cli.Usage || r.err != "enqueue: export none: none: no such job or batch\n" {
		t.Errorf("%+v", r)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != r.out {
		t.Errorf("the file does not hold the export: %q, %v", data, err)
	}
	if r := s.enqueue("export", "none", "--out", filepath.Join(dir, "new.jsonl")); r.code != cli.Usage {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "new.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an export that failed left a file: %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("something is left: %v, %v", list, err)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "none", "x.jsonl")} {
		if r := s.enqueue("export", "b1", "--out", bad); r.code == cli.OK || !strings.HasPrefix(r.err, "enqueue: write "+bad) {
			t.Errorf("--out %s: %+v", bad, r)
		}
	}
	one := s.enqueue("export", id(3))
	if strings.Count(one.out, "\n") != 1 || !strings.Contains(r.out, one.out) {
		t.Errorf("a single job: %+v", one)
	}
}

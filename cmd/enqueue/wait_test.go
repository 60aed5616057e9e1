package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/internal/golden"
)

func TestWaitPrintsTheAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		args            []string
		answer, failure string
		code            int
		out, err        string
	}{
		{nil, "Hello, you!", "", cli.OK, "Hello, you!\n", ""},
		{nil, "", "the key was refused", cli.JobsFailed, "", "enqueue: the job failed: auth: the key was refused\n"},
		{[]string{"-o", "json"}, "Hi", "", cli.OK, `"text": "Hi"`, ""},
	} {
		done := make(chan result, 1)
		go func() { done <- s.enqueue(append([]string{"text", "hello", "--wait"}, c.args...)...) }()
		const waiting = `SELECT coalesce((SELECT job_id::text FROM job_states WHERE state = 'queued'), '')`
		var id string
		s.until("the job is there", func() bool { id = one[string](s, waiting); return id != "" })
		s.finish(id, c.answer, c.failure)
		r := <-done
		if r.code != c.code || !strings.Contains(r.out, c.out) || !strings.HasSuffix(r.err, c.err) {
			t.Errorf("%+v, want %+v", r, c)
		}
	}
}

func TestWaitPrintsOneObjectForPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var all string
	for _, c := range []struct {
		answer, failure, prepare string
		code                     int
	}{
		{"Hi <b>", "", "", cli.OK},
		{"", "the key was refused", "", cli.JobsFailed},
		{"Hi", "", `UPDATE job_states SET unpriced_calls = 1 WHERE job_id = $1`, cli.OK},
	} {
		done := make(chan result, 1)
		go func() { done <- s.enqueue("text", "hello", "--no-fallback", "--wait", "-o", "json") }()
		var id string
		s.until("the job is there", func() bool {
			id = one[string](s, `SELECT coalesce((SELECT job_id::text FROM job_states WHERE state = 'queued'), '')`)
			return id != ""
		})
		if c.prepare != "" {
			if _, err := s.pool.Exec(t.Context(), c.prepare, id); err != nil {
				t.Fatal(err)
			}
		}
		s.finish(id, c.answer, c.failure)
		r := <-done
		if decoded[batches.Result](t, r.out).JobID != id || r.code != c.code {
			t.Errorf("%+v", r)
		}
		all += strings.ReplaceAll(r.out, id, "JOB")
	}
	golden.Compare(t, "wait.json", all)
}

func TestWhoeverWaitsIsToldThatNobodyServesTheProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const said = "waits: 1 job: no worker is running: start one with `worker run`\n"
	for name, args := range map[string][]string{"one job": {"text", "a", "--wait"}, "a batch": {"batch", file(t, `{"prompt":"b"}`), "--watch"}} {
		in, pen := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() {
			code := cli.Code("enqueue", pen, run(ctx, append([]string{"--database-url", s.database, "--redis-url", s.redis}, args...), cli.Env{In: strings.NewReader(""), Out: io.Discard, Err: pen, Getenv: func(string) string { return "" }}))
			pen.Close()
			done <- code
		}()
		lines := bufio.NewReader(in)
		for line := ""; line != said; {
			var err error
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		cancel()
		if rest, err := io.ReadAll(lines); err != nil || strings.Contains(string(rest), said) || <-done != cli.Interrupted {
			t.Errorf("%s: %s, %v", name, rest, err)
		}
	}
}

func TestAJobThatIsCancelledWhileSomebodyWaitsIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := strings.TrimSpace(s.enqueue("text", "a", "--in", "1h").out)
	done := make(chan result, 1)
	go func() { done <- s.enqueue("watch", id) }()
	if r := s.enqueue("cancel", id, "-o", "json"); r.code != cli.OK || decoded[map[string]any](t, r.out)["cancelled"] != 1.0 {
		t.Errorf("%+v", r)
	}
	if r := <-done; r.code != cli.JobsFailed || !strings.HasSuffix(r.err, "enqueue: the job was cancelled\n") || !strings.Contains(r.out, "cancelled") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("cancel", id); r.code != cli.OK || r.out != "cancelled 0 jobs; 0 calls are under way and may finish\n" {
		t.Errorf("again: %+v", r)
	}
}

func TestCtrlCWhileWatchingLeavesTheJobsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := strings.TrimSpace(s.enqueue("text", "a").out)
	want := "enqueue: stopped watching; the jobs go on. Come back with: enqueue watch " + id + "\n"
	if r := s.left("watch", id); r.code != cli.Interrupted || r.out != "" || !strings.HasSuffix(r.err, want) {
		t.Errorf("%+v, want %q", r, want)
	}
	if state := one[string](s, `SELECT state FROM job_states`); state != "queued" {
		t.Errorf("the job is %s", state)
	}
}

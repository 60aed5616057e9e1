package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestEachResultIsInOneExportSinceTheLast(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 4)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`)
	export := func() string {
		t.Helper()
		r := s.enqueue("export", "b1", "--since-last", "--format", "jsonl", "--with", "text")
		if r.code != cli.OK || r.err != "" {
			t.Errorf("%+v", r)
		}
		var found []string
		for line := range strings.Lines(r.out) {
			for _, word := range []string{"one", "two", "three", "four", "none"} {
				if strings.Contains(line, `"`+word+`"`) {
					found = append(found, word)
				}
			}
		}
		if strings.Count(r.out, "\n") != len(found) {
			t.Errorf("lines without a result: %s", r.out)
		}
		return strings.Join(found, " ")
	}
	if got := export(); got != "" {
		t.Errorf("nothing has ended: %q", got)
	}
	s.finish(ids[0], "one", "")
	s.finish(ids[2], "three", "")
	// A transaction that began before an export and commits after it.
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Fatal(err)
	}
	s.finish(ids[1], "two", "")
	if got := export(); got != "one three" {
		t.Errorf("what ended after a transaction that is still open waits for it: %q", got)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE job_states SET state = 'cancelled', finished_at = now() WHERE job_id::text = $1`, ids[3]); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.enqueue("export", "b1", "--since-last", "--format", "jsonl", "--with", "text,state")
	if r.code != cli.OK || strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, "two") || !strings.Contains(r.out, "cancelled") {
		t.Errorf("%+v", r)
	}
	if got := export(); got != "" {
		t.Errorf("again: %q", got)
	}
	// A job that is retried comes again; an export that fails has exported nothing.
	if _, err := s.pool.Exec(t.Context(), `UPDATE job_states SET finished_at = now() WHERE job_id::text = $1`, ids[0]); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(t.TempDir(), "none", "out.jsonl")
	if r := s.enqueue("export", "b1", "--since-last", "--out", full); r.code == cli.OK {
		t.Errorf("%+v", r)
	}
	if got := export(); got != "one" {
		t.Errorf("after an export that failed: %q", got)
	}
	if _, err := os.Stat(full); err == nil {
		t.Error("half a file was left")
	}
	if r := s.enqueue("export", "b1", "--since-last", "--failed"); r.code != cli.Usage {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("export", ids[0], "--since-last"); r.code != cli.Usage || !strings.Contains(r.err, "no such job or batch") {
		t.Errorf("a job: %+v", r)
	}
}

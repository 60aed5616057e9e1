package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/jobs"
)

// withFile gives a job a picture in the folder that the configuration names.
func (s *site) withFile(folder, id, content string) (path string) {
	s.t.Helper()
	path = filepath.Join(folder, content+".png")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	_, err := s.pool.Exec(s.t.Context(), `
		INSERT INTO artifacts (job_id, idx, call_id, mime, size, sha256, url)
		SELECT job_id, 0, call_id, 'image/png', 3, sha256($2::bytea), $3 FROM results WHERE job_id::text = $1`, id, []byte(content), "file://"+path)
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

func TestARemovedBatchLeavesATombstoneAndItsCost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	folder := t.TempDir()
	config := filepath.Join(folder, "oneflow.yaml")
	if err := os.WriteFile(config, []byte("artifacts: "+folder+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rm := func(args ...string) result { return s.enqueue(append([]string{"rm", "--config", config}, args...)...) }
	path := file(t, strings.Split(strings.TrimSpace(lines(1, 3)), "\n")...)
	for _, id := range []string{"b1", "other"} {
		if r := s.enqueue("batch", path, "--batch-id", id); r.code != cli.OK {
			t.Fatalf("%+v", r)
		}
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY batch_id, seq) FROM jobs`)
	s.finish(ids[0], "one", "")
	if r := rm("b1", "--yes"); r.code != cli.Usage || !strings.Contains(r.err, "b1 has not finished: wait for it (enqueue watch b1) or cancel it first (enqueue cancel b1)") {
		t.Errorf("an unfinished batch: %+v", r)
	}
	s.finish(ids[1], "two", "")
	s.finish(ids[2], "", "the key was refused")
	s.finish(ids[3], "one", "")
	own, shared := s.withFile(folder, ids[0], "own"), s.withFile(folder, ids[1], "shared")
	s.withFile(folder, ids[3], "shared")

	if r := rm("b1"); r.code != cli.Usage || !strings.Contains(r.err, "Remove batch b1 for good: 3 jobs with their results, and 1 file? There is no terminal to ask on: say --yes") || s.jobs() != 6 {
		t.Errorf("without --yes: %+v", r)
	}
	spent := one[int64](s, `SELECT sum(cost_nano)::bigint FROM calls`)
	if r := rm("b1", "--yes"); r.code != cli.OK || r.out != "removed 3 jobs and 1 file; the id b1 is refused from now on\n" {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(own); !os.IsNotExist(err) {
		t.Errorf("its file is still there: %v", err)
	}
	if _, err := os.Stat(shared); err != nil {
		t.Errorf("a file that another batch has is gone: %v", err)
	}
	if n := one[int64](s, `SELECT (SELECT count(*) FROM jobs WHERE batch_id = 'b1') + (SELECT count(*) FROM results) + (SELECT count(*) FROM artifacts) + (SELECT count(*) FROM job_states WHERE batch_id = 'b1')`); n != 2 {
		t.Errorf("%d rows are left, want the other batch's result and file", n)
	}
	if got := one[int64](s, `SELECT sum(cost_nano)::bigint FROM calls`); got != spent {
		t.Errorf("the ledger says %d, want %d", got, spent)
	}
	storetest.Invariants(t, s.pool)

	// A rerun must not buy everything anew.
	if r := s.enqueue("batch", path, "--batch-id", "b1"); r.code != cli.Usage || !strings.Contains(r.err, "batch b1 was removed, and its id is not used again") || s.jobs() != 3 {
		t.Errorf("a rerun: %+v", r)
	}
	if r := s.enqueue("batch", path, "--batch-id", "b1", "--append", "-o", "json"); r.code != cli.Usage || s.report(r) != (report{"b1", 0, 0, 0}) {
		t.Errorf("--append: %+v", r)
	}
	for _, args := range [][]string{{"export", "b1"}, {"jobs", "b1"}, {"retry", "b1"}, {"resume", "b1"}} {
		if r := s.enqueue(args...); r.code != cli.Usage || !strings.Contains(r.err, "the batch was removed") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := s.enqueue("cost", "b1"); r.code != cli.Usage || !strings.Contains(r.err, "the batch was removed: `enqueue cost --by batch` still has what it cost") {
		t.Errorf("%+v", r)
	}
	if st := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out); st.State != jobs.BatchRemoved {
		t.Errorf("%+v", st)
	}
	if list := decoded[[]listed](t, s.enqueue("ls", "-o", "json").out); len(list) != 1 || list[0].ID != "other" {
		t.Errorf("%+v", list)
	}
	if list := decoded[[]listed](t, s.enqueue("ls", "--state", "removed", "-o", "json").out); len(list) != 1 || list[0].ID != "b1" || list[0].RemovedAt.IsZero() {
		t.Errorf("%+v", list)
	}
	if r := rm("b1", "--yes"); r.code != cli.OK || !strings.HasPrefix(r.out, "removed 0 jobs and 0 files") {
		t.Errorf("again: %+v", r)
	}
}

func TestNoFileIsRemovedWhilePicturesAreMade(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	folder := t.TempDir()
	if r := s.run(t.Context(), strings.NewReader(lines(1, 1)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	id := one[string](s, `SELECT id::text FROM jobs`)
	s.finish(id, "one", "")
	path := s.withFile(folder, id, "own")
	picture := strings.TrimSpace(s.enqueue("image", "a lighthouse").out)
	if _, err := s.pool.Exec(t.Context(), `UPDATE job_queue SET worker_id = gen_random_uuid() WHERE job_id::text = $1`, picture); err != nil {
		t.Fatal(err)
	}
	r := s.enqueue("rm", "b1", "--yes")
	if _, err := os.Stat(path); r.code != cli.Failure || !strings.Contains(r.err, "run this again when it has ended, or with --keep-files") || err != nil || s.jobs() != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	r = s.enqueue("rm", "b1", "--yes", "--keep-files")
	if _, err := os.Stat(path); r.code != cli.OK || err != nil || s.jobs() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBatchesAreListedByStateAgeSourceAndAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, id := range []string{"running", "finished", "partial", "cancelled", "old"} {
		args := []string{"batch", file(t, strings.TrimSpace(lines(1, 1))), "--batch-id", id}
		if id == "old" {
			args = append(args, "--account", "acme")
		}
		if r := s.enqueue(args...); r.code != cli.OK {
			t.Fatalf("%+v", r)
		}
		job := one[string](s, `SELECT id::text FROM jobs WHERE batch_id = $1`, id)
		switch id {
		case "finished", "old":
			s.finish(job, "one", "")
		case "partial":
			s.finish(job, "", "the key was refused")
		case "cancelled":
			s.enqueue("cancel", id)
		}
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE batches SET created_at = now() - interval '8 days', source = 'Nightly.csv' WHERE id = 'old'`); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                           "cancelled partial finished running old",
		"--state running":            "running",
		"--state finished":           "finished old",
		"--state partial":            "partial",
		"--state cancelled":          "cancelled",
		"--state paused":             "",
		"--since 7d":                 "cancelled partial finished running",
		"--source nightly":           "old",
		"--account acme":             "old",
		"--limit 2":                  "cancelled partial",
		"--state finished --limit 1": "finished",
	} {
		r := s.enqueue(append([]string{"ls", "-o", "json"}, strings.Fields(args)...)...)
		var ids []string
		for _, b := range decoded[[]listed](t, r.out) {
			ids = append(ids, b.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	if r := s.enqueue("ls", "--state", "green"); r.code != cli.Usage || !strings.Contains(r.err, "--state: must be open, running, ") {
		t.Errorf("%+v", r)
	}
}

func TestOnlyFailuresOfOneClassAreRetried(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.run(t.Context(), strings.NewReader(lines(1, 3)), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	for _, id := range one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`) {
		s.finish(id, "", "no")
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE job_states SET error_class = 'rate_limited' WHERE job_id = (SELECT id FROM jobs WHERE seq = 2)`); err != nil {
		t.Fatal(err)
	}
	if r := s.enqueue("retry", "b1", "--failed", "--class", "rate_limited"); r.code != cli.OK || r.out != "queued 1 jobs again\n" {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT string_agg(state, ' ' ORDER BY seq) FROM jobs JOIN job_states ON job_id = id`); got != "failed queued failed" {
		t.Error(got)
	}
	if r := s.enqueue("retry", "b1", "--failed"); r.out != "queued 2 jobs again\n" {
		t.Errorf("%+v", r)
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

// TestTheExamplesOfThePageAboutBatchesRun runs each block of docs/batches.md as a person
// would, in a folder with the files that it names.
func TestTheExamplesOfThePageAboutBatchesRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	const questions = "custom_id,question,topic\n1,Why?,a\n2,What?,b\n3,Who?,\n"
	for name, text := range map[string]string{
		"prompts.jsonl": "{\"prompt\":\"hello\"}\n", "questions.csv": questions, "questions.csv.gz": packed(t, questions), "prompt.txt": "{{topic}}: {{question}}\n",
		"reviews.csv": "review\nIt broke.\nIt works.\n", "folder/a.txt": "one\n", "folder/b.csv": "prompt\ntwo\n",
		"pictures/a.png": png, "pictures/b.png": png + "b", "recordings/a.mp3": mp3,
	} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runPage(t, s, "batches.md", dir)
	want := map[string]int64{"a": 1, "b": 3, "c": 2, "d": 3, "e": 3, "f": 2, "g": 1, "h": 2, "i": 1}
	for id, n := range want {
		if got := one[int64](s, `SELECT count(*) FROM jobs WHERE batch_id = $1`, id); got != n {
			t.Errorf("batch %s has %d jobs, want %d", id, got, n)
		}
	}
	for _, name := range []string{"results.csv", "failed.csv", "results.parquet", "results.jsonl", "table.csv", "for-excel.csv"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheExamplesOfThePageAboutSchedulesRun(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prompts.jsonl"), []byte("{\"prompt\":\"hello\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runPage(t, s, "schedules.md", dir)
	if n := one[int64](s, `SELECT count(*) FROM schedules`); n != 3 {
		t.Errorf("%d schedules, want 3", n)
	}
}

// TestTheExamplesOfThePageAboutMoneyRun runs those of docs/money.md, in their order.
func TestTheExamplesOfThePageAboutMoneyRun(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples/rate-cards"), os.DirFS("../../examples/rate-cards")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "prompts.jsonl"), []byte("{\"prompt\":\"hello\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.enqueue("batch", filepath.Join(dir, "prompts.jsonl"), "--batch-id", "nightly"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	runPage(t, s, "money.md", dir)
	var budgets, wallets int64
	if budgets, wallets = one[int64](s, `SELECT count(*) FROM budgets WHERE NOT wallet`), one[int64](s, `SELECT count(*) FROM budgets WHERE wallet AND limit_nano = 20000000000 AND card IS NULL`); budgets != 2 || wallets != 1 {
		t.Errorf("%d budgets and %d wallets of $20 are left, want 2 and 1", budgets, wallets)
	}
}

// runPage runs each line of the blocks of a page of docs in a folder.
func runPage(t *testing.T, s *site, name, dir string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no examples", name)
	}
	path := filepath.Dir(binary(t)) + ":" + os.Getenv("PATH")
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", "set -e\n"+line)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+path, "DATABASE_URL="+s.database, "REDIS_URL="+s.redis)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s%v\n%s", line, err, out)
			}
		}
	}
}

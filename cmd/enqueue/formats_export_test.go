package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/internal/cli"
)

func TestTheInputsColumnsComeBackWithTheResults(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := write(t, "in.csv", "id;question;label\nx;why?;red\ny;what?;\nz;who?;blue\n")
	r := s.enqueue("batch", path, "--map", "prompt=question", "--map", "custom_id=id", "--batch-id", "b1")
	if r.code != cli.OK || !strings.Contains(r.err, "enqueue: kept with the rows and not sent to a provider: id, question, label\n") {
		t.Fatalf("%+v", r)
	}
	ids := one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`)
	s.finish(ids[0], "because", "")
	s.finish(ids[2], "", "the key was refused")
	dir := t.TempDir()
	out, failed := filepath.Join(dir, "out.csv"), "file://"+dir+"/failed.csv"
	r = s.enqueue("export", "b1", "--format", "csv", "--with", "text,state", "--out", out, "--errors", failed)
	if r.code != cli.OK || !strings.HasPrefix(r.err, "wrote 2 lines to "+out+"\nwrote 1 jobs without a result to "+failed+"\n") {
		t.Errorf("%+v", r)
	}
	const header = "custom_id,id,question,label,text,state\n"
	got, _ := os.ReadFile(out)
	if want := header + "x,x,why?,red,because,succeeded\ny,y,what?,,,queued\n"; string(got) != want {
		t.Errorf("%q", got)
	}
	got, _ = os.ReadFile(filepath.Join(dir, "failed.csv"))
	if want := header + "z,z,who?,blue,,failed\n"; string(got) != want {
		t.Errorf("%q", got)
	}
	if r := s.enqueue("export", "b1"); !strings.Contains(r.out, `"columns":{"id":"x","question":"why?","label":"red"}`) {
		t.Errorf("%+v", r)
	}
}

func TestPicturesAreCopiedIntoAFolderUnderTheirIDs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.enqueue("batch", write(t, "in.jsonl", "{\"custom_id\":\"cat\",\"prompt\":\"a\"}\n{\"custom_id\":\"../a dog\",\"prompt\":\"b\"}\n{\"prompt\":\"c\"}\n"), "--task", "image", "--batch-id", "b1")
	if r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	kept := write(t, "kept.png", "a picture")
	for i, id := range one[[]string](s, `SELECT array_agg(id::text ORDER BY seq) FROM jobs`) {
		s.finish(id, "", "")
		for idx := range 2 - i%2 {
			if _, err := s.pool.Exec(t.Context(), `INSERT INTO artifacts (job_id, call_id, idx, url, mime, size, sha256) VALUES ($1, (SELECT call_id FROM call_jobs WHERE job_id = $1), $2, $3, 'image/png', 9, $4)`, id, idx, "file://"+kept, make([]byte, 32)); err != nil {
				t.Fatal(err)
			}
		}
	}
	folder := filepath.Join(t.TempDir(), "pictures")
	r = s.enqueue("export", "b1", "--format", "csv", "--with", "files", "--files", folder)
	if r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	var got []string
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(folder, e.Name()))
		got = append(got, e.Name()+"="+string(data))
	}
	want := []string{"000003-2.png=a picture", "000003.png=a picture", "_.._a_dog-000002.png=a picture", "cat-2.png=a picture", "cat.png=a picture"}
	if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(r.out, "cat,"+folder+"/cat.png "+folder+"/cat-2.png\n") {
		t.Errorf("%s%+v", diff, r)
	}
}

func TestAnExportIsInTheFormatThatItsFileIsCalledAndSaysWhatItReplaces(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enqueue("batch", write(t, "a.csv", "prompt,team\nx,red\n"), "--batch-id", "b")
	for name, c := range map[string]struct {
		args  []string
		start string
	}{
		"a.csv": {nil, "custom_id,team,"}, "A.CSV": {nil, "custom_id,team,"}, "a.parquet": {nil, "PAR1"}, "a.jsonl": {nil, `{"id"`}, "b.csv": {[]string{"--format", "openai"}, `{"id"`},
	} {
		out := filepath.Join(t.TempDir(), name)
		for n := range 2 {
			r := s.enqueue(append([]string{"export", "b", "--out", out}, c.args...)...)
			if r.code != cli.OK || strings.Contains(r.err, "in place of the file that was there") != (n == 1) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if data, err := os.ReadFile(out); err != nil || !strings.HasPrefix(string(data), c.start) {
			t.Errorf("%s: %.60s, %v", name, data, err)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

// beginnings of files by which they are known.
const (
	png = "\x89PNG\r\n\x1a\n"
	mp3 = "ID3\x04"
	pdf = "%PDF-1.7\n"
)

// folderOf writes the files of a folder of the test's own.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "all")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEachPictureOfAFolderIsARow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := folderOf(t, map[string]string{"b.png": png + "b", "a.png": png + "a", "more/c.pdf": pdf, "more/.DS_Store": "x", "_old/d.png": png})
	args := []string{"batch", dir, "--batch-id", "b", "--template", "What is <this>?", "-o", "json"}
	if r := s.enqueue(append(args, "--dry-run")...); r.code != cli.OK || decoded[forecast](t, r.out).Rows != 3 || s.jobs() != 0 {
		t.Errorf("dry run: %+v", r)
	}
	if r := s.enqueue(append(args, "--limit", "2")...); r.code != cli.OK || s.report(r) != (report{"b", 2, 0, 0}) {
		t.Fatalf("%+v", r)
	}
	if r := s.enqueue(args...); r.code != cli.OK || s.report(r) != (report{"b", 1, 2, 0}) {
		t.Errorf("the rerun adds what is missing: %+v", r)
	}
	const all = `SELECT string_agg(custom_id || ' ' || (request #>> '{messages,0,content,0,text}') || ' ' || (request #>> '{messages,0,content,1,type}') || ' '
		|| convert_from(decode(request #>> '{messages,0,content,1,data}', 'base64'), 'LATIN1'), '|' ORDER BY seq) FROM jobs WHERE batch_id = 'b'`
	if got, want := one[string](s, all), "a.png What is <this>? image \u0089PNG\r\n\x1a\na|b.png What is <this>? image \u0089PNG\r\n\x1a\nb|more/c.pdf What is <this>? document "+pdf; got != want {
		t.Errorf("%q", got)
	}
	for want, args := range map[string][]string{
		"was made with another --template than this": {"--template", "And what is this?"},
		"--set prompt=…: --template says what is":    {"--set", "prompt=x", "--template", "a b"},
		"there is no such file, and a prompt has":    {"--template", "promt.txt"},
		"--map: a row that is a file has no columns": {"--template", "a b", "--map", "custom_id=file"},
		"with --template 'Describe this picture'":    {},
		"--task image: is not about files":           {"--task", "image", "--template", "a b"},
	} {
		if r := s.enqueue(append([]string{"batch", dir, "--batch-id", "b"}, args...)...); r.code != cli.Usage || !strings.Contains(r.err, want) {
			t.Errorf("%q: %+v", want, r)
		}
	}
	// The name of the file may be asked about, too, and one file is a folder of one.
	if r := s.enqueue("batch", filepath.Join(dir, "a.png"), "--batch-id", "c", "--template", "Is {{file}} a good name?"); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	if got := one[string](s, `SELECT request #>> '{messages,0,content,0,text}' FROM jobs WHERE batch_id = 'c'`); got != "Is a.png a good name?" {
		t.Error(got)
	}
}

func TestEachSoundOfAFolderIsTranscribed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := folderOf(t, map[string]string{"a.mp3": mp3 + "a", "b.mp3": mp3 + "b", "long.mp3": mp3 + strings.Repeat("x", 13<<20), "empty.mp3": mp3})
	os.Truncate(filepath.Join(dir, "empty.mp3"), 0)
	// An empty file is no sound: as long as it is there, the folder is one of rows.
	if r := s.enqueue("batch", dir, "--task", "transcription"); r.code != cli.Usage || !strings.Contains(r.err, "--format files makes a row of each file") {
		t.Errorf("%+v", r)
	}
	r := s.enqueue("batch", dir, "--task", "transcription", "--format", "files", "--batch-id", "b", "-o", "json")
	if r.code != cli.Failure || s.report(r) != (report{"b", 2, 0, 2}) {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"long.mp3: \"long.mp3\": the files of a row may hold 12 MiB together, and with this one they have ", "empty.mp3: \"empty.mp3\": is empty\n"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("%q is missing: %s", want, r.err)
		}
	}
	if got := one[string](s, `SELECT string_agg(custom_id || task, ' ' ORDER BY seq) FROM jobs`); got != "a.mp3transcription b.mp3transcription" {
		t.Error(got)
	}
	for _, args := range [][]string{{"batch", "-", "--format", "files"}, {"schedule", "add", "x", "--every", "6h", "--", "batch", filepath.Join(dir, "a.mp3"), "--format", "files"}} {
		if r := s.enqueue(args...); r.code != cli.Usage || !strings.Contains(r.err, "--format files: ") {
			t.Errorf("%+v", r)
		}
	}
}

// Pictures beside rows are what rows name.
func TestAFolderOfPicturesAndRowsIsNoneOfFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := folderOf(t, map[string]string{"a.png": png, "rows.jsonl": `{"messages":[{"role":"user","content":[{"type":"image","file":"a.png"}]}]}`})
	if r := s.enqueue("batch", dir, "--template", "What is this?"); r.code != cli.Usage || !strings.Contains(r.err, "a.png: is image/png and no text") || !strings.Contains(r.err, "--format files makes a row of each file") {
		t.Errorf("%+v", r)
	}
	if r := s.enqueue("batch", filepath.Join(dir, "rows.jsonl")); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
}

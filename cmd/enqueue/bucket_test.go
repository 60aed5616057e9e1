package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"oneflow/internal/cli"
)

// bucket is a server of one bucket that speaks as much of S3 as reading and writing objects
// takes.
func bucket(t *testing.T, objects map[string]string) (address string, get func(string) string) {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch key := strings.TrimPrefix(r.URL.Path, "/rows/"); r.Method {
		case http.MethodPut:
			data, _ := io.ReadAll(r.Body)
			objects[key] = string(data)
		default:
			data, ok := objects[key]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
				return
			}
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			io.WriteString(w, data)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "?region=eu-west-1&endpoint=" + server.URL, func(key string) string {
		mu.Lock()
		defer mu.Unlock()
		return objects[key]
	}
}

//nolint:paralleltest // it sets the environment
func TestABatchIsReadFromAURLAndExportedToOne(t *testing.T) {
	const table = "custom_id,prompt\n1,one\n2,two\n"
	at, get := bucket(t, map[string]string{"in/q.csv": table, "in/q.csv.gz": packed(t, table), "in/files.jsonl": `{"messages":[{"role":"user","content":[{"type":"image","file":"a.png"}]}]}` + "\n"})
	s := newSite(t)
	here := write(t, "q.csv", table)
	for id, from := range map[string]string{"s3": "s3://rows/in/q.csv" + at, "gz": "s3://rows/in/q.csv.gz" + at, "file": "file://" + here} {
		for i, want := range []report{{id, 2, 0, 0}, {id, 0, 2, 0}} {
			if r := s.enqueue("batch", from, "--batch-id", id, "-o", "json"); r.code != cli.OK || s.report(r) != want {
				t.Errorf("%s, run %d: %+v", from, i+1, r)
			}
		}
		if r := s.enqueue("batch", from, "--dry-run"); r.code != cli.OK || !strings.Contains(r.out, "rows        2\n") {
			t.Errorf("%s: %+v", from, r)
		}
	}
	const result = "custom_id,state\n1,queued\n2,queued\n"
	folder := t.TempDir()
	if r := s.enqueue("export", "s3", "--format", "csv", "--with", "state", "--out", "s3://rows/out/r.csv"+at); r.code != cli.OK || !strings.Contains(get("out/r.csv"), result) {
		t.Errorf("%+v: %q", r, get("out/r.csv"))
	}
	if r := s.enqueue("export", "file", "--format", "csv", "--with", "state", "--out", "file://"+filepath.Join(folder, "r.csv")); r.code != cli.OK {
		t.Errorf("%+v", r)
	}
	if data, err := os.ReadFile(filepath.Join(folder, "r.csv")); err != nil || string(data) != result {
		t.Errorf("%v: %q", err, data)
	}
	for from, want := range map[string]string{
		"s3://rows/in/none.csv" + at:           "read s3://rows/in/none.csv: ",
		"file://" + filepath.Join(folder, "x"): "no such file",
		"s3://rows/in/files.jsonl" + at:        "no files are read here: give the content as data, in base64",
		"s3://rows/in" + at:                    "one object is read, and no folder of them",
		"s3://rows/in/" + at:                   "copy the folder here (aws s3 cp --recursive s3://rows/in/ FOLDER) and give its path",
		"s3://rows" + at:                       "is a folder in a bucket",
		"gs://rows/in/":                        "gcloud storage cp --recursive gs://rows/in/ FOLDER",
		"file://" + folder:                     "give the folder's path, " + folder,
	} {
		r := s.enqueue("batch", from)
		if r.code == cli.OK || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v", from, r)
		}
	}
	for from, want := range map[string]string{"s3://rows/in/" + at: "copy the folder here", folder: "have cron run `enqueue batch`"} {
		if r := s.enqueue("schedule", "add", "x", "--every", "6h", "--", "batch", from, "--template", "Describe this picture"); r.code != cli.Usage || !strings.Contains(r.err, want) {
			t.Errorf("a schedule of %s: %+v", from, r)
		}
	}
}

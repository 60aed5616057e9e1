package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/migrations"
	"oneflow/store"
)

func TestAConnectionThatFailsDoesNotTellThePassword(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, url := range []string{
		"postgres://me:" + secret + "@127.0.0.1:1/x", "postgres://me:" + secret + "@host:port%%/x", "me:" + secret,
	} {
		s, err := store.Open(t.Context(), url)
		if err == nil {
			s.Close()
		}
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

func TestTheSchemasVersionIsKnown(t *testing.T) {
	t.Parallel()
	url := storetest.Database(t)
	s := openStore(t, url)
	latest, err := migrations.Latest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.SchemaVersion(t.Context()); got != latest || err != nil {
		t.Errorf("%d, %v, want %d", got, err, latest)
	}
	if err := migrations.Down(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := s.SchemaVersion(t.Context()); got != 0 || err != nil {
		t.Errorf("%d, %v after Down, want 0", got, err)
	}
}

func TestAnExportHoldsEachJobOnceInTheOrderOfItsInput(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	d := w.batch(t, "b", 3)
	w.batch(t, "other", 2)
	done := w.mustClaim(t, d[1])
	answer := success(done, w.sent(t, done, nano(5)), nano(5))
	answer.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 1, URL: "file:///0"}, {MIME: "image/png", Size: 2, URL: "file:///1"}}
	if err := w.Succeed(ctx, answer); err != nil {
		t.Fatal(err)
	}
	failed := w.mustClaim(t, d[0])
	if _, err := w.Complete(ctx, jobs.Completion{JobID: failed.ID, LeaseToken: failed.LeaseToken, State: jobs.Failed, Class: "moderated", Message: "no"}); err != nil {
		t.Fatal(err)
	}
	export := func(id string) (out []batches.Record, err error) {
		err = w.Export(ctx, id, func(r batches.Record) error {
			out = append(out, r)
			return nil
		})
		return out, err
	}
	got, err := export("b")
	if err != nil || len(got) != 3 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i, r := range got {
		if r.ID != d[i].ID.String() {
			t.Errorf("record %d is of another job", i)
		}
	}
	if r := got[0]; r.State != jobs.Failed || r.ErrorClass != "moderated" || r.ErrorMessage != "no" || r.Text != "" {
		t.Errorf("%+v", r)
	}
	if r := got[1]; r.State != jobs.Succeeded || r.Text != "answer" || r.Cost != 5 || r.Calls != 1 || len(r.Artifacts) != 2 || r.Artifacts[1].URL != "file:///1" {
		t.Errorf("%+v", r)
	}
	one, err := export(d[1].ID.String())
	if diff := cmp.Diff(got[1:2], one); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := export("missing"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("%v", err)
	}
	stop := errors.New("the pipe is closed")
	if err := w.Export(ctx, "b", func(batches.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

package store_test

import (
	"errors"
	"testing"

	"oneflow/jobs"
)

func TestABatchTakesRowsOfItsOwnSortOnly(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	made := jobs.Batch{ID: "b", Account: "acme", Origin: "/a", Options: map[string]string{"--model": "x"}, Tags: map[string]string{"team": "a"}, First: "new"}
	// Whoever opened it before had brought no row, and whatever was said then is said no more.
	must(t, w.OpenBatch(ctx, jobs.Batch{ID: "b", Account: "other", Origin: "/b", Options: map[string]string{"--model": "y"}, Tags: map[string]string{"team": "b"}}))
	must(t, w.OpenBatch(ctx, made))
	if _, err := w.AcceptJobs(ctx, "b", rows(t, 1, nil), false); err != nil {
		t.Fatal(err)
	}
	if options, err := w.BatchOptions(ctx, "b"); err != nil || options["--model"] != "x" {
		t.Fatal(options, err)
	}
	if options, err := w.BatchOptions(ctx, "none"); err != nil || options != nil {
		t.Fatal(options, err)
	}
	for what, c := range map[string]struct {
		change func(*jobs.Batch)
		says   string
	}{
		"the same":            {func(*jobs.Batch) {}, ""},
		"nothing is said":     {func(b *jobs.Batch) { b.Tags, b.Options, b.Account = nil, nil, "" }, ""},
		"another account":     {func(b *jobs.Batch) { b.Account, b.Append = "other", true }, "the batch has account acme, not other"},
		"another tag's value": {func(b *jobs.Batch) { b.Tags, b.Append = map[string]string{"team": "b"}, true }, "the batch has tag team=a, not team=b"},
		"one more tag":        {func(b *jobs.Batch) { b.Tags, b.Append = map[string]string{"team": "a", "x": "y"}, true }, "the batch has no tag x, not x=y"},
		"another option":      {func(b *jobs.Batch) { b.Options = map[string]string{"--model": "y"} }, "the batch was made with --model x, not y"},
		"one more option":     {func(b *jobs.Batch) { b.Options = map[string]string{"--model": "x", "--seed": "1"} }, "the batch was made with --seed none, not 1"},
		"appended":            {func(b *jobs.Batch) { b.Options, b.Origin, b.Append = map[string]string{"--model": "y"}, "/b", true }, ""},
		"another file":        {func(b *jobs.Batch) { b.Origin = "/b" }, jobs.ErrOtherSource.Error()},
	} {
		b := made
		c.change(&b)
		err := w.OpenBatch(ctx, b)
		for inner := err; inner != nil; inner = errors.Unwrap(inner) {
			err = inner
		}
		if err != nil && err.Error() != c.says || err == nil && c.says != "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

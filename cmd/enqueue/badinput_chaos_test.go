//go:build chaos

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

// It takes about a minute. --strict reads all of it and accepts nothing.
func TestAMillionLinesOfWhichOneInAHundredIsBadAreReadInLittleMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	rows := &generated{lines: 1_000_000, row: func(n int) string {
		if n%100 == 0 {
			return fmt.Sprintf(`{"custom_id":"customer-%d","prompt":"row %d","promt":1}`, n, n)
		}
		return fmt.Sprintf(`{"custom_id":"customer-%d","prompt":"row %d"}`, n, n)
	}}
	var errs bytes.Buffer
	code, out := s.child(binary(t), rows, &errs, "--strict", "--batch-id", "b1")
	if got := s.report(result{out: out}); code != cli.Failure || got != (report{"b1", 0, 0, 10_000}) {
		t.Errorf("exit code %d, %+v", code, got)
	}
	if got := len(places("stdin", errs.String())); got != 1+maxReported || !strings.HasPrefix(errs.String(), "stdin:100: unknown field") {
		t.Errorf("%d lines are named: %s", got, errs.String())
	}
}

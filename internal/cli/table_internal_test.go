package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestATableFitsTheTerminalAndLosesNothing(t *testing.T) {
	t.Parallel()
	rows := [][]string{
		{"BATCH", "STATE", "COST", "WHY"},
		{"b-1", "running", "$0.12", "the limit of openai, which takes 60 requests/min"},
		{"b-2", "finished", "-", ""},
	}
	for width, want := range map[int]string{
		0: `BATCH  STATE     COST   WHY
b-1    running   $0.12  the limit of openai, which takes 60 requests/min
b-2    finished  -      
`,
		40: `BATCH  STATE     COST
b-1    running   $0.12
    why the limit of openai, which takes
    60 requests/min
b-2    finished  -
`,
		18: `BATCH  STATE
b-1    running
    cost $0.12,
    why the limit
    of openai,
    which takes 60
    requests/min
b-2    finished
`,
	} {
		var out strings.Builder
		if err := table(&out, rows, width); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%d columns:\n%s", width, diff)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if width > 0 && len(line) > width {
				t.Errorf("%d columns: %q is longer", width, line)
			}
		}
	}
}

func TestFieldsAreWrappedUnderTheirValue(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := fields(&out, [][]string{{"batch", "b-1"}, {"waits", "500 jobs: the breaker of openai is open since 12:00:00 UTC"}}, 40); err != nil {
		t.Fatal(err)
	}
	const want = `batch  b-1
waits  500 jobs: the breaker of openai
       is open since 12:00:00 UTC
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTextsStandBesideEachOtherWhereTheyFit(t *testing.T) {
	t.Parallel()
	columns := []Column{
		{"one", "The quick brown fox\njumps over the lazy dog, and then it sleeps for a long while", "$1"},
		{"two", "short", "$2"},
	}
	for width, want := range map[int]string{
		50: `one                       two
The quick brown fox       short
jumps over the lazy dog…
$1                        $2
`,
		40: `one
The quick brown fox jumps over the lazy
dog, and then it sleeps for a long while
$1
two
short
$2
`,
	} {
		var out strings.Builder
		if err := sideBySide(&out, columns, 2, width); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%d (-want +got):\n%s", width, diff)
		}
	}
}

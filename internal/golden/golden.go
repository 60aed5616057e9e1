// Package golden compares what a test has got with a file that holds what is expected, such as
// a page or a table. UPDATE_GOLDEN=1 go test ./... writes the files anew. It imports nothing of
// ours, and is for tests alone.
package golden

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Compare fails the test unless got is the content of the file of that name in the folder
// testdata.
func Compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path) //nolint:gosec // a file of the test's own
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); look at it, and UPDATE_GOLDEN=1 go test writes it anew:\n%s", path, diff)
	}
}

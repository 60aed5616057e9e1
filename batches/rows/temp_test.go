package rows_test

import (
	"path/filepath"
	"strings"
	"testing"

	"oneflow/batches/rows"
)

func TestATemporaryFileThatCannotBeMadeIsToldByItsFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	t.Setenv("TMPDIR", folder)
	_, err := rows.Spool(strings.NewReader("x"))
	if err == nil || !strings.Contains(err.Error(), "temporary file to "+folder+": no such file or directory: set TMPDIR") || strings.Contains(err.Error(), "oneflow-") {
		t.Errorf("%v, want the folder and the way out, and no name of a file", err)
	}
}

package chaos

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestTheCommandsAsShippedHaveNoFailpoints looks for the one variable that arms
// them.
func TestTheCommandsAsShippedHaveNoFailpoints(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"worker", "enqueue"} {
		program, err := os.ReadFile(filepath.Join(release, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(program, []byte("ONEFLOW_FAILPOINTS")) {
			t.Errorf("%s knows failpoints", name)
		}
		if !bytes.Contains(program, []byte("ONEFLOW_CONFIG")) { // this test would notice it
			t.Errorf("%s does not hold the names of its variables", name)
		}
	}
}

package structure_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The image is built from what .dockerignore lets through: a package that is not named there
// is missing, and nothing else notices.
func TestTheImageIsBuiltFromAllPackages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	let := strings.Split(string(text), "\n")
	missing := map[string]bool{}
	for _, file := range files {
		missing[filepath.Base(filepath.Dir(file))] = true
	}
	for _, line := range let {
		delete(missing, strings.TrimPrefix(line, "!"))
	}
	for name := range missing {
		t.Errorf(".dockerignore leaves out the package %s", name)
	}
}

//go:build web

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestTheVendoredScriptsInARealBrowserAreTheirAuthors holds the monitor's uPlot to the package that npm
// installs, whose hash its lock names.
func TestTheVendoredScriptsInARealBrowserAreTheirAuthors(t *testing.T) {
	t.Parallel()
	for ours, theirs := range map[string]string{"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"} {
		want, err := os.ReadFile(filepath.Join("testdata/axe/node_modules/uplot", theirs))
		if err != nil {
			t.Fatalf("%v: `make test-web` installs it", err)
		}
		got, err := os.ReadFile(filepath.Join("../../monitor/assets/uplot", ours))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not that of the package: %v", ours, err)
		}
	}
}

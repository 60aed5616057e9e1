package structure_test

import (
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vendors stands in the picture for the folder of any vendor.
const vendors = "providers/<name>"

// leaves may be imported by every package.
var leaves = []string{"internal/sleep", "internal/failpoint", "internal/media"}

// picture reads CONTRIBUTING.md: by package, those that it imports.
func picture(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(root + "/CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "## Where things go")
	drawn, name := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		left, right, arrow := strings.Cut(line, "→")
		if words := strings.Fields(left); len(words) > 0 && !strings.HasPrefix(line, " ") {
			name = words[0]
		}
		if !arrow {
			continue
		}
		drawn[name] = nil
		if right = strings.TrimSpace(right); right != "nothing of ours" {
			drawn[name] = strings.Split(right, ", ")
		}
	}
	if len(drawn) < 15 {
		t.Fatalf("only %d packages were found in CONTRIBUTING.md", len(drawn))
	}
	return drawn
}

// inPicture is the name that a package has in the picture.
func inPicture(pkg string, drawn map[string][]string) string {
	if _, named := drawn[pkg]; !named && path.Dir(pkg) == "providers" {
		return vendors
	}
	return pkg
}

func TestTheArrowsInContributingAreTheImports(t *testing.T) {
	t.Parallel()
	drawn := picture(t)
	actual := map[string]map[string]bool{}
	for _, f := range source(t) {
		pkg := strings.TrimPrefix(f.pkg, module+"/")
		if f.test || strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "internal/") || pkg == "providers/providertest" {
			continue
		}
		pkg = inPicture(pkg, drawn)
		if actual[pkg] == nil {
			actual[pkg] = map[string]bool{}
		}
		for _, i := range f.Imports {
			if imported, err := strconv.Unquote(i.Path.Value); err == nil && strings.HasPrefix(imported, module+"/") {
				if to := inPicture(strings.TrimPrefix(imported, module+"/"), drawn); !slices.Contains(leaves, to) {
					actual[pkg][to] = true
				}
			}
		}
	}
	for pkg, imports := range actual {
		arrows, there := drawn[pkg]
		if !there {
			t.Errorf("CONTRIBUTING.md does not draw the package %s: say what it is for, and → what it imports", pkg)
			continue
		}
		for _, to := range slices.Sorted(maps.Keys(imports)) {
			if !slices.Contains(arrows, to) {
				t.Errorf("%s imports %s, and CONTRIBUTING.md has no such arrow", pkg, to)
			}
		}
		for _, to := range arrows {
			if !imports[to] {
				t.Errorf("CONTRIBUTING.md has the arrow %s → %s, and there is no such import", pkg, to)
			}
		}
	}
	for pkg := range drawn {
		if actual[pkg] == nil {
			t.Errorf("CONTRIBUTING.md draws the package %s, and there is none", pkg)
		}
	}
}

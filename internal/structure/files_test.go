package structure_test

import (
	"go/ast"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPackageIsDescribedInAFileNamedAfterItOrItsMainType(t *testing.T) {
	t.Parallel()
	described := 0
	for _, f := range source(t) {
		if f.Doc == nil || f.test {
			continue
		}
		described++
		name := strings.TrimSuffix(filepath.Base(f.path), ".go")
		if name != filepath.Base(f.pkg) && name != f.Name.Name && !f.declares(name) {
			t.Errorf("%s: describes the package %s, and is named neither after it nor after a type that it exports", f.path, f.pkg)
		}
	}
	if described < 40 {
		t.Errorf("only %d packages are described", described)
	}
}

// declares reports whether a file exports a type whose name is that of the file.
func (f file) declares(name string) bool {
	for _, d := range f.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range group.Specs {
			if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() && strings.EqualFold(s.Name.Name, name) {
				return true
			}
		}
	}
	return false
}

package structure_test

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/token"
	"go/types"
	"os/exec"
	"strings"
	"testing"
)

// widest is the most methods that an interface of ours may have, with those that it embeds.
const widest = 8

// declared is an interface, and the file that declares it.
type declared struct {
	*ast.InterfaceType
	in file
}

func TestNoInterfaceOfOursIsWide(t *testing.T) {
	t.Parallel()
	ours := map[string]declared{}
	for _, f := range source(t) {
		ast.Inspect(f.File, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if i, ok := spec.Type.(*ast.InterfaceType); ok {
					ours[f.pkg+"."+spec.Name.Name] = declared{i, f}
				}
			}
			return true
		})
	}
	if len(ours) < 20 {
		t.Fatalf("only %d interfaces were found", len(ours))
	}
	// A test that was built with -trimpath does not know where the standard library is.
	if build.Default.GOROOT == "" {
		root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
		if err != nil {
			t.Fatal(err)
		}
		build.Default.GOROOT = strings.TrimSpace(string(root))
	}
	others := importer.ForCompiler(token.NewFileSet(), "source", nil)
	for name, i := range ours {
		if n := len(i.methods(t, ours, others)); n > widest {
			t.Errorf("%s (%s) has %d methods: ask for less, or make it two", name, i.in.path, n)
		}
	}
}

// methods returns the names of an interface's methods, embedded ones included.
func (d declared) methods(t *testing.T, ours map[string]declared, others types.Importer) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	embed := func(pkg, name string) {
		if i, ok := ours[pkg+"."+name]; ok {
			for m := range i.methods(t, ours, others) {
				all[m] = true
			}
			return
		}
		scope := types.Universe
		if pkg != d.in.pkg {
			p, err := others.Import(pkg)
			if err != nil {
				t.Fatal(err)
			}
			scope = p.Scope()
		}
		named := scope.Lookup(name)
		if named == nil {
			t.Fatalf("%s: what %s.%s embeds was not found", d.in.path, pkg, name)
		}
		if i, ok := named.Type().Underlying().(*types.Interface); ok {
			for m := range i.Methods() {
				all[m.Name()] = true
			}
		}
	}
	for _, m := range d.Methods.List {
		for _, name := range m.Names {
			all[name.Name] = true
		}
		if len(m.Names) > 0 {
			continue
		}
		switch e := m.Type.(type) {
		case *ast.Ident:
			embed(d.in.pkg, e.Name)
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok {
				embed(d.in.imported(x.Name), e.Sel.Name)
			}
		}
	}
	return all
}

package structure_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// A comment says what a thing is or does: neither "X is how many" nor "X is when".
var indirect = regexp.MustCompile(`^[A-Za-z_.]+ (is|are) (who|what|how|where|when|why|which|whether)\b`)

func TestCommentsSayWhatAThingIsOrDoes(t *testing.T) {
	t.Parallel()
	found := 0
	for _, f := range source(t) {
		for _, group := range f.Comments {
			text := strings.TrimSpace(group.Text())
			if found++; indirect.MatchString(text) && !strings.HasPrefix(text, "that is why") {
				first, _, _ := strings.Cut(text, "\n")
				t.Errorf("%s: %q: say what it is, holds, names or returns", f.path, first)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d comments were found", found)
	}
}

func TestCommentsOfFunctionsThatReturnABoolSayReports(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Doc == nil || !returnsBool(fn) {
				continue
			}
			if doc := fn.Doc.Text(); regexp.MustCompile(`\b(tells|says|returns|shows) (whether|if)\b|^\w+ tells that\b`).MatchString(doc) {
				t.Errorf("%s: %s: write \"reports whether\"", f.path, fn.Name.Name)
			}
		}
	}
}

// returnsBool reports whether a function's last result is a bool.
func returnsBool(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil || len(fn.Type.Results.List) == 0 {
		return false
	}
	last, ok := fn.Type.Results.List[len(fn.Type.Results.List)-1].Type.(*ast.Ident)
	return ok && last.Name == "bool"
}

package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// checkText refuses what the decoder would pass over in silence (a second
// document, a fraction where a whole number is wanted) or tell of without saying
// where. Its errors begin with ":line: " where they know it, else with ": ".
func checkText(file *ast.File) error {
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return fmt.Errorf(":%d: there is a second document after ---: it would not be read", doc.Body.GetToken().Position.Line)
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil
	}
	v := &scalars{}
	ast.Walk(v, body)
	return v.err
}

// scalars visits each scalar and keeps the first error.
type scalars struct{ err error }

// Visit implements ast.Visitor.
func (v *scalars) Visit(n ast.Node) ast.Visitor {
	if v.err != nil {
		return nil
	}
	pair, ok := n.(*ast.MappingValueNode)
	if !ok {
		return v
	}
	value, ok := pair.Value.(ast.ScalarNode)
	if !ok || value.Type() == ast.NullType {
		return v
	}
	path := strings.TrimPrefix(value.GetPath(), "$.")
	if err := checkScalar(path[strings.LastIndexByte(path, '.')+1:], value); err != nil {
		v.err = fmt.Errorf(":%d: %s: %w", value.GetToken().Position.Line, path, err)
	}
	return v
}

// checkScalar checks the value of a field of that name, wherever it stands.
func checkScalar(field string, value ast.ScalarNode) error {
	text := value.GetToken().Value
	if _, limit := (Limits{}).fields()[field]; limit {
		field = "limit"
	}
	switch field {
	case "call_timeout", "drain", "latency":
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		// The decoder cannot tell it from a field that is not there.
		switch {
		case d == 0 && field == "call_timeout":
			return fmt.Errorf("must be positive, got %.40q: leave it out for the default of %s", text, defaultCallTimeout)
		case d == 0 && field == "drain":
			return fmt.Errorf("must be positive, got %.40q: leave it out for the default of %s, or write 1ms to cut calls off at once", text, defaultDrain)
		}
	case "limit", "burst", "concurrency", "min_concurrency", "max_concurrency", "max_concurrent", "dispatch_window":
		// 1e3 and 2.0 are whole numbers too.
		f, err := strconv.ParseFloat(text, 64)
		if value.Type() != ast.IntegerType && (err != nil || f != math.Trunc(f)) {
			return fmt.Errorf("must be a whole number, got %.40q", text)
		}
	case "error_rate":
		switch value.Type() {
		case ast.IntegerType, ast.FloatType:
		case ast.NanType, ast.InfinityType:
			return fmt.Errorf("must be from 0 to 1, got %.40q", text)
		default:
			return fmt.Errorf("must be a number, got %.40q", text)
		}
	}
	return nil
}

// lineOf returns ":line" of the field that err begins with, or of what it belongs to,
// or nothing.
func lineOf(file *ast.File, err error) string {
	field, _, _ := strings.Cut(err.Error(), ": ")
	for {
		path, err := yaml.PathString("$." + field)
		if err != nil {
			return ""
		}
		if node, err := path.FilterFile(file); err == nil && node != nil && node.GetToken() != nil {
			return fmt.Sprintf(":%d", node.GetToken().Position.Line)
		}
		// What is missing stands nowhere: what it is missing in does.
		last := strings.LastIndexByte(field, '.')
		if last < 0 {
			return ""
		}
		field = field[:last]
	}
}

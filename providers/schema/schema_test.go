package schema_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"oneflow/providers/schema"
)

const person = `{"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"type":"integer"}}},"required":["name"],"additionalProperties":false}`

func TestAViolationNamesItsPlace(t *testing.T) {
	t.Parallel()
	var c schema.Checker
	for text, want := range map[string]string{
		`{"name":"a"}`:                    "",
		` {"name":"a","tags":[1]} `:       "", //nolint:gocritic // the spaces are the case
		`{"name":7}`:                      "/name: got number, want string",
		`{"name":"a","tags":[1,"x"]}`:     "/tags/1: got string, want integer",
		`{}`:                              "/: missing property 'name'",
		`{"name":"a","else":1}`:           "/: additional properties 'else' not allowed",
		`[]`:                              "/: got array, want object",
		"```json\n{\"name\":\"a\"}\n```":  "the answer is not JSON",
		`{"name":"a"`:                     "the answer is not JSON",
		`{"name":"a"}{"name":"a"}`:        "the answer is not JSON",
		``:                                "the answer is not JSON",
		`{"name":"a","tags":[1,2.0,1e2]}`: "",
	} {
		if got := c.Violation(json.RawMessage(person), text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	odd := json.RawMessage(`{"properties":{"a/b~c":{"type":"integer"}}}`)
	if got, want := c.Violation(odd, `{"a/b~c":"x"}`), "/a~1b~0c: got string, want integer"; got != want {
		t.Errorf("a name with / and ~: got %q, want %q", got, want)
	}
}

func TestASchemaThatCannotBeCheckedAgainstIsRefused(t *testing.T) {
	t.Parallel()
	var c schema.Checker
	for _, text := range []string{
		`{"type":"thing"}`, `{"$ref":"https://example.com/a.json"}`, `{"$ref":"file:///etc/passwd"}`, `{"properties":{"a":7}}`, `{"pattern":"("}`,
	} {
		err := c.Compile(json.RawMessage(text))
		if err == nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
			t.Errorf("%s: %v", text, err)
		}
		if got := c.Violation(json.RawMessage(text), `{"a":1}`); got != "" {
			t.Errorf("%s: an answer that is paid for breaks it: %s", text, got)
		}
	}
	for _, text := range []string{person, `{}`, `{"$defs":{"a":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/a"}}}`, `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}`} {
		if err := c.Compile(json.RawMessage(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func ExampleChecker_Violation() {
	var c schema.Checker
	fmt.Println(c.Violation(json.RawMessage(`{"type":"object","properties":{"age":{"type":"integer"}}}`), `{"age":"old"}`))
	// Output: /age: got string, want integer
}

// Package schema checks answers against the JSON schemas that requests give. It is the
// only user of the library for that, reads no file and no address, and imports nothing
// of ours.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Checker checks texts against schemas, and keeps what it made of the last ones: the
// rows of a batch mostly share one. The zero value is ready. It is safe for concurrent
// use.
type Checker struct {
	mu   sync.Mutex
	made map[string]result
}

type result struct {
	schema *jsonschema.Schema
	err    error
}

const (
	// keep bounds how many schemas are kept.
	keep = 64
	// maxProblem bounds the description of a violation, in bytes.
	maxProblem = 300
)

// Compile refuses a schema that cannot be checked against: one that breaks the
// specification, or refers to anything outside of itself.
func (c *Checker) Compile(schema json.RawMessage) error {
	_, err := c.compile(schema)
	return err
}

// Violation returns where and how a text breaks a schema, as in "/items/3: got string,
// want integer"; empty: it fits. A text that is no JSON breaks every schema; a schema
// that does not compile is broken by nothing else.
func (c *Checker) Violation(schema json.RawMessage, text string) string {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return "the answer is not JSON"
	}
	compiled, err := c.compile(schema)
	if err != nil {
		return ""
	}
	broken, ok := errors.AsType[*jsonschema.ValidationError](compiled.Validate(value))
	if !ok {
		return ""
	}
	for len(broken.Causes) > 0 {
		broken = broken.Causes[0]
	}
	problem := broken.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	if len(problem) > maxProblem {
		problem = strings.ToValidUTF8(problem[:maxProblem], "") + "…"
	}
	return pointer(broken.InstanceLocation) + ": " + problem
}

// pointer is a place in a JSON text, as RFC 6901 writes it; "/" for the whole.
func pointer(path []string) string {
	if len(path) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, name := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

func (c *Checker) compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.made[string(schema)]; ok {
		return r.schema, r.err
	}
	var r result
	r.schema, r.err = compile(schema)
	if c.made == nil || len(c.made) >= keep {
		c.made = map[string]result{}
	}
	c.made[string(schema)] = r
	return r.schema, r.err
}

func compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, errors.New("must be a JSON schema")
	}
	const name = "answer:schema"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(nowhere{})
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("must be a JSON schema: %s", brief(err))
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("must be a JSON schema: %s", brief(err))
	}
	return compiled, nil
}

// brief is the first line of an error, without the name that the schema has here.
func brief(err error) string {
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if broken, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			for len(broken.Causes) > 0 {
				broken = broken.Causes[0]
			}
			return pointer(broken.InstanceLocation) + ": " + broken.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		}
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line[:min(len(line), maxProblem)]
}

// nowhere loads nothing.
type nowhere struct{}

// Load implements jsonschema.URLLoader.
func (nowhere) Load(string) (any, error) {
	return nil, errors.New("a schema may only refer to itself")
}

// Package clitest holds the commands' help to what they take. Tests import it.
package clitest

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"oneflow/internal/cli"
)

// Examples fails unless help has an example of each command, and each example is one
// that the command takes. grammar returns a pointer to a new command line.
func Examples(t *testing.T, p cli.Program, grammar func() any) {
	t.Helper()
	env := cli.Env{Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }}
	parser, err := p.New(grammar(), env, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, leaf := range parser.Model.Leaves(true) {
		name := nameOf(leaf)
		commands[name] = true
		if len(p.Examples[name]) == 0 {
			t.Errorf("%s %s: its help has no example", p.Name, name)
		}
	}
	for name, lines := range p.Examples {
		if !commands[name] {
			t.Errorf("%s %s: there is no such command, but there are examples of it", p.Name, name)
		}
		for _, line := range lines {
			parser, err := p.New(grammar(), env, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			words := words(line)
			if len(words) == 0 || words[0] != p.Name {
				t.Errorf("%s %s: %q is an example of something else", p.Name, name, line)
				continue
			}
			ctx, err := parser.Parse(words[1:])
			if err != nil || ctx.Selected() == nil || nameOf(ctx.Selected()) != name {
				t.Errorf("%s %s: %q: %v", p.Name, name, line, err)
			}
		}
	}
}

// Outputs fails unless each command takes -o json and -o ndjson, but those without, such as one
// whose output has formats of its own.
func Outputs(t *testing.T, p cli.Program, grammar any, without ...string) {
	t.Helper()
	parser, err := p.New(grammar, cli.Env{Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		takes := false
		for _, flag := range leaf.Flags {
			forms := strings.Split(flag.Enum, ",")
			takes = takes || flag.Name == "output" && flag.Short == 'o' && slices.Contains(forms, "json") && slices.Contains(forms, "ndjson")
		}
		if name := nameOf(leaf); takes == slices.Contains(without, name) {
			t.Errorf("%s %s: takes -o json and -o ndjson: %v", p.Name, name, takes)
		}
	}
}

func nameOf(node *kong.Node) string {
	var names []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		names = append([]string{node.Name}, names...)
	}
	return strings.Join(names, " ")
}

var (
	evaluated = regexp.MustCompile(`^eval "\$\((.*)\)"$`)
	word      = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)
)

// words are the words of a command line as a shell hands them on: quotes taken off,
// and nothing of redirections and pipes.
func words(line string) (words []string) {
	if m := evaluated.FindStringSubmatch(line); m != nil {
		line = m[1]
	}
	for _, w := range word.FindAllString(line, -1) {
		if w == "<" || w == ">" || w == "|" {
			break
		}
		if quote := w[:1]; quote == `"` || quote == "'" {
			w = strings.Trim(w, quote)
		}
		words = append(words, w)
	}
	return words
}

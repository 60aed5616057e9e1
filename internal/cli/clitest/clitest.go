// Package clitest holds the commands' help to what they take. Tests import it.
package clitest

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"oneflow/internal/cli"
)

// Examples fails unless help has an example of each command, and each example is one
// that the command takes. grammar returns a pointer to a new command line.
func Examples(t *testing.T, p cli.Program, grammar func() any) {
	t.Helper()
	commands := map[string]bool{}
	for name := range leaves(t, p, grammar()) {
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
			words := words(line)
			if len(words) == 0 || words[0] != p.Name {
				t.Errorf("%s %s: %q is an example of something else", p.Name, name, line)
				continue
			}
			chosen, done, err := p.Parse(grammar(), words[1:], cli.Env{Out: io.Discard, Err: io.Discard})
			if printed := done && name == "completion"; err != nil || !printed && (chosen == nil || !strings.HasSuffix(" "+name, " "+chosen.Name)) {
				t.Errorf("%s %s: %q: %v", p.Name, name, line, err)
			}
		}
	}
}

// Outputs fails unless each command takes -o json and -o ndjson, but those without, such as one
// whose output has formats of its own.
func Outputs(t *testing.T, p cli.Program, grammar any, without ...string) {
	t.Helper()
	for name, leaf := range leaves(t, p, grammar) {
		flag := leaf.Flags().ShorthandLookup("o")
		takes := false
		if flag != nil {
			forms := flag.Annotations["enum"]
			takes = flag.Name == "output" && slices.Contains(forms, "json") && slices.Contains(forms, "ndjson")
		}
		if takes == slices.Contains(without, name) {
			t.Errorf("%s %s: takes -o json and -o ndjson: %v", p.Name, name, takes)
		}
	}
}

// leaves are the commands that can be run, by their names without the program's.
func leaves(t *testing.T, p cli.Program, grammar any) map[string]*cobra.Command {
	t.Helper()
	root, _, err := p.New(grammar, io.Discard, false)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*cobra.Command{}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			found[strings.TrimPrefix(c.CommandPath(), p.Name+" ")] = c
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
	return found
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

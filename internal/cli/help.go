package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of help that goes to no terminal.
const helpWidth = 80

// help writes what cmd is for and takes.
func (b *builder) help(cmd *cobra.Command) error {
	width := cmp.Or(widthOf(b.out), helpWidth)
	cmd.InheritedFlags() // puts them into cmd.Flags
	var h strings.Builder
	h.WriteString("Usage: " + b.synopsis(cmd) + "\n")
	if cmd.Short != "" {
		h.WriteString("\n" + strings.Join(wrap(cmd.Short, width), "\n") + "\n")
	}
	if cmd.Example != "" {
		h.WriteString("\nExamples:\n\n    " + strings.ReplaceAll(cmd.Example, "\n", "\n    ") + "\n")
	}
	var rows [][2]string
	for _, a := range b.arguments[cmd] {
		rows = append(rows, [2]string{a.synopsis(), a.help})
	}
	section(&h, "Arguments:", rows, width)
	section(&h, "Commands:", b.commandRows(cmd, ""), width)
	groups := []string{""}
	sets := map[string][]*pflag.Flag{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		group := strings.Join(f.Annotations[groupNote], "")
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		if !f.Hidden {
			sets[group] = append(sets[group], f)
		}
	})
	for _, group := range groups {
		section(&h, cmp.Or(group, "Flags:"), flagRows(sets[group]), width)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&h, "\nRun \"%s <command> --help\" for more information on a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(b.out, h.String())
	return err
}

// synopsis is cmd with what it must be given, and may.
func (b *builder) synopsis(cmd *cobra.Command) string {
	parts := []string{cmd.CommandPath()}
	var either []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, required := f.Annotations[requiredNote]
		switch {
		case required && f.Annotations[xorNote] != nil:
			either = append(either, flagSynopsis(f))
		case required:
			parts = append(parts, flagSynopsis(f))
		}
	})
	if either != nil {
		parts = append(parts, "("+strings.Join(either, " | ")+")")
	}
	for _, a := range b.arguments[cmd] {
		parts = append(parts, a.synopsis())
	}
	if cmd.HasAvailableSubCommands() {
		parts = append(parts, "<command>")
	}
	return strings.Join(append(parts, "[flags]"), " ")
}

func (a argument) synopsis() string {
	text := "<" + a.name + ">"
	if a.value.isList() {
		text += " ..."
	}
	if a.optional {
		text = "[" + text + "]"
	}
	return text
}

func flagSynopsis(f *pflag.Flag) string {
	if f.Value.Type() == "bool" {
		return "--" + f.Name
	}
	placeholder := strings.Join(f.Annotations[placeholderNote], "")
	if placeholder == "" && f.DefValue != "" {
		placeholder = f.DefValue
		if f.Value.Type() == "string" {
			placeholder = strconv.Quote(f.DefValue)
		}
	}
	return "--" + f.Name + "=" + cmp.Or(placeholder, strings.ToUpper(f.Name))
}

// commandRows lists the commands of a group and of the groups in it.
func (b *builder) commandRows(group *cobra.Command, prefix string) (rows [][2]string) {
	for _, c := range b.commands[group] {
		if c.HasSubCommands() {
			rows = append(rows, b.commandRows(c, prefix+c.Name()+" ")...)
		} else {
			rows = append(rows, [2]string{prefix + c.Name(), c.Short})
		}
	}
	return rows
}

func flagRows(flags []*pflag.Flag) (rows [][2]string) {
	indent := ""
	if slices.ContainsFunc(flags, func(f *pflag.Flag) bool { return f.Shorthand != "" }) {
		indent = "    "
	}
	for _, f := range flags {
		name, text := indent+flagSynopsis(f), f.Usage
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + flagSynopsis(f)
		}
		for _, variable := range f.Annotations[envNote] {
			text = strings.TrimSuffix(text, ".") + " ($" + variable + ")."
		}
		rows = append(rows, [2]string{name, text})
	}
	return rows
}

// section writes rows of two columns below a title; nothing, where there are none.
func section(h *strings.Builder, title string, rows [][2]string, width int) {
	if len(rows) == 0 {
		return
	}
	h.WriteString("\n" + title + "\n")
	left, widest := 0, max(30, width*3/8)
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); n < widest {
			left = max(left, n)
		}
	}
	for _, r := range rows {
		lines := wrap(r[1], max(20, width-left-6))
		first := ""
		if utf8.RuneCountInString(r[0]) <= left && len(lines) > 0 {
			first, lines = lines[0], lines[1:]
		}
		h.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s    %s", left, r[0], first), " ") + "\n")
		for _, line := range lines {
			fmt.Fprintf(h, "  %-*s    %s\n", left, "", line)
		}
	}
}

package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Program is a command line and what its help says.
type Program struct {
	Name, Description string
	// Examples are command lines by command, such as "keys set"; help shows them.
	Examples map[string][]string
}

// About are the flag and the command that every program has.
type About struct {
	Version    bool          `help:"Print the version and exit." group:"Global flags:"`
	Completion completionCmd `cmd:"" help:"Print what makes a shell complete this command: eval \"$(${name} completion bash)\" in its start-up file."`
}

// Command is the command that a command line chose, with what it was given.
type Command struct {
	Name   string // the last word of its name: "set" of "keys set"
	target any    // points to its struct in the grammar
}

// Run runs a command whose struct has a method Run(S) error.
func Run[S any](c *Command, session S) error {
	command, ok := c.target.(interface{ Run(session S) error })
	if !ok {
		return fmt.Errorf("%s: %T cannot be run", c.Name, c.target)
	}
	return command.Run(session)
}

// Parse reads args into grammar, a pointer to a struct (see New). done reports whether help, the version or a completion was
// printed and nothing is left to do. An error of who typed args has the exit code Usage.
func (p Program) Parse(grammar any, args []string, env Env) (chosen *Command, done bool, err error) {
	root, asked, err := p.New(grammar, env.Out, len(args) > 0 && args[0] == cobra.ShellCompRequestCmd)
	if err != nil {
		return nil, false, err
	}
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			return nil, false, Fail(Usage, fmt.Errorf("argument %d, %.40q, is not valid UTF-8", i+1, arg))
		}
	}
	root.SetArgs(append([]string{}, args...)) // nil would be those of the process
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	err = root.Execute()
	chosen = asked()
	switch {
	case errors.Is(err, errPrinted), err == nil && chosen == nil:
		return nil, true, nil
	case err != nil:
		return nil, false, err
	}
	if c, ok := chosen.target.(*completionCmd); ok {
		return nil, true, c.print(root, env.Out)
	}
	return chosen, false, nil
}

// errPrinted ends a command that has printed what it was asked for.
var errPrinted = errors.New("printed")

// refuse makes the error of a command line that is wrong.
func refuse(cmd *cobra.Command, format string, args ...any) error {
	return Fail(Usage, fmt.Errorf("%w (%s --help shows the usage)", fmt.Errorf(format, args...), cmd.CommandPath()))
}

// check takes the arguments of cmd, and the flags that the environment gives, and refuses what does not fit together.
func (b *builder) check(cmd *cobra.Command, args []string) error {
	if err := b.printVersion(cmd, args); err != nil {
		return err
	}
	if err := b.takeArguments(cmd, args); err != nil {
		return err
	}
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err == nil {
			err = checkFlag(cmd, f)
		}
	})
	if err != nil {
		return err
	}
	return checkGroups(cmd)
}

// printVersion prints it, where that was asked for.
func (b *builder) printVersion(cmd *cobra.Command, _ []string) error {
	if asked, err := cmd.Flags().GetBool("version"); err != nil || !asked {
		return nil //nolint:nilerr // the program has no such flag
	}
	if _, err := fmt.Fprintln(b.out, version(b.program.Name)); err != nil {
		return err
	}
	return errPrinted
}

func (b *builder) takeArguments(cmd *cobra.Command, args []string) error {
	for i, a := range b.arguments[cmd] {
		if i >= len(args) {
			if a.optional {
				break
			}
			return refuse(cmd, "%s is missing", strings.ToUpper(a.name))
		}
		given := args[i : i+1]
		if a.value.isList() {
			given, args = args[i:], args[:i]
		}
		for _, text := range given {
			if err := a.value.Set(text); err != nil {
				return refuse(cmd, "%s: %w", strings.ToUpper(a.name), err)
			}
		}
		if err := a.value.among(a.values); err != nil {
			return refuse(cmd, "%s: %w", strings.ToUpper(a.name), err)
		}
	}
	if n := len(b.arguments[cmd]); n < len(args) {
		hint := ""
		if b.takesPrompt(cmd) {
			hint = fmt.Sprintf(`: put the whole prompt in quotes, as in %s "Write a haiku"`, cmd.CommandPath())
		}
		return refuse(cmd, "unexpected argument %s%s", args[n], hint)
	}
	return nil
}

func (b *builder) takesPrompt(cmd *cobra.Command) bool {
	return len(b.arguments[cmd]) > 0 && b.arguments[cmd][0].name == "prompt"
}

// checkFlag takes a flag's value from the environment where the command line has none, and refuses one that it cannot have.
func checkFlag(cmd *cobra.Command, f *pflag.Flag) error {
	from := "--" + f.Name
	for _, name := range f.Annotations[envNote] {
		text, set := os.LookupEnv(name)
		if f.Changed || !set {
			continue
		}
		from = name
		if err := f.Value.Set(text); err != nil {
			return refuse(cmd, "%s: %w", from, err)
		}
	}
	if v, ok := f.Value.(*value); ok {
		if err := v.among(f.Annotations[enumNote]); err != nil {
			return refuse(cmd, "%s: %w", from, err)
		}
	}
	return nil
}

// checkGroups refuses flags that exclude each other, and demands those that must be there: of flags that exclude each other,
// one of them.
func checkGroups(cmd *cobra.Command) error {
	var groups []string // in the order of their first flags
	needed, members, given := map[string]bool{}, map[string][]string{}, map[string][]string{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		group := "--" + f.Name
		for _, xor := range f.Annotations[xorNote] {
			group = xor
		}
		if members[group] == nil {
			groups = append(groups, group)
		}
		members[group] = append(members[group], "--"+f.Name)
		if f.Changed {
			given[group] = append(given[group], "--"+f.Name)
		}
		_, required := f.Annotations[requiredNote]
		needed[group] = needed[group] || required
	})
	for _, group := range groups {
		if len(given[group]) > 1 {
			return refuse(cmd, "%s and %s can't be used together", given[group][0], given[group][1])
		}
		if needed[group] && len(given[group]) == 0 {
			return refuse(cmd, "%s is missing", OneOf(members[group]))
		}
	}
	return nil
}

// refuseFlag says what is wrong with a flag that could not be read.
func (b *builder) refuseFlag(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := e.GetSpecifiedName()
		switch {
		case e.GetSpecifiedShortnames() == "":
			return refuse(cmd, "unknown flag --%s%s", name, nearestFlag(cmd, name))
		case b.takesPrompt(cmd):
			return refuse(cmd, `unknown flag -%s: a prompt that begins with - goes after --, as in %s -- "-5 degrees"`, name, cmd.CommandPath())
		}
		return refuse(cmd, "unknown flag -%s", name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return refuse(cmd, "--%s: %w", e.GetFlag().Name, e.Unwrap())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return refuse(cmd, "--%s: its value is missing", e.GetFlag().Name)
	}
	return refuse(cmd, "%w", err)
}

// nearestFlag asks whether another flag was meant.
func nearestFlag(cmd *cobra.Command, name string) (question string) {
	least := 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		far := Distance(f.Name, name)
		if strings.HasPrefix(f.Name, name) {
			far = 1
		}
		if far < least && !f.Hidden {
			least, question = far, fmt.Sprintf(", did you mean %q?", "--"+f.Name)
		}
	})
	return question
}

// refuseCommand says which commands a group has, where none of them was named.
func (b *builder) refuseCommand(group *cobra.Command, args []string) error {
	if len(args) > 0 {
		question := ""
		if near := group.SuggestionsFor(args[0]); len(near) > 0 {
			question = fmt.Sprintf(", did you mean %q?", near[0])
		}
		return refuse(group, "unexpected argument %s%s", args[0], question)
	}
	if !group.HasParent() {
		return refuse(group, "a command is missing")
	}
	var names []string
	for _, c := range b.commands[group] {
		names = append(names, c.Name())
	}
	return refuse(group, "a command is missing after %s: %s", group.CommandPath(), strings.Join(names, ", "))
}

// OneOf lists values, such as "a, b or c".
func OneOf(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

// Distance returns the number of characters to be written, left out or changed to make one name of the other (Levenshtein).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}

package cli

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// globalFlags is the title of the flags that all commands of a program have.
const globalFlags = "Global flags:"

// What a flag's annotations hold beside what pflag knows.
const (
	groupNote       = "group"       // the title above it in help
	placeholderNote = "placeholder" // what its value is called in help
	envNote         = "env"         // the variable that gives it where the command line does not
	enumNote        = "enum"        // the values that it may have
	xorNote         = "xor"         // it and others of this name exclude each other
	requiredNote    = "required"
)

// builder makes commands of a grammar: a struct whose fields are commands, arguments and flags. Tags say what a field is:
//
//	cmd          a command; a struct with a method Run, or with commands of its own
//	arg          an argument; a list takes all that are left
//	help         what help says of it
//	name         its name, where that is not the field's
//	aliases      a second name of a flag, which help does not show
//	short        a flag's letter
//	default      the value where none is given; of a command: it is meant where its group is named alone
//	enum         the values that it may have; one that ends in a comma may be empty
//	env          the variable that gives a flag its value where the command line does not
//	xor          flags of the same word exclude each other
//	required     a flag that must be given, or one of those that exclude each other
//	optional     an argument that may be left out
//	sep, mapsep  what stands between the elements of a flag that is a list or a map, a comma where nothing is said; none: nothing does
//	group        the title above flags in help
//	placeholder  what a flag's value is called in help
//	hidden       help does not show it
//
// An embedded struct brings its fields.
type builder struct {
	program   Program
	out       io.Writer
	arguments map[*cobra.Command][]argument
	// commands are those of each group, in the order of the grammar; cobra has them by name.
	commands map[*cobra.Command][]*cobra.Command
	// completes reports whether a shell asks what may come next. Only then does cobra learn
	// the values of flags, as it keeps them, and the flags, for as long as the process lives.
	completes bool
	chosen    *Command
}

// argument is a value by its place in the command line.
type argument struct {
	name, help string
	optional   bool
	values     []string // that it may have; none: any
	value      *value
}

// New makes the commands of grammar, a pointer to a struct: see builder. They write help to
// out. completes reports whether a shell asks what may come next. Once root has run, chosen
// returns the command that was asked for, or nil.
func (p Program) New(grammar any, out io.Writer, completes bool) (root *cobra.Command, chosen func() *Command, err error) {
	b := &builder{program: p, out: out, completes: completes}
	root, err = b.root(grammar)
	return root, func() *Command { return b.chosen }, err
}

func (b *builder) root(grammar any) (*cobra.Command, error) {
	b.arguments, b.commands = map[*cobra.Command][]argument{}, map[*cobra.Command][]*cobra.Command{}
	root := b.group(b.program.Name, b.program.Description)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().SortFlags = false
	root.PersistentFlags().BoolP("help", "h", false, "Show context-sensitive help.")
	root.PersistentFlags().Lookup("help").Annotations = map[string][]string{groupNote: {globalFlags}}
	root.SetFlagErrorFunc(b.refuseFlag)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _ = b.help(cmd) })
	err := b.fields(root, root.PersistentFlags(), reflect.ValueOf(grammar).Elem(), "")
	if !root.HasSubCommands() { // as of the benchmarks: the program is the command
		root.Args = b.check
		root.RunE = func(*cobra.Command, []string) error {
			b.chosen = &Command{Name: root.Name(), target: grammar}
			return nil
		}
	}
	return root, err
}

// group makes a command that has others.
func (b *builder) group(name, help string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: help, Args: b.printVersion, RunE: b.refuseCommand, SuggestionsMinimumDistance: 2}
	cmd.Flags().SortFlags = false
	return cmd
}

// fields adds what the fields of a struct are to cmd. Its flags go into flags.
func (b *builder) fields(cmd *cobra.Command, flags *pflag.FlagSet, target reflect.Value, group string) error {
	for i := range target.NumField() {
		field, v := target.Type().Field(i), target.Field(i)
		_, isCommand := field.Tag.Lookup("cmd")
		var err error
		switch {
		case isCommand:
			err = b.command(cmd, field, v)
		case field.Anonymous:
			err = b.fields(cmd, flags, v, cmp.Or(field.Tag.Get("group"), group))
		case field.IsExported():
			err = b.value(cmd, flags, field, v, group)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return nil
}

// command adds a command to its group.
func (b *builder) command(group *cobra.Command, field reflect.StructField, target reflect.Value) error {
	cmd := b.group(nameOf(field), strings.ReplaceAll(field.Tag.Get("help"), "${name}", b.program.Name))
	group.AddCommand(cmd)
	b.commands[group] = append(b.commands[group], cmd)
	if err := b.fields(cmd, cmd.Flags(), target, ""); err != nil {
		return err
	}
	if cmd.HasSubCommands() {
		return nil
	}
	name := strings.TrimPrefix(cmd.CommandPath(), b.program.Name+" ")
	cmd.Example = strings.Join(b.program.Examples[name], "\n")
	cmd.Args = b.check
	cmd.RunE = func(*cobra.Command, []string) error {
		b.chosen = &Command{Name: cmd.Name(), target: target.Addr().Interface()}
		return nil
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n := len(given); n < len(b.arguments[cmd]) && b.arguments[cmd][n].values != nil {
			return explained(b.arguments[cmd][n].values, b.arguments[cmd][n].help)(cmd, given, begun)
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	if _, isDefault := field.Tag.Lookup("default"); isDefault {
		group.Args, group.RunE = cmd.Args, cmd.RunE
		group.Flags().AddFlagSet(cmd.Flags())
		b.arguments[group] = b.arguments[cmd]
	}
	return nil
}

// value adds an argument or a flag.
func (b *builder) value(cmd *cobra.Command, flags *pflag.FlagSet, field reflect.StructField, target reflect.Value, group string) error {
	_, isArgument := field.Tag.Lookup("arg")
	v := &value{target: target, separator: ","}
	if isArgument {
		v.separator = ""
	}
	for _, tag := range []string{"sep", "mapsep"} {
		if separator, ok := field.Tag.Lookup(tag); ok {
			v.separator = strings.TrimPrefix(separator, "none")
		}
	}
	standard := field.Tag.Get("default")
	if standard != "" {
		if err := v.Set(standard); err != nil {
			return err
		}
	}
	v.given = false
	var values []string
	if list, ok := field.Tag.Lookup("enum"); ok {
		values = strings.Split(list, ",")
	}
	name, help := nameOf(field), field.Tag.Get("help")
	if isArgument {
		_, optional := field.Tag.Lookup("optional")
		b.arguments[cmd] = append(b.arguments[cmd], argument{name: name, help: help, optional: optional, values: values, value: v})
		return nil
	}
	notes := map[string][]string{groupNote: {group}}
	for _, tag := range []string{groupNote, placeholderNote, envNote, xorNote, requiredNote} {
		if text, ok := field.Tag.Lookup(tag); ok {
			notes[tag] = []string{text}
		}
	}
	if values != nil {
		notes[enumNote] = values
	}
	_, hidden := field.Tag.Lookup("hidden")
	flag := &pflag.Flag{Name: name, Shorthand: field.Tag.Get("short"), Usage: help, Value: v, DefValue: standard, Hidden: hidden, Annotations: notes}
	if len(flag.Shorthand) > 1 {
		return fmt.Errorf("short %q: must be one letter", flag.Shorthand)
	}
	if v.Type() == "bool" {
		flag.NoOptDefVal = "true"
	}
	flags.AddFlag(flag)
	if alias := field.Tag.Get("aliases"); alias != "" {
		second := *flag
		second.Name, second.Shorthand, second.Hidden = alias, "", true
		flags.AddFlag(&second)
	}
	if values == nil || !b.completes {
		return nil
	}
	return cmd.RegisterFlagCompletionFunc(name, explained(values, help))
}

// explained completes values, each with what help says of the flag.
func explained(values []string, help string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) (list []cobra.Completion, _ cobra.ShellCompDirective) {
		for _, v := range values {
			if v != "" && strings.HasPrefix(v, begun) {
				list = append(list, cobra.CompletionWithDesc(v, help))
			}
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// nameOf is the name of a field on the command line: "database-url" of DatabaseURL.
func nameOf(field reflect.StructField) string {
	if name := field.Tag.Get("name"); name != "" {
		return name
	}
	var out strings.Builder
	letters := []rune(field.Name)
	for i, c := range letters {
		begins := i > 0 && unicode.IsUpper(c) && (unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(c))
	}
	return out.String()
}

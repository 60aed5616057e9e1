package cli

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"oneflow/config"
)

// globalFlags is the title of the flags that all commands of a program have.
const globalFlags = "Global flags:"

// Program is a command line and what its help says.
type Program struct {
	Name, Description string
	// Examples are command lines by command, such as "keys set"; help shows them.
	Examples map[string][]string
}

// About are the flag and the command that every program has.
type About struct {
	Version    kong.VersionFlag `help:"Print the version and exit." group:"Global flags:"`
	Completion completionCmd    `cmd:"" help:"Print what makes a shell complete this command: eval \"$(${name} completion bash)\" in its start-up file."`
}

// New prepares the parser of grammar, a pointer to a struct. exit is called in place
// of the end of the process, after help or the version was printed.
func (p Program) New(grammar any, env Env, exit func(int)) (*kong.Kong, error) {
	parser, err := kong.New(grammar,
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.Writers(env.Out, env.Err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.Vars{"name": p.Name, "version": version(p.Name)},
	)
	if err != nil {
		return nil, err
	}
	parser.Model.HelpFlag.Group = &kong.Group{Key: globalFlags, Title: globalFlags}
	for _, node := range parser.Model.Leaves(true) {
		if lines := p.Examples[commandOf(node)]; len(lines) > 0 {
			node.Detail = "Examples:\n\n\t" + strings.Join(lines, "\n\t")
		}
	}
	return parser, nil
}

// Parse reads args into grammar. done reports whether help, the version or a completion was
// printed and nothing is left to do. An error has the exit code Usage.
func (p Program) Parse(grammar any, args []string, env Env) (ctx *kong.Context, done bool, err error) {
	type exited struct{}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exited); !ok {
				panic(r)
			}
			done = true
		}
	}()
	parser, err := p.New(grammar, env, func(int) { panic(exited{}) })
	if err != nil {
		return nil, false, err
	}
	for i, arg := range args {
		// Kong would replace the bytes in silence.
		if !utf8.ValidString(arg) {
			return nil, false, Fail(Usage, fmt.Errorf("argument %d, %.40q, is not valid UTF-8", i+1, arg))
		}
	}
	if len(args) > 0 && args[0] == completeCommand {
		return nil, true, printCompletions(env.Out, parser.Model, args[1:])
	}
	ctx, err = parser.Parse(joinNegative(parser.Model, args))
	if err != nil {
		return nil, false, Fail(Usage, p.explain(err))
	}
	if node := ctx.Selected(); node != nil {
		if c, ok := reflect.TypeAssert[*completionCmd](node.Target.Addr()); ok {
			return nil, true, c.print(env.Out, p.Name)
		}
	}
	return ctx, false, nil
}

// commandOf is a command's name without the program's, such as "keys set".
func commandOf(node *kong.Node) string {
	var names []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		names = append([]string{node.Name}, names...)
	}
	return strings.Join(names, " ")
}

// decodeDuration reads a duration with days and weeks.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := config.ParseDuration(text)
	if err == nil {
		target.SetInt(int64(d))
	}
	return err
}

// joinNegative writes a negative number to the flag before it, "--rpm=-5", which kong
// otherwise takes for a flag of its own.
func joinNegative(app *kong.Application, args []string) []string {
	takesValue := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && !flag.IsBool() {
			takesValue["--"+flag.Name] = true
			if flag.Short != 0 {
				takesValue["-"+string(flag.Short)] = true
			}
		}
		return next(nil)
	})
	negative := regexp.MustCompile(`^-[0-9.]`)
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		if takesValue[args[i]] && i+1 < len(args) && negative.MatchString(args[i+1]) {
			join := "="
			if !strings.HasPrefix(args[i], "--") {
				join = ""
			}
			out = append(out, args[i]+join+args[i+1])
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

var (
	enumError    = regexp.MustCompile(`^(\S+) must be one of ("[^ ]*") but got "(.*)"$`)
	numberError  = regexp.MustCompile(`^(\S+): expected a valid .*int but got "(.*)"$`)
	missingError = regexp.MustCompile(`^expected "<(.*)>"$`)
)

// explain says in our words what kong refused, and whose help shows the usage. Its
// errors have no types: the test of this text fails where a new version has others.
func (p Program) explain(err error) error {
	text, command := err.Error(), p.Name
	var node *kong.Node
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		for _, step := range parse.Context.Path {
			if step.Command != nil {
				node = step.Command
				command = p.Name + " " + commandOf(node)
			}
		}
	}
	takesPrompt := node != nil && slices.ContainsFunc(node.Positional, func(v *kong.Positional) bool { return v.Name == "prompt" })
	switch {
	case enumError.MatchString(text):
		m := enumError.FindStringSubmatch(text)
		values := slices.DeleteFunc(strings.Split(strings.ReplaceAll(m[2], `"`, ""), ","), func(s string) bool { return s == "" })
		text = fmt.Sprintf("%s: must be %s, got %.60q", m[1], OneOf(values), m[3])
	case numberError.MatchString(text):
		m := numberError.FindStringSubmatch(text)
		text = fmt.Sprintf("%s: must be a whole number, got %.60q", m[1], m[2])
	case missingError.MatchString(text):
		text = strings.ToUpper(missingError.FindStringSubmatch(text)[1]) + " is missing"
	case strings.HasPrefix(text, "unexpected argument ") && takesPrompt:
		text += fmt.Sprintf(`: put the whole prompt in quotes, as in %s "Write a haiku"`, command)
	case strings.HasPrefix(text, "unknown flag -") && !strings.HasPrefix(text, "unknown flag --") && takesPrompt:
		text, _, _ = strings.Cut(text, ", did you mean")
		text += fmt.Sprintf(`: a prompt that begins with - goes after --, as in %s -- "-5 degrees"`, command)
	case strings.HasPrefix(text, "expected ") && node == nil:
		text = "a command is missing"
	case strings.HasPrefix(text, "expected ") && len(node.Children) > 0:
		text = strings.TrimPrefix(strings.TrimPrefix(text, "expected "), "one of ")
		text = "a command is missing after " + command + ": " + strings.ReplaceAll(text, `"`, "")
	case strings.HasPrefix(text, "missing flags: "):
		text = strings.TrimPrefix(text, "missing flags: ") + " is missing"
	}
	return fmt.Errorf("%s (%s --help shows the usage)", text, command)
}

// OneOf lists values, such as "a, b or c".
func OneOf(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completeCommand is the command that the shells call: the words after it are the command line up
// to the cursor, and each line that it prints is a candidate, a tab, and what it is.
const completeCommand = "__complete"

// completionCmd prints what makes a shell complete a command.
type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

// The scripts ask the program itself, so that they never fall behind it. Where it
// knows nothing, files are completed. NAME stands for the program.
const (
	bashScript = `_NAME_complete() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _NAME_complete NAME
`
	zshScript = `#compdef NAME
_NAME_complete() {
    local -a found
    local line
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then _describe NAME found; else _files; fi
}
compdef _NAME_complete NAME
`
	fishScript = `function __NAME_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c NAME -f -a '(__NAME_complete)'
`
)

// print writes the script for the shell.
func (c *completionCmd) print(w io.Writer, name string) error {
	script := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	_, err := io.WriteString(w, strings.ReplaceAll(script, "NAME", name))
	return err
}

// printCompletions writes the candidates for the last of words, a line each.
func printCompletions(w io.Writer, app *kong.Application, words []string) error {
	for _, c := range completions(app, words) {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", c.word, c.help); err != nil {
			return err
		}
	}
	return nil
}

// candidate is a word that may stand at the cursor.
type candidate struct{ word, help string }

// completions returns what may stand in place of the last of words: values of the flag
// before it, flags, or commands.
func completions(app *kong.Application, words []string) (list []candidate) {
	if len(words) == 0 {
		words = []string{""}
	}
	node, last := app.Node, words[len(words)-1]
	var value *kong.Flag // whose value comes next
	for _, word := range words[:len(words)-1] {
		if value != nil {
			value = nil
			continue
		}
		if strings.HasPrefix(word, "-") {
			if f := flagOf(node, word); f != nil && !f.IsBool() {
				value = f
			}
			continue
		}
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				break
			}
		}
	}
	add := func(word, help string) {
		if strings.HasPrefix(word, last) && word != "" {
			sentence, _, _ := strings.Cut(help, ". ")
			list = append(list, candidate{word, strings.TrimSuffix(sentence, ".")})
		}
	}
	switch {
	case value != nil && value.Enum != "":
		for _, v := range value.EnumSlice() {
			add(v, value.Help)
		}
	case value != nil:
	case strings.HasPrefix(last, "-"):
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				add("--"+f.Name, f.Help)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				add(child.Name, child.Help)
			}
		}
		for _, p := range node.Positional {
			for _, v := range p.EnumSlice() {
				add(v, p.Help)
			}
		}
	}
	return list
}

// flagOf finds the flag that word names, nil where it holds its value already.
func flagOf(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

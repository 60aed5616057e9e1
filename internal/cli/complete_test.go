package cli_test

import (
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestShellsCompleteCommandsFlagsAndValues(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                    "brush completion help paint text",
		"pa":                  "paint",
		"brush ":              "wash",
		"paint --co":          "--colour",
		"paint --colour ":     "red blue",
		"paint --colour b":    "blue",
		"paint -v --log-l":    "--log-level",
		"paint --log-level w": "warn",
		"completion ":         "bash zsh fish powershell",
		"paint --log-file ":   "",
	} {
		_, done, out, _, err := parse(append([]string{"__complete"}, strings.Split(line, " ")...)...)
		var words []string
		for candidate := range strings.Lines(out) {
			if strings.HasPrefix(candidate, ":") { // what the shell is to do beside
				continue
			}
			word, help, _ := strings.Cut(strings.TrimSuffix(candidate, "\n"), "\t")
			if help == "" {
				t.Errorf("%q: %q is not explained", line, word)
			}
			words = append(words, word)
		}
		if got := strings.Join(words, " "); err != nil || !done || got != want {
			t.Errorf("%q: %q, want %q (%v)", line, got, want, err)
		}
	}
}

func TestThereIsACompletionForEachShell(t *testing.T) {
	t.Parallel()
	for shell, part := range map[string]string{"bash": "complete -o default -F __start_brush brush", "zsh": "compdef _brush brush", "fish": "complete -c brush -n", "powershell": "Register-ArgumentCompleter -CommandName 'brush'"} {
		if _, done, out, _, err := parse("completion", shell); err != nil || !done || !strings.Contains(out, part) {
			t.Errorf("%s: %s, %v", shell, out, err)
		}
	}
	if _, _, _, _, err := parse("completion", "tcsh"); cli.Code("brush", &strings.Builder{}, err) != cli.Usage {
		t.Error(err)
	}
}

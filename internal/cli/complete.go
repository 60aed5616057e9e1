package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// completionCmd prints what makes a shell complete a command: a script that asks the program itself, so that it never falls
// behind it.
type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh, fish or powershell." enum:"bash,zsh,fish,powershell"`
}

// withoutPackage does for the script for bash what the package bash-completion does, where that is
// not installed.
const withoutPackage = `declare -F _get_comp_words_by_ref >/dev/null || _get_comp_words_by_ref() {
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
}
`

// print writes the script for the shell.
func (c *completionCmd) print(root *cobra.Command, w io.Writer) error {
	switch c.Shell {
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	default:
		if _, err := io.WriteString(w, withoutPackage); err != nil {
			return err
		}
		return root.GenBashCompletionV2(w, true)
	}
}

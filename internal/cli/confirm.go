package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// Confirm asks on a terminal, where anything but yes is no. Elsewhere nobody can be
// asked: then flag says yes, and the error names it. The error has the exit code Usage.
func Confirm(env Env, question, flag string) error {
	if !IsTerminal(env.In) {
		return Fail(Usage, fmt.Errorf("%s There is no terminal to ask on: say %s", question, flag))
	}
	fmt.Fprintf(env.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(env.In).ReadString('\n')
	if err != nil {
		return Fail(Usage, errors.New("not done: no answer"))
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return Fail(Usage, errors.New("not done"))
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

// keysCmd manages API keys.
type keysCmd struct {
	Set   keysSet   `cmd:"" help:"Store a key, asked for without echo or read from a pipe. It replaces the provider's keys, unless --add."`
	Ls    keysLs    `cmd:"" help:"List the keys, by their last four characters."`
	Check keysCheck `cmd:"" help:"Check the form of the keys and ask the providers whether they take them, at no cost."`
	Rm    keysRm    `cmd:"" help:"Remove a provider's keys from the file."`
}

type keysSet struct {
	Provider string `arg:"" help:"The provider, such as openai; for the keys of one of its deployments PROVIDER-DEPLOYMENT."`
	Add      bool   `help:"Keep the keys that are there: calls take turns."`
	Force    bool   `help:"Store it although it does not look like a key of this provider."`
}

// Run asks for the key and stores it.
func (c *keysSet) Run(s *session) error {
	name, _, ok := s.config.ForKeys(c.Provider)
	if !ok {
		return cli.Fail(cli.Usage, fmt.Errorf("provider %q: is not configured", c.Provider))
	}
	p := s.config.Providers[name]
	secret, err := c.ask(s)
	if err != nil {
		return err
	}
	if err := keys.CheckForm(p.Kind, keyForm(p), secret); err != nil && !c.Force {
		return cli.Fail(cli.Usage, fmt.Errorf("%w; --force stores it all the same", err))
	}
	store := func() error { return keys.Set(s.config.Keys, c.Provider, secret) }
	if c.Add {
		store = func() error { return keys.Add(s.config.Keys, c.Provider, secret) }
	}
	if err := store(); err != nil {
		return err
	}
	fmt.Fprintf(s.Env.Err, "stored in %s\n", s.config.Keys)
	if v := keys.Variable(c.Provider); s.Env.Getenv(v) != "" {
		fmt.Fprintf(s.Env.Err, "note: %s is set in this environment and goes before the file\n", v)
	}
	return nil
}

// keyForm returns the form of a provider's keys.
func keyForm(p config.Provider) providers.KeyForm {
	d, _ := kinds.Of(p.Capabilities())
	return d.Key
}

// ask reads the key from the terminal without echo, or a line from a pipe.
func (c *keysSet) ask(s *session) (string, error) {
	if f, ok := s.Env.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(s.Env.Err, "API key for %s (not shown): ", c.Provider)
		secret, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Env.Err)
		return strings.TrimSpace(string(secret)), err
	}
	line := bufio.NewScanner(s.Env.In)
	if !line.Scan() {
		return "", cli.Fail(cli.Usage, errors.Join(line.Err(), errors.New("no key on standard input")))
	}
	return strings.TrimSpace(line.Text()), nil
}

type keysLs struct {
	cli.OutputFlag
}

// Run lists keys.
func (c *keysLs) Run(s *session) error {
	all, err := s.listKeys()
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(s.Env.Err, "no keys: set one with `worker keys set openai`, or OPENAI_API_KEY in the environment")
		return nil
	}
	rows := [][]string{{"PROVIDER", "KEY", "FROM", ""}}
	for _, e := range all {
		note := ""
		if e.Shadowed {
			note = "not used: the environment goes before the file"
		}
		rows = append(rows, []string{e.Provider, e.Key.String(), e.Source, note})
	}
	return cli.Table(s.Env.Out, rows)
}

func (s *session) listKeys() ([]keys.Entry, error) {
	all, err := keys.List(keys.Config{
		Path: s.config.Keys, Getenv: s.Env.Getenv, Providers: s.config.KeyNames(),
	})
	if err != nil {
		return nil, cli.Fail(cli.Unsafe, err)
	}
	return all, nil
}

type keysCheck struct {
	Provider string `arg:"" optional:"" help:"Only this provider's keys."`
	Offline  bool   `help:"Check the form only: ask nobody."`
	cli.OutputFlag
}

// checkedKey is the result of checking a key, for programs.
type checkedKey struct {
	Provider string `json:"provider"`
	Key      string `json:"key"` // its last four characters
	OK       bool   `json:"ok"`
	Result   string `json:"result"`
}

// Run checks each key; one that is refused gives exit code 1.
func (c *keysCheck) Run(s *session) error {
	all, err := s.listKeys()
	if err != nil {
		return err
	}
	store, err := app.OpenKeys(s.Env.Getenv, s.config, s.Log)
	if err != nil {
		return cli.Fail(cli.Unsafe, err)
	}
	defer store.Close()
	bad, rows := 0, [][]string{{"PROVIDER", "KEY", "RESULT"}}
	var list []checkedKey
	for _, e := range all {
		if e.Shadowed || c.Provider != "" && e.Provider != c.Provider {
			continue
		}
		result := "ok"
		if err := c.check(s, store, e); err != nil {
			result = providers.Explain(err)
			bad++
		}
		rows = append(rows, []string{e.Provider, e.Key.String(), result})
		list = append(list, checkedKey{e.Provider, e.Key.String(), result == "ok", result})
	}
	if len(rows) == 1 {
		return cli.Fail(cli.Usage, errors.New("there is no key to check"))
	}
	if c.ForPrograms() {
		err = c.Write(s.Env.Out, list)
	} else {
		err = cli.Table(s.Env.Out, rows)
	}
	if err != nil {
		return err
	}
	if bad > 0 {
		return cli.Fail(cli.Failure, fmt.Errorf("%d of %d keys cannot be used", bad, len(rows)-1))
	}
	return nil
}

func (c *keysCheck) check(s *session, store *keys.Store, e keys.Entry) error {
	name, deployment, ok := s.config.ForKeys(e.Provider)
	if !ok {
		return errors.New("no provider of that name is configured")
	}
	p := s.config.Providers[name]
	if err := keys.CheckForm(p.Kind, keyForm(p), e.Key.Reveal()); err != nil {
		return err
	}
	if c.Offline {
		return nil
	}
	if names := p.DeploymentNames(); deployment == "" && len(names) > 0 {
		// The key of all deployments that have none of their own is asked for at the first of them.
		deployment = names[max(0, slices.IndexFunc(names, func(d string) bool { return !store.Has(config.KeysOf(name, d)[0]) }))]
	}
	client, err := app.ClientAt(s.config, name, deployment, store)
	if err != nil {
		return err
	}
	checker, ok := client.(app.KeyChecker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.Ctx, 30*time.Second)
	defer cancel()
	return checker.CheckKey(ctx, e.Key.Reveal())
}

type keysRm struct {
	Provider string `arg:"" help:"The provider."`
}

// Run removes them.
func (c *keysRm) Run(s *session) error {
	if err := keys.Remove(s.config.Keys, c.Provider); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	fmt.Fprintf(s.Env.Err, "removed from %s\n", s.config.Keys)
	return nil
}

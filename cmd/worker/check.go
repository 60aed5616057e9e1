package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

// checkCmd asks providers whether they answer, at no cost.
type checkCmd struct {
	Provider string `arg:"" optional:"" help:"Only this provider. Default: all that have a key."`
	cli.OutputFlag
}

// checked is the result of asking a provider, for programs.
type checked struct {
	Provider string `json:"provider"`
	// Deployment is the one that was asked; empty where the provider is one place.
	Deployment string `json:"deployment,omitempty"`
	Kind       string `json:"kind"`
	OK         bool   `json:"ok"`
	// Took is the time that the answer took; empty where nobody was asked.
	Took   string `json:"took,omitempty"`
	Result string `json:"result"`
}

// Run asks each to list its models or its account, whichever is free; one that
// does not answer gives exit code 1.
func (c *checkCmd) Run(s *session) error {
	store, err := app.OpenKeys(s.Env.Getenv, s.config, s.Log)
	if err != nil {
		return cli.Fail(cli.Unsafe, err)
	}
	defer store.Close()
	names, _ := app.Usable(s.config, store)
	if c.Provider != "" {
		if _, ok := s.config.Providers[c.Provider]; !ok {
			return cli.Fail(cli.Usage, fmt.Errorf("%.60q: there is no such provider; there are %s", c.Provider,
				strings.Join(slices.Sorted(maps.Keys(s.config.Providers)), ", ")))
		}
		names = []string{c.Provider}
	}
	bad, rows := 0, [][]string{{"PROVIDER", "KIND", "TOOK", "RESULT"}}
	list := []checked{}
	for _, name := range names {
		p := s.config.Providers[name]
		deployments := p.DeploymentNames()
		if len(deployments) == 0 {
			deployments = []string{""}
		}
		for _, deployment := range deployments {
			took, result, err := s.checkProvider(store, name, deployment)
			if err != nil {
				bad++
				result = providers.Explain(err)
			}
			shown := name
			if deployment != "" {
				shown += "/" + deployment
			}
			rows = append(rows, []string{shown, p.Kind, took, result})
			list = append(list, checked{name, deployment, p.Kind, err == nil, strings.TrimPrefix(took, "-"), result})
		}
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
		return cli.Fail(cli.Failure, fmt.Errorf("%d of %d providers cannot be used", bad, len(rows)-1))
	}
	return nil
}

// checkProvider asks one provider, at one of its deployments.
func (s *session) checkProvider(store *keys.Store, name, deployment string) (took, result string, err error) {
	p := s.config.Providers[name]
	d, _ := kinds.Of(p.Capabilities())
	if d.Local {
		return "-", "ok: nobody to ask", nil
	}
	secret := ""
	under := config.KeysOf(name, deployment)[0]
	if !store.Has(under) {
		under = name
	}
	key, err := store.Pick(under)
	switch {
	case err == nil:
		secret = key.Reveal()
	case !errors.Is(err, keys.ErrNoKey):
		return "-", "", err
	case p.NeedsKey():
		return "-", "", fmt.Errorf("no API key: set %s, or run `worker keys set %s`", keys.Variable(name), name)
	}
	client, err := app.ClientAt(s.config, name, deployment, store)
	if err != nil {
		return "-", "", err
	}
	checker, ok := client.(app.KeyChecker)
	if !ok {
		return "-", "not checked: it has no call that is free", nil
	}
	ctx, cancel := context.WithTimeout(s.Ctx, 30*time.Second)
	defer cancel()
	begin := time.Now()
	err = checker.CheckKey(ctx, secret)
	took = cli.Span(time.Since(begin))
	if err != nil {
		return took, "", err
	}
	dates, err := app.ShutdownDates(ctx, client, secret)
	return took, strings.Join(append([]string{"ok"}, s.retiring(name, d, dates)...), "; "), err
}

// retiring says of the models that the configuration, or a default, sends jobs to
// which of them their vendor shuts down, and when.
func (s *session) retiring(name string, d providers.Descriptor, dates map[string]string) []string {
	p := s.config.Providers[name]
	used := slices.Collect(maps.Values(p.Models))
	for task, can := range d.Capabilities().Tasks {
		if p.Models[string(task)] == "" {
			used = append(used, can.DefaultModel)
		}
	}
	for _, stands := range s.config.FallbackModels {
		used = append(used, stands[name], stands[d.Kind])
	}
	slices.Sort(used)
	var said []string
	for _, model := range slices.Compact(used) {
		if day := dates[model]; day != "" {
			said = append(said, fmt.Sprintf("%s is shut down on %s", model, day))
		}
	}
	return said
}

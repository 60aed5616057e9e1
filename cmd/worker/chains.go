package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/store"
)

// chainsCmd sets, while workers run, which providers are asked for a task.
type chainsCmd struct {
	Set   chainsSet   `cmd:"" help:"Set the providers to ask for a task, in order."`
	Ls    chainsLs    `cmd:"" help:"List the chains."`
	Reset chainsReset `cmd:"" help:"Go back to the configured chain of a task."`
}

type chainsSet struct {
	Task  providers.Task `arg:"" help:"text, image, audio or video." enum:"text,image,audio,video"`
	Chain string         `arg:"" help:"The providers in order, such as anthropic,openai."`
}

// Run sets the chain.
func (c *chainsSet) Run(s *session) error {
	chain := strings.Split(c.Chain, ",")
	for i := range chain {
		chain[i] = strings.TrimSpace(chain[i])
	}
	if err := s.config.CheckChain(chain); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	for _, name := range chain {
		can, _ := providers.CapabilitiesOf(s.config.Providers[name].Capabilities())
		if _, ok := can.Tasks[c.Task]; !ok {
			return cli.Fail(cli.Usage, fmt.Errorf("%s cannot do %s", name, c.Task))
		}
	}
	return s.withChains(func(db *store.Store) error {
		return db.SetChain(s.ctx, c.Task, chain, cli.Who(s.env.Getenv))
	})
}

type chainsReset struct {
	Task providers.Task `arg:"" help:"text, image, audio or video." enum:"text,image,audio,video"`
}

// Run takes the chain back.
func (c *chainsReset) Run(s *session) error {
	return s.withChains(func(db *store.Store) error {
		return db.SetChain(s.ctx, c.Task, nil, cli.Who(s.env.Getenv))
	})
}

// withChains does something to the chains and shows them then.
func (s *session) withChains(do func(*store.Store) error) error {
	db, err := s.services.Postgres(s.ctx, s.log)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := do(db); err != nil {
		return err
	}
	return printChains(s, db, "table")
}

type chainsLs struct {
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

// Run lists them.
func (c *chainsLs) Run(s *session) error {
	db, err := s.services.Postgres(s.ctx, s.log)
	if err != nil {
		return err
	}
	defer db.Close()
	return printChains(s, db, c.Output)
}

// chainRow is a chain for programs.
type chainRow struct {
	Task      providers.Task `json:"task"`
	Providers []string       `json:"providers"`
	// SetBy and SetAt say who set it while workers run; without them it is the
	// configured one.
	SetBy string    `json:"set_by,omitempty"`
	SetAt time.Time `json:"set_at,omitzero"`
}

func printChains(s *session, db *store.Store, output string) error {
	set, err := db.Chains(s.ctx)
	if err != nil {
		return err
	}
	var list []chainRow
	for _, task := range providers.Tasks() {
		row := chainRow{Task: task, Providers: s.config.Chains[string(task)]}
		if i := slices.IndexFunc(set, func(c store.Chain) bool { return c.Task == task }); i >= 0 {
			row = chainRow{Task: task, Providers: set[i].Providers, SetBy: set[i].ChangedBy, SetAt: set[i].ChangedAt}
		}
		if row.Providers != nil {
			list = append(list, row)
		}
	}
	if output == "json" {
		return cli.JSON(s.env.Out, list)
	}
	rows := [][]string{{"TASK", "PROVIDERS", "FROM"}}
	for _, c := range list {
		from := "the configuration"
		if !c.SetAt.IsZero() {
			from = cli.Printable(c.SetBy) + ", " + c.SetAt.Format(time.RFC3339)
		}
		rows = append(rows, []string{string(c.Task), strings.Join(c.Providers, " → "), from})
	}
	return cli.Table(s.env.Out, rows)
}

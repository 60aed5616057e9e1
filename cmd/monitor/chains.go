package main

import (
	"strings"
	"time"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
)

// chainsCmd lists and sets which providers are asked for a task.
type chainsCmd struct {
	Set   chainsSet   `cmd:"" help:"Set the providers to ask for a task, in order."`
	Ls    chainsLs    `cmd:"" help:"List the chains."`
	Reset chainsReset `cmd:"" help:"Go back to the configured chain of a task."`
}

type chainsSet struct {
	Task  providers.Task `arg:"" help:"text, image, audio, video, embedding or transcription." enum:"text,image,audio,video,embedding,transcription"`
	Chain string         `arg:"" help:"The providers in order, such as anthropic,openai."`
}

// Run sets the chain.
func (c *chainsSet) Run(s *session) error {
	chain := strings.Split(c.Chain, ",")
	for i := range chain {
		chain[i] = strings.TrimSpace(chain[i])
	}
	return s.changeChains(func(o *fleet.Orders) error { return o.SetChain(s.Ctx, s.actor(), c.Task, chain) })
}

type chainsReset struct {
	Task providers.Task `arg:"" help:"text, image, audio, video, embedding or transcription." enum:"text,image,audio,video,embedding,transcription"`
}

// Run takes the chain back.
func (c *chainsReset) Run(s *session) error {
	return s.changeChains(func(o *fleet.Orders) error { return o.ResetChain(s.Ctx, s.actor(), c.Task) })
}

// changeChains carries an order out and shows the chains then.
func (s *session) changeChains(do func(*fleet.Orders) error) error {
	return s.withFleet(func(f fleetView) error {
		if err := do(f.orders); err != nil {
			return err
		}
		return printChains(s, f, cli.OutputFlag{})
	})
}

type chainsLs struct {
	cli.OutputFlag
}

// Run lists them.
func (c *chainsLs) Run(s *session) error {
	return s.withFleet(func(f fleetView) error { return printChains(s, f, c.OutputFlag) })
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

func printChains(s *session, f fleetView, output cli.OutputFlag) error {
	set, err := f.store.Chains(s.Ctx)
	if err != nil {
		return err
	}
	var list []chainRow
	for _, c := range f.config.ChainsInForce(set) {
		list = append(list, chainRow{Task: c.Task, Providers: c.Providers, SetBy: c.ChangedBy, SetAt: c.ChangedAt})
	}
	if output.ForPrograms() {
		return output.Write(s.Env.Out, list)
	}
	rows := [][]string{{"TASK", "PROVIDERS", "FROM"}}
	for _, c := range list {
		from := "the configuration"
		if !c.SetAt.IsZero() {
			from = cli.Printable(c.SetBy) + ", " + c.SetAt.Format(time.RFC3339)
		}
		rows = append(rows, []string{string(c.Task), strings.Join(c.Providers, " → "), from})
	}
	return cli.Table(s.Env.Out, rows)
}

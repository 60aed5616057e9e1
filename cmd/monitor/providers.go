package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
)

// providersCmd looks after providers.
type providersCmd struct {
	Ls      providersLs      `cmd:"" help:"List the providers: state, reason, and the figures of their models."`
	Disable providersDisable `cmd:"" help:"Take a provider out of use: jobs go to the next of their chain, or wait."`
	Enable  providersEnable  `cmd:"" help:"Put a provider back into use; a block and a lack of money are forgotten."`
	Reset   providersReset   `cmd:"" help:"Let a provider's figures begin anew; the ledger stays."`
	Open    breakerOpen      `cmd:"" help:"Hold a provider's circuit breaker open: nothing is sent there."`
	Close   breakerClose     `cmd:"" help:"Hold a provider's circuit breaker closed, whatever fails there."`
	Auto    breakerAuto      `cmd:"" help:"Let a provider's circuit breaker work by itself again."`
}

// order carries an order to a provider out and prints its state then.
func (s *session) order(name string, do func(*fleet.Orders) error) error {
	return s.withFleet(func(f fleetView) error {
		if err := do(f.orders); err != nil {
			return err
		}
		list, err := f.store.Standings(s.Ctx)
		if err != nil {
			return err
		}
		for _, h := range list {
			if h.Name == name {
				_, err = fmt.Fprintln(s.Env.Out, sentence(h))
			}
		}
		return err
	})
}

type providersDisable struct {
	Provider string `arg:"" help:"The provider."`
	Reason   string `help:"Why; it is shown to everybody who asks." required:"" placeholder:"TEXT"`
}

// Run disables it.
func (c *providersDisable) Run(s *session) error {
	return s.order(c.Provider, func(o *fleet.Orders) error { return o.Disable(s.Ctx, s.actor(), c.Provider, c.Reason) })
}

type providersEnable struct {
	Provider string `arg:"" help:"The provider."`
}

// Run enables it.
func (c *providersEnable) Run(s *session) error {
	return s.order(c.Provider, func(o *fleet.Orders) error { return o.Enable(s.Ctx, s.actor(), c.Provider) })
}

type providersReset struct {
	Provider string `arg:"" optional:"" help:"The provider."`
	All      bool   `help:"All providers."`
}

// Run resets the figures.
func (c *providersReset) Run(s *session) error {
	if (c.Provider == "") != c.All {
		return cli.Fail(cli.Usage, errors.New("name either one provider or --all"))
	}
	return s.withFleet(func(f fleetView) error {
		if c.All {
			return f.orders.ResetAllMetrics(s.Ctx)
		}
		return f.orders.ResetMetrics(s.Ctx, c.Provider)
	})
}

type breakerOpen struct {
	Provider string `arg:"" help:"The provider."`
}

// Run holds the breaker open.
func (c *breakerOpen) Run(s *session) error { return s.hold(c.Provider, fleet.BreakerOpen) }

type breakerClose struct {
	Provider string `arg:"" help:"The provider."`
}

// Run holds the breaker closed.
func (c *breakerClose) Run(s *session) error { return s.hold(c.Provider, fleet.BreakerClosed) }

type breakerAuto struct {
	Provider string `arg:"" help:"The provider."`
}

// Run lets the breaker go.
func (c *breakerAuto) Run(s *session) error { return s.hold(c.Provider, "") }

func (s *session) hold(name string, state fleet.BreakerState) error {
	return s.order(name, func(o *fleet.Orders) error { return o.ForceBreaker(s.Ctx, s.actor(), name, state) })
}

type providersLs struct {
	Since time.Duration `help:"How far back the figures look, at most 30 days." default:"1h" placeholder:"DURATION"`
	cli.OutputFlag
}

// maxSince bounds how much of the ledger is read.
const maxSince = 30 * 24 * time.Hour

// Run lists them.
func (c *providersLs) Run(s *session) error {
	if c.Since <= 0 || c.Since > maxSince {
		return cli.Fail(cli.Usage, fmt.Errorf("--since %s: must be more than 0 and at most %s", c.Since, maxSince))
	}
	return s.withFleet(func(f fleetView) error {
		list, err := f.store.Health(s.Ctx, c.Since)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, list)
		}
		return s.printHealth(list)
	})
}

// printHealth writes a line for each provider and model, and below why a provider
// is not simply available.
func (s *session) printHealth(list []fleet.Health) error {
	if len(list) == 0 {
		fmt.Fprintln(s.Env.Err, "no providers yet: start a worker with `worker run`")
		return nil
	}
	rows := [][]string{{"PROVIDER", "STATUS", "WORKERS", "MODEL", "CALLS", "SUCCEEDED", "MEAN", "P50", "P95", "P99", "429S", "TOKENS", "COST", "LAST ERROR"}}
	for _, h := range list {
		name, status, workers := h.Name, string(h.Status), strconv.Itoa(h.Workers)
		if len(h.Models) == 0 {
			rows = append(rows, []string{name, status, workers, "-", "0", "-", "-", "-", "-", "-", "0", "0", "-", "-"})
		}
		for _, m := range h.Models {
			span := func(ms int64) string {
				if m.Succeeded == 0 {
					return "-"
				}
				return cli.Span(milliseconds(ms))
			}
			last := "-"
			if m.LastError != "" {
				last = m.LastError + " " + m.LastErrorAt.Format(time.TimeOnly)
			}
			rows = append(rows, []string{
				name, status, workers, cli.Printable(m.Model), cli.Count(m.Requests), percent(m.Traffic),
				span(m.Mean), span(m.P50), span(m.P95), span(m.P99), cli.Count(m.RateLimited),
				cli.Count(m.InputTokens + m.OutputTokens), cli.Amount(m.Money), last,
			})
			name, status, workers = "", "", ""
		}
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	for _, h := range list {
		if h.Status != fleet.Available || h.Breaker.Held != "" {
			if _, err := fmt.Fprintln(s.Env.Out, sentence(h)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sentence says how a provider stands, and why.
func sentence(h fleet.Health) string {
	text := h.Name + " is " + string(h.Status)
	if h.Reason != "" {
		text += ": " + cli.Printable(h.Reason)
	}
	if h.By != "" {
		text += ", says " + cli.Printable(h.By)
	}
	if !h.Since.IsZero() {
		text += ", since " + h.Since.Format(time.RFC3339)
	}
	if h.Breaker.Held == fleet.BreakerClosed {
		text += "; its breaker is held closed by " + cli.Printable(h.Breaker.By)
	}
	return text
}

// bestCmd ranks providers.
type bestCmd struct {
	Task providers.Task `arg:"" help:"text, image, audio, video, embedding or transcription." enum:"text,image,audio,video,embedding,transcription"`
	cli.OutputFlag
}

// Run prints them, the best first.
func (c *bestCmd) Run(s *session) error {
	return s.withFleet(func(f fleetView) error {
		best, err := fleet.FindBest(s.Ctx, f.store, f.config, c.Task)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, best)
		}
		rows := [][]string{{"", "PROVIDER", "MODEL", "CALLS", "SUCCEEDED", "P50", "P95", "A CALL COSTS", ""}}
		for i, k := range best.Candidates {
			place := strconv.Itoa(i + 1)
			p50, p95, note := "-", "-", cli.Printable(k.Excluded)
			if k.Figures.Succeeded > 0 {
				p50, p95 = cli.Span(milliseconds(k.Figures.P50)), cli.Span(milliseconds(k.Figures.P95))
			}
			switch {
			case k.Excluded != "":
				place = "-"
			case !k.Judged():
				note = "too few calls to judge"
			}
			cost := "-"
			if n, ok := k.Figures.Each(k.Figures.Succeeded); ok {
				cost = n.Human()
			} else if k.Figures.Unpriced > 0 {
				cost = "unknown"
			}
			rows = append(rows, []string{place, k.Provider, k.Model, cli.Count(k.Figures.Requests), percent(k.Figures.Traffic), p50, p95, cost, note})
		}
		if err := cli.Table(s.Env.Out, rows); err != nil {
			return err
		}
		_, why, err := cli.Choice(best)
		if err == nil {
			fmt.Fprintln(s.Env.Err, why)
		}
		return err
	})
}

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"oneflow/config"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/providers"
)

// limitsCmd lists and sets limits.
type limitsCmd struct {
	Set   limitsSet   `cmd:"" help:"Pin limits of a provider, or of a model: they hold from the next second on, whatever the provider says."`
	Ls    limitsLs    `cmd:"" help:"List the limits: configured, learned, pinned, and in force."`
	Reset limitsReset `cmd:"" help:"Forget what was pinned and learned, a block included."`
}

// limitsSet pins limits.
type limitsSet struct {
	Provider string `arg:"" help:"The provider, such as openai."`
	Model    string `help:"Pin them for calls of this model, with each key, and of those that are counted with it. Default: for all calls together." placeholder:"NAME"`
	config.Limits
}

// pins returns the limits that are given.
func (c *limitsSet) pins() map[providers.Dimension]int64 {
	pins := map[providers.Dimension]int64{}
	for _, d := range c.Written() {
		pins[d] = c.Known().Of(d)
	}
	return pins
}

// Run pins them.
func (c *limitsSet) Run(s *session) error {
	pins := c.pins()
	if len(pins) == 0 {
		return cli.Fail(cli.Usage, errors.New("no limit is given: name one, such as --rpm 500; `monitor limits reset` takes pins back"))
	}
	return s.changeLimits(c.Provider, func(o *fleet.Orders) error { return o.SetLimits(s.Ctx, s.actor(), c.Provider, c.Model, pins) })
}

type limitsReset struct {
	Provider string `arg:"" help:"The provider."`
	Model    string `help:"Only those of this model, and of those that are counted with it." placeholder:"NAME"`
}

// Run resets them.
func (c *limitsReset) Run(s *session) error {
	return s.changeLimits(c.Provider, func(o *fleet.Orders) error { return o.ResetLimits(s.Ctx, s.actor(), c.Provider, c.Model) })
}

// changeLimits carries out an order to a provider and shows its limits then.
func (s *session) changeLimits(provider string, do func(*fleet.Orders) error) error {
	return s.withFleet(func(f fleetView) error {
		if err := do(f.orders); err != nil {
			return err
		}
		known, err := f.store.ProviderLimits(s.Ctx)
		if err != nil {
			return err
		}
		err = printLimits(s, f.config, slices.DeleteFunc(f.config.Limits(known), func(l fleet.ProviderLimits) bool { return l.Provider != provider }))
		if err != nil {
			return err
		}
		stored, _, err := f.store.Settings(s.Ctx)
		if err != nil {
			return err
		}
		return printScopes(s, scopesOf(f.config, map[string]fleet.Stored{provider: stored[provider]}))
	})
}

type limitsLs struct {
	cli.OutputFlag
}

// limitsRow is a provider's limits for programs.
type limitsRow struct {
	Provider      string                        `json:"provider"`
	Configured    providers.Limits              `json:"configured"`
	Learned       providers.Limits              `json:"learned"`
	Pinned        map[providers.Dimension]int64 `json:"pinned"`
	InForce       providers.Limits              `json:"in_force"`
	LearnedAt     time.Time                     `json:"learned_at,omitzero"`
	PinnedBy      string                        `json:"pinned_by,omitempty"`
	PinnedAt      time.Time                     `json:"pinned_at,omitzero"`
	BlockedUntil  time.Time                     `json:"blocked_until,omitzero"`
	BlockedReason string                        `json:"blocked_reason,omitempty"`
	Scopes        []scopeRow                    `json:"scopes,omitempty"`
}

// scopeRow holds the limits of a class of a provider's models, for programs.
type scopeRow struct {
	Scope        string                        `json:"scope"`
	Configured   providers.Limits              `json:"configured"`
	Learned      providers.Limits              `json:"learned"`
	Pinned       map[providers.Dimension]int64 `json:"pinned"`
	PinnedBy     string                        `json:"pinned_by,omitempty"`
	InForce      providers.Limits              `json:"in_force"`
	BlockedUntil time.Time                     `json:"blocked_until,omitzero"`
}

// scopesOf lists the scopes of each of the providers stored of which something is known.
func scopesOf(config fleet.Config, stored map[string]fleet.Stored) map[string][]scopeRow {
	set := config.Settings(stored)
	all := map[string][]scopeRow{}
	for provider, known := range stored {
		for _, scope := range known.Scopes {
			layers := set[provider].ScopeLayers(scope.Scope)
			all[provider] = append(all[provider], scopeRow{
				scope.Scope, layers.Configured, layers.Learned, layers.Pinned, scope.PinnedBy, set[provider].Scope(scope.Scope), scope.BlockedUntil,
			})
		}
		for _, class := range slices.Sorted(maps.Keys(config.Providers[provider].Classes)) {
			if !slices.ContainsFunc(known.Scopes, func(s fleet.ScopeLimits) bool { return providers.ClassOfScope(s.Scope) == class }) {
				layers := set[provider].ScopeLayers(class)
				all[provider] = append(all[provider], scopeRow{Scope: class, Configured: layers.Configured, Pinned: layers.Pinned, InForce: set[provider].Scope(class)})
			}
		}
	}
	return all
}

// printScopes writes a line for each dimension of each scope that something is known of.
func printScopes(s *session, all map[string][]scopeRow) error {
	rows := [][]string{{"PROVIDER", "MODEL@KEY", "LIMIT", "CONFIGURED", "LEARNED", "PINNED", "IN FORCE"}}
	for _, provider := range slices.Sorted(maps.Keys(all)) {
		for _, scope := range all[provider] {
			for _, d := range providers.Dimensions() {
				pin, pinned := scope.Pinned[d]
				if scope.Learned.Of(d) == 0 && scope.InForce.Of(d) == 0 && !pinned {
					continue
				}
				rows = append(rows, []string{
					provider, cli.Printable(scope.Scope), string(d), orDash(scope.Configured.Of(d)), orDash(scope.Learned.Of(d)), pinText(pin, pinned),
					orNone(scope.InForce.Of(d)),
				})
			}
		}
	}
	if len(rows) == 1 {
		return nil
	}
	if _, err := fmt.Fprintln(s.Env.Out); err != nil {
		return err
	}
	return cli.Table(s.Env.Out, rows)
}

// Run lists them.
func (c *limitsLs) Run(s *session) error {
	return s.withFleet(func(f fleetView) error {
		known, err := f.store.ProviderLimits(s.Ctx)
		if err != nil {
			return err
		}
		list := f.config.Limits(known)
		stored, _, err := f.store.Settings(s.Ctx)
		if err != nil {
			return err
		}
		scopes := scopesOf(f.config, stored)
		if !c.ForPrograms() {
			if err := printLimits(s, f.config, list); err != nil {
				return err
			}
			return printScopes(s, scopes)
		}
		rows := make([]limitsRow, len(list))
		for i, l := range list {
			rows[i] = limitsRow{
				Provider: l.Provider, Configured: l.Configured, Learned: l.Learned, Pinned: l.Pinned, InForce: l.InForce(),
				LearnedAt: l.LearnedAt, PinnedBy: l.PinnedBy, PinnedAt: l.PinnedAt, BlockedUntil: l.BlockedUntil, BlockedReason: l.BlockedReason,
			}
			rows[i].Scopes = scopes[l.Provider]
			if rows[i].Pinned == nil {
				rows[i].Pinned = map[providers.Dimension]int64{}
			}
		}
		return c.Write(s.Env.Out, rows)
	})
}

// printLimits writes a line for each dimension that something is known of, and
// below what is to be said of a provider as a whole.
func printLimits(s *session, config fleet.Config, list []fleet.ProviderLimits) error {
	rows := [][]string{{"PROVIDER", "LIMIT", "CONFIGURED", "LEARNED", "PINNED", "IN FORCE"}}
	var notes []string
	for _, l := range list {
		name, before := l.Provider, len(rows)
		for _, d := range providers.Dimensions() {
			pin, pinned := l.Pinned[d]
			n, from := l.Of(d)
			if n == 0 && !pinned && l.Learned.Of(d) == 0 && l.Configured.Of(d) == 0 {
				continue
			}
			inForce := orNone(n)
			switch {
			case from == fleet.FromConfiguration && config.Providers[l.Provider].Class != nil && !slices.Contains(l.Written, d):
				inForce += " (each model)"
			case from != "":
				inForce += " (" + string(from) + ")"
			}
			rows = append(rows, []string{name, string(d), orDash(l.Configured.Of(d)), orDash(l.Learned.Of(d)), pinText(pin, pinned), inForce})
			name = ""
		}
		if len(rows) == before {
			rows = append(rows, []string{name, "-", "-", "-", "-", "no limit"})
		}
		if len(l.Pinned) > 0 {
			notes = append(notes, fmt.Sprintf("%s: pinned by %s at %s", l.Provider, cli.Printable(l.PinnedBy), l.PinnedAt.Format(time.RFC3339)))
		}
		if !l.BlockedUntil.IsZero() {
			note := fmt.Sprintf("%s: blocked until %s", l.Provider, l.BlockedUntil.Format(time.RFC3339))
			if l.BlockedReason != "" {
				note += ": " + cli.Printable(l.BlockedReason)
			}
			notes = append(notes, note)
		}
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(s.Env.Out, note); err != nil {
			return err
		}
	}
	return nil
}

// pinText is a limit that an operator may have set.
func pinText(n int64, pinned bool) string {
	if !pinned {
		return "-"
	}
	return orNone(n)
}

func orNone(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return cli.Count(n)
}

func orDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return cli.Count(n)
}

package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/fleet"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/worker"
)

// explainTimeout is the longest wait for Postgres, without which there is still
// something to say.
const explainTimeout = 3 * time.Second

// explain prints how many jobs of each provider a worker runs at once, and why.
func explain(s *session, served []worker.Served) error {
	names := make([]string, len(served))
	for i, p := range served {
		names[i] = p.Name
	}
	seen, set, models, err := known(s, names)
	if s.Ctx.Err() != nil {
		return stopped(s, err)
	}
	if err != nil {
		if _, err := fmt.Fprintf(s.Env.Err, "worker: computed from the configuration, for one worker: %v\n", err); err != nil {
			return err
		}
	}
	rows := [][]string{{"PROVIDER", "LIMIT", "LATENCY P90", "WORKERS", "CONCURRENCY", "FLEET", "JOBS/MIN", "BINDS"}}
	for _, p := range served {
		limits := p.Limits
		if inForce, ok := set[p.Name]; ok {
			limits = inForce.Total()
		}
		classes, of := map[string]providers.Limits{}, map[string]string{}
		for model, l := range models[p.Name] {
			class := s.config.Providers[p.Name].Class(model)
			classes[class], of[model] = l, class
		}
		if inForce, ok := set[p.Name]; ok && len(classes) > 0 {
			limits = inForce.Sum(slices.Collect(maps.Values(classes)))
		}
		plan, each := worker.NewPlan(p, limits, seen[p.Name]), map[string]worker.Plan{}
		if p.ByModel {
			plan, each = worker.NewPlans(p, limits, classes, seen[p.Name].InClasses(of))
		}
		latency := plan.Latency.Round(time.Millisecond).String()
		if !plan.Measured {
			latency += " (configured)"
		}
		rows = append(rows, []string{
			p.Name, limitText(plan.Limits), latency, cli.Count(int64(plan.Workers)), fmt.Sprintf("%d + %d high", plan.Share, plan.High),
			cli.Count(int64(plan.Fleet())), cli.Count(int64(math.Round(plan.JobsPerMinute))), plan.Binds,
		})
		for _, class := range slices.Sorted(maps.Keys(each)) {
			of := each[class]
			rows = append(rows, []string{
				"  " + cli.Printable(class), limitText(of.Limits), "", "", fmt.Sprint(of.Share), cli.Count(int64(of.Fleet())),
				cli.Count(int64(math.Round(of.JobsPerMinute))), of.Binds,
			})
		}
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	return explainHolds(s, names, set)
}

// explainHolds prints what holds each provider back now, as far as Redis answers.
func explainHolds(s *session, names []string, set map[string]fleet.Settings) error {
	options, err := s.Services.RedisOptions()
	if err != nil {
		return nil // no Redis is named: the table says what can be said
	}
	ctx, cancel := context.WithTimeout(s.Ctx, explainTimeout)
	defer cancel()
	client := redis.NewClient(options)
	defer client.Close()
	wanted := map[string]fleet.Settings{}
	for _, name := range names {
		wanted[name] = set[name]
	}
	holds, err := app.Holds(ctx, client, wanted)
	if err != nil {
		_, err := fmt.Fprintf(s.Env.Err, "worker: what holds providers back is not known: %v\n", err)
		return err
	}
	for _, name := range names {
		for _, line := range holds[name] {
			if _, err := fmt.Fprintf(s.Env.Out, "%s: %s\n", name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// known returns what the fleet has seen, the settings in force, and the limits of the models
// that workers have met, as far as Postgres answers.
func known(s *session, names []string) (seen map[string]worker.Capacity, set map[string]fleet.Settings, models map[string]map[string]providers.Limits, err error) {
	services := s.Services
	services.ConnectTimeout = min(services.ConnectTimeout, explainTimeout)
	db, err := services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return nil, nil, nil, err
	}
	defer db.Close()
	if seen, err = db.Capacity(s.Ctx, names); err != nil {
		return nil, nil, nil, err
	}
	stored, _, err := db.Settings(s.Ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	standings, err := db.Standings(s.Ctx)
	models = map[string]map[string]providers.Limits{}
	for _, h := range standings {
		models[h.Name] = h.ModelLimits
	}
	return seen, cli.Fleet(s.config).Settings(stored), models, err
}

// limitText lists what a provider allows.
func limitText(l providers.Limits) string {
	var parts []string
	for _, d := range providers.Dimensions() {
		if n := l.Of(d); n > 0 {
			parts = append(parts, cli.Count(n)+" "+d.Unit())
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/fleet"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/providers"
	"oneflow/worker"
)

// explainPatience is the longest wait for Postgres, without which there is still
// something to say.
const explainPatience = 3 * time.Second

// explain prints how many jobs of each provider a worker runs at once, and why.
func explain(s *session, served []worker.Served) error {
	names := make([]string, len(served))
	for i, p := range served {
		names[i] = p.Name
	}
	seen, set, err := known(s, names)
	if s.Ctx.Err() != nil {
		return stopped(s, err)
	}
	if err != nil {
		if _, err := fmt.Fprintf(s.Env.Err, "worker: reckoned with the configuration and one worker: %v\n", err); err != nil {
			return err
		}
	}
	rows := [][]string{{"PROVIDER", "LIMIT", "LATENCY P90", "WORKERS", "CONCURRENCY", "FLEET", "JOBS/MIN", "BINDS"}}
	for _, p := range served {
		limits := p.Limits
		if inForce, ok := set[p.Name]; ok {
			limits = inForce.Total()
		}
		plan := worker.NewPlan(p, limits, seen[p.Name])
		latency := plan.Latency.Round(time.Millisecond).String()
		if !plan.Measured {
			latency += " (configured)"
		}
		rows = append(rows, []string{
			p.Name, limitText(plan.Limits), latency, cli.Count(int64(plan.Workers)), fmt.Sprintf("%d + %d high", plan.Share, plan.High),
			cli.Count(int64(plan.Fleet())), cli.Count(int64(math.Round(plan.JobsPerMinute))), plan.Binds,
		})
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
	ctx, cancel := context.WithTimeout(s.Ctx, explainPatience)
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

// known returns what the fleet has seen, and the settings in force, as far as Postgres answers.
func known(s *session, names []string) (map[string]worker.Capacity, map[string]fleet.Settings, error) {
	services := s.Services
	services.ConnectTimeout = min(services.ConnectTimeout, explainPatience)
	db, err := services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	seen, err := db.Capacity(s.Ctx, names)
	if err != nil {
		return nil, nil, err
	}
	stored, _, err := db.Settings(s.Ctx)
	return seen, cli.Fleet(s.config).Settings(stored), err
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

package main

import (
	"fmt"
	"time"

	"oneflow/fleet"
	"oneflow/internal/cli"
)

// exportMetricsCmd writes figures for other programs.
type exportMetricsCmd struct {
	Since  time.Duration `help:"How far back they go." default:"24h" placeholder:"DURATION"`
	Format string        `help:"json (one document), ndjson (one object a line) or csv." enum:"json,ndjson,csv" default:"json"`
}

// Run writes them.
func (c *exportMetricsCmd) Run(s *session) error {
	if c.Since <= 0 {
		return cli.Fail(cli.Usage, fmt.Errorf("--since %s: must be more than 0", c.Since))
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := db.MetricsByHour(s.Ctx, time.Now().Add(-c.Since), time.Time{})
	if err != nil {
		return err
	}
	if c.Format != "csv" {
		return cli.OutputFlag{Output: c.Format}.Write(s.Env.Out, list)
	}
	rows := [][]string{{
		"hour", "provider", "model", "requests", "succeeded", "failed_unbilled", "failed_billed", "unknown", "rate_limited", "refused",
		"input_tokens", "output_tokens", "cost_usd", "simulated_cost_usd", "unpriced_calls", "mean_latency_ms", "max_latency_ms",
	}}
	for _, m := range list {
		rows = append(rows, metricsRow(m))
	}
	return cli.WriteCSV(s.Env.Out, rows)
}

func metricsRow(m fleet.Metrics) []string {
	row := []string{m.Hour.UTC().Format(time.RFC3339), m.Provider, m.Model}
	for _, n := range []int64{
		m.Requests, m.Succeeded, m.FailedUnbilled, m.FailedBilled, m.Unknown, m.RateLimited, m.Refused, m.InputTokens, m.OutputTokens,
	} {
		row = append(row, fmt.Sprint(n))
	}
	return append(row, m.Cost.String(), m.Simulated.String(), fmt.Sprint(m.Unpriced), fmt.Sprint(m.MeanLatency), fmt.Sprint(m.MaxLatency))
}

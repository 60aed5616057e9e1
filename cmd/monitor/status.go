package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/monitor"
)

// statusCmd prints the overview.
type statusCmd struct {
	cli.OutputFlag
}

// Run prints it.
func (c *statusCmd) Run(s *session) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	o, err := monitor.NewReader(db).Overview(s.Ctx)
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, o)
	}
	return printOverview(s.Env.Out, o)
}

// printOverview writes the overview for people.
func printOverview(w io.Writer, o monitor.Overview) error {
	unfinished := cli.Count(o.Totals.Unfinished)
	if o.Totals.More {
		unfinished = "more than " + unfinished
	}
	day := o.Totals.Day
	tables := [][][]string{
		{
			{"unfinished jobs", unfinished + ", " + cli.Count(o.Totals.Running) + " running"},
			{"workers alive", fmt.Sprint(o.Alive())},
			{"last 24 hours", cli.Count(day.Requests) + " calls, " + percent(day) + " succeeded, " + cli.Amount(day.Money)},
		},
		providerRows(o.Providers), workerRows(o.Workers), batchRows(o),
	}
	if len(o.Waits) > 0 {
		tables[0] = append(tables[0], waitRows(o.Waits)...)
	}
	for i, rows := range tables {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		write := cli.Table
		if i == 0 {
			write = cli.Fields
		}
		if err := write(w, rows); err != nil {
			return err
		}
	}
	return nil
}

// waitRows say why jobs wait.
func waitRows(waits []fleet.Wait) [][]string {
	var rows [][]string
	for i, w := range waits {
		label := ""
		if i == 0 {
			label = "waiting"
		}
		rows = append(rows, []string{label, cli.Count(w.Jobs) + ": " + cli.Printable(w.Text)})
	}
	return rows
}

func providerRows(list []fleet.Provider) [][]string {
	if len(list) == 0 {
		return [][]string{{"no providers yet: start a worker with `worker run`"}}
	}
	rows := [][]string{{"PROVIDER", "STATUS", "LIMIT", "WORKERS", "CALLS/5M", "SUCCEEDED", "P50", "P95", "429S", "COST"}}
	for _, p := range list {
		limit := "none"
		if n := p.PerMinute(); n > 0 {
			limit = cli.Count(n) + "/min"
		}
		if n := len(p.ModelLimits); n > 1 {
			limit += fmt.Sprintf(", %d models", n)
		}
		p50, p95 := "-", "-"
		if p.Traffic.Requests > 0 {
			p50, p95 = cli.Span(milliseconds(p.P50)), cli.Span(milliseconds(p.P95))
		}
		rows = append(rows, []string{
			p.Name, string(p.Status), limit, fmt.Sprint(p.Workers), cli.Count(p.Traffic.Requests), percent(p.Traffic), p50, p95,
			cli.Count(p.Traffic.RateLimited), cli.Amount(p.Traffic.Money),
		})
	}
	return rows
}

func workerRows(list []fleet.Worker) [][]string {
	if len(list) == 0 {
		return [][]string{{"no workers: start one with `worker run`"}}
	}
	rows := [][]string{{"WORKER", "PID", "STATE", "RUNNING", "PROVIDERS"}}
	for _, w := range list {
		state := "alive"
		if !w.Alive {
			state = "silent for " + cli.Span(w.SilentFor)
		}
		rows = append(rows, []string{w.Host, fmt.Sprint(w.PID), state, cli.Count(w.Running), strings.Join(w.Providers, ",")})
	}
	return rows
}

func batchRows(o monitor.Overview) [][]string {
	if len(o.Batches) == 0 {
		return [][]string{{"no batches yet: bring a file in with `enqueue batch prompts.jsonl --watch`"}}
	}
	rows := [][]string{{"BATCH", "SOURCE", "STATE", "DONE", "FAILED", "COST", "AGE"}}
	for _, b := range o.Batches {
		rows = append(rows, []string{
			b.ID, cli.Printable(b.Source), b.State, cli.Count(b.Done()) + "/" + cli.Count(b.Total()), cli.Count(b.Failures()),
			cli.Amount(b.Money), cli.Span(o.At.Sub(b.CreatedAt).Truncate(time.Second)),
		})
	}
	return rows
}

func percent(t fleet.Traffic) string {
	rate, ok := t.SuccessRate()
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*rate)
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

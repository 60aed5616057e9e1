package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// jobStatus is a job's status for programs. Provider and model are those that
// answered; what was asked for stands beside them where it was something else.
type jobStatus struct {
	cli.Status
	Provider          string             `json:"provider"`
	Model             string             `json:"model"`
	RequestedProvider string             `json:"requested_provider,omitempty"`
	RequestedModel    string             `json:"requested_model,omitempty"`
	Chain             []string           `json:"chain,omitempty"`
	Fallback          providers.Fallback `json:"fallback"`
	Calls             []batches.Call     `json:"calls"` // never null
}

// batchStatus is a batch's status for programs. The lists are empty for batches
// that are too large to be looked at job by job.
type batchStatus struct {
	cli.Status
	Asked    []batches.Asked    `json:"asked"`    // never null
	Answered []batches.Answered `json:"answered"` // never null
	// Problems are the failures by class, with one sample each; never null.
	Problems []batches.Problem `json:"problems"`
}

// show prints where something stands, what it asked for, and who answered.
func show(s *session, db *store.Store, output string, p jobs.Progress) error {
	d, err := db.Detail(s.ctx, p)
	if err != nil {
		return err
	}
	var problems []batches.Problem
	if p.JobID == "" && p.Failures()+p.Counts[jobs.Retrying] > 0 {
		b, err := db.BatchDetail(s.ctx, p.BatchID)
		if err != nil {
			return err
		}
		problems = b.Problems
	}
	switch {
	case output != "json":
		if err := cli.PrintStatus(s.env.Out, p, parties(p, d)...); err != nil {
			return err
		}
		if len(problems) > 0 {
			return printProblems(s, p, problems)
		}
		if len(d.Calls) == 0 {
			return nil
		}
		fmt.Fprintln(s.env.Out)
		return cli.Table(s.env.Out, calls(d.Calls))
	case p.JobID == "":
		return cli.JSON(s.env.Out, batchStatus{cli.StatusOf(p), append([]batches.Asked{}, d.Asked...), append([]batches.Answered{}, d.Answered...), append([]batches.Problem{}, problems...)})
	}
	out := jobStatus{Status: cli.StatusOf(p), Calls: append([]batches.Call{}, d.Calls...)}
	for _, a := range d.Asked {
		out.Provider, out.Model, out.Chain, out.Fallback = a.Provider, a.Model, a.Chain, a.Fallback
	}
	for _, a := range d.Answered {
		if a.Provider != out.Provider {
			out.RequestedProvider, out.RequestedModel = out.Provider, out.Model
		}
		out.Provider, out.Model = a.Provider, a.Model
	}
	return cli.JSON(s.env.Out, out)
}

// printProblems says why jobs failed, with a sample of each reason, and how to bring
// them back.
func printProblems(s *session, p jobs.Progress, problems []batches.Problem) error {
	rows := [][]string{{"JOBS", "STATE", "REASON", "SUCH AS"}}
	for _, one := range problems {
		reason := one.Class
		if one.Message != "" {
			reason += ": " + cli.Printable(one.Message)
		}
		rows = append(rows, []string{cli.Count(one.Jobs), string(one.State), reason, one.JobID})
	}
	fmt.Fprintln(s.env.Out)
	if err := cli.Table(s.env.Out, rows); err != nil {
		return err
	}
	if p.Failures() == 0 || p.State == jobs.BatchCancelled || p.State == jobs.BatchCancelling {
		return nil
	}
	command := "enqueue retry " + p.BatchID
	if p.Counts[jobs.Unknown] > 0 {
		command += " --unknown"
	}
	if p.Counts[jobs.Expired] > 0 {
		command += " --expired"
	}
	_, err := fmt.Fprintf(s.env.Err, "bring them back with: %s; list them with: enqueue jobs %s --failed\n", command, p.BatchID)
	return err
}

// parties says for people what was asked for, and who answered.
func parties(p jobs.Progress, d batches.Detail) [][]string {
	var rows [][]string
	add := func(title, text string, n int64) {
		if p.JobID == "" {
			text += ": " + cli.Count(n)
		}
		rows = append(rows, []string{title, text})
	}
	for _, a := range d.Asked {
		text := cli.Printable(a.Provider + " " + a.Model)
		if len(a.Chain) > 0 {
			text += ", chain " + strings.Join(a.Chain, " → ")
		}
		if a.Fallback != providers.FallbackAuto {
			text += ", fallback " + string(a.Fallback)
		}
		add("asked", text, a.Jobs)
	}
	for _, a := range d.Answered {
		add("answered", cli.Printable(a.Provider+" "+a.Model), a.Jobs)
	}
	return rows
}

// calls are a job's calls for people.
func calls(all []batches.Call) [][]string {
	rows := [][]string{{"CALL", "PROVIDER", "MODEL", "OUTCOME", "TOOK", "COST", "ERROR"}}
	for i, c := range all {
		took, cost, failure := "-", "-", cmp.Or(c.Error, "-")
		if c.LatencyMS != nil {
			took = cli.Span(time.Duration(*c.LatencyMS) * time.Millisecond)
		}
		if c.Cost != nil {
			cost = c.Cost.Human()
		}
		if c.Message != "" {
			failure += ": " + cli.Printable(c.Message)
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), c.Provider, cli.Printable(c.Model), c.Outcome, took, cost, failure})
	}
	return rows
}

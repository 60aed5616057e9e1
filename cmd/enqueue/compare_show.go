package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// answerLines is the number of lines of an answer in a table.
const answerLines = 8

// follow waits for the answers, asks the judge, and shows all of it.
func (c *compareCmd) follow(s *session, cfg config.Config, name string) error {
	back := "enqueue compare --show " + name
	if c.Judge != "" {
		back += " --judge " + c.Judge
	}
	over, err := c.await(s, cfg, name, back)
	if err == nil {
		var found batches.Comparison
		if found, err = batches.Compare(s.Ctx, s.store, name); err == nil {
			err = c.print(s, found)
		}
	}
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return cli.Fail(cli.Usage, fmt.Errorf("%s: no such comparison", name))
	case errors.Is(err, context.Canceled):
		return cli.Fail(cli.Interrupted, fmt.Errorf("stopped watching; the jobs go on. Come back with: %s", back))
	case err != nil:
		return err
	}
	return over
}

// await waits for the answers and the judge; over is how their batches ended. back is the
// command to come back with.
func (c *compareCmd) await(s *session, cfg config.Config, name, back string) (over, err error) {
	db, err := s.db()
	if err != nil {
		return nil, err
	}
	found, err := batches.Compare(s.Ctx, db, name)
	if err != nil {
		return nil, err
	}
	if !found.Finished() && c.Show != "" && c.Judge == "" {
		fmt.Fprintf(s.Env.Err, "enqueue: the answers are still coming in\n")
		return nil, nil
	}
	if !found.Finished() || c.Show == "" {
		p, err := watchAll(s, found.Batches(), back)
		if err != nil {
			return nil, err
		}
		over = outcome(p)
	}
	if c.Judge == "" {
		return over, nil
	}
	judging, err := c.judge(s, cfg, found)
	if err != nil || judging == "" {
		return over, err
	}
	p, err := watchAll(s, []string{judging}, back)
	if err != nil {
		return nil, err
	}
	return errors.Join(over, outcome(p)), nil
}

// judge asks the judge about each row that two models have answered, and returns the batch
// that does; empty: there is no such row.
func (c *compareCmd) judge(s *session, cfg config.Config, found batches.Comparison) (string, error) {
	key, err := c.model(cfg, "judge", c.Judge)
	if err != nil {
		return "", err
	}
	common := common{routing: routing{Provider: key.Provider, Model: key.Model, NoFallback: true}, asking: asking{Account: found.Account, OnUnknown: jobs.RetryUnknown}}
	in, err := common.input(s, cfg, string(providers.Text), jobs.Bulk)
	if err != nil {
		return "", err
	}
	in.Ask = &key
	id := batchOf(found.Name+".judge", key)
	n, err := take(s, cfg, asking{Account: found.Account}, key.String(), batches.Intake{Input: in, Batch: jobs.Batch{
		ID: id, Account: found.Account, Source: "the answers of " + found.Name, Origin: "judge " + found.Name,
		Tags: map[string]string{batches.TagComparison: found.Name, batches.TagJudge: key.String()},
	}}, found.Questions(s.Ctx, s.store))
	if err != nil {
		return "", err
	}
	if n == 0 {
		fmt.Fprintf(s.Env.Err, "enqueue: no row has two answers: there is nothing to judge\n")
		return "", nil
	}
	return id, nil
}

// print shows a comparison: totals, and its first rows; all of them to programs.
func (c *compareCmd) print(s *session, found batches.Comparison) error {
	if c.ForPrograms() {
		return c.printJSON(s, found)
	}
	head := [][]string{
		{"comparison", found.Name},
		{"source", cli.Printable(found.Source)},
		{"state", found.State},
		{"rows", cli.Count(found.Rows)},
	}
	if err := cli.Fields(s.Env.Out, head); err != nil {
		return err
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.Table(s.Env.Out, comparedModels(found)); err != nil {
		return err
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.Fields(s.Env.Out, winners(found)); err != nil {
		return err
	}
	shown := int64(0)
	err := found.EachRow(s.Ctx, s.store, 0, max(c.Rows, 1), func(r batches.ComparedRow) error {
		if c.Rows <= 0 {
			return nil
		}
		shown++
		return printRow(s, r)
	})
	if left := found.Rows - shown; err == nil && left > 0 {
		fmt.Fprintf(s.Env.Err, "%s not shown: say --rows %d, or -o json\n", cli.Things(left, "more row"), found.Rows)
	}
	return err
}

func comparedModels(found batches.Comparison) [][]string {
	rows := [][]string{{"MODEL", "ANSWERS", "FAILED", "COST", "PER ANSWER", "P50", "P95", "TOKENS IN", "TOKENS OUT"}}
	for _, m := range found.Models {
		rows = append(rows, []string{
			cli.Printable(m.Model), cli.Count(m.Answers), cli.Count(m.Failed), cli.Amount(m.Money), perAnswer(m),
			span(m.P50MS), span(m.P95MS), cli.Count(m.InputTokens), cli.Count(m.OutputTokens),
		})
	}
	return rows
}

// perAnswer is the cost of an answer of a model.
func perAnswer(m batches.ComparedModel) string {
	switch {
	case m.PerAnswer != nil:
		return m.PerAnswer.Human()
	case m.Unpriced > 0:
		return "unpriced"
	}
	return "-"
}

func span(ms int64) string { return cli.Span(time.Duration(ms) * time.Millisecond) }

// winners say who is the best, by what.
func winners(found batches.Comparison) [][]string {
	name := func(model string) string {
		if model == "" {
			return "-"
		}
		return cli.Printable(model)
	}
	rows := [][]string{{"cheapest", name(found.Cheapest)}, {"fastest", name(found.Fastest)}}
	for _, j := range found.Judges {
		var parts []string
		for _, m := range found.Models {
			said := "not judged"
			if j.Judged(m.Model) {
				said = cli.Count(j.Best[m.Model])
			}
			parts = append(parts, cli.Printable(m.Model)+" "+said)
		}
		parts = append(parts, "ties "+cli.Count(j.Ties))
		if j.Unclear > 0 {
			parts = append(parts, "unclear "+cli.Count(j.Unclear))
		}
		rows = append(rows,
			[]string{"best", fmt.Sprintf("%s, says %s", name(j.Winner), cli.Printable(j.Judge))},
			[]string{"", fmt.Sprintf("%s of %s rows judged: %s", cli.Count(j.Verdicts), cli.Count(j.Jobs), strings.Join(parts, ", "))},
			[]string{"", "the judge cost " + cli.Amount(j.Money)})
	}
	return rows
}

// printRow shows a row with its answers beside each other.
func printRow(s *session, r batches.ComparedRow) error {
	title := "row " + cli.Count(r.Row)
	if r.CustomID != "" {
		title += " (" + cli.Printable(r.CustomID) + ")"
	}
	fmt.Fprintln(s.Env.Out)
	if err := cli.SideBySide(s.Env.Out, []cli.Column{{Title: title, Text: r.Prompt}}, 3); err != nil {
		return err
	}
	columns := make([]cli.Column, len(r.Answers))
	for i, a := range r.Answers {
		best := slices.ContainsFunc(r.Verdicts, func(v batches.Verdict) bool { return v.Best == a.Model })
		columns[i] = cli.Column{Title: "── " + cli.Printable(a.Model), Text: answerText(a), Foot: answerFoot(a, best)}
	}
	if err := cli.SideBySide(s.Env.Out, columns, answerLines); err != nil {
		return err
	}
	for _, v := range r.Verdicts {
		if v.Reason == "" {
			continue
		}
		if err := cli.SideBySide(s.Env.Out, []cli.Column{{Text: fmt.Sprintf("%s: %s", v.Judge, v.Reason)}}, 3); err != nil {
			return err
		}
	}
	return nil
}

func answerText(a batches.ComparedAnswer) string {
	switch {
	case a.JobID == "":
		return "(not asked: the row was refused)"
	case a.Error != "":
		return "(" + a.Error + ")"
	case a.State != jobs.Succeeded:
		return "(" + string(a.State) + ")"
	case a.Text == "" && a.Artifacts > 0:
		return "(" + cli.Things(int64(a.Artifacts), "file") + ")"
	}
	return a.Text
}

func answerFoot(a batches.ComparedAnswer, best bool) string {
	if a.State != jobs.Succeeded {
		return ""
	}
	foot := fmt.Sprintf("%s, %s, %s + %s tokens", cli.Amount(a.Money), span(a.LatencyMS), cli.Count(a.InputTokens), cli.Count(a.OutputTokens))
	if a.Finish == providers.FinishLength {
		foot += ", cut"
	}
	if best {
		foot = "★ best; " + foot
	}
	return foot
}

// printJSON writes one document, or the comparison and then a row a line. Rows are written
// as they are read.
func (c *compareCmd) printJSON(s *session, found batches.Comparison) error {
	out := s.Env.Out
	if c.Output == "ndjson" {
		if err := cli.Line(out, found); err != nil {
			return err
		}
		return found.EachRow(s.Ctx, s.store, 0, 0, func(r batches.ComparedRow) error { return cli.Line(out, r) })
	}
	head, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "{\"comparison\":%s,\"rows\":[", head); err != nil {
		return err
	}
	comma := "\n"
	err = found.EachRow(s.Ctx, s.store, 0, 0, func(r batches.ComparedRow) error {
		if _, err := fmt.Fprint(out, comma); err != nil {
			return err
		}
		comma = ","
		return cli.Line(out, r)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "]}")
	return err
}

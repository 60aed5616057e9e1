package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/webhooks"
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
	// Finish says why the answer ended; empty without one.
	Finish providers.Finish `json:"finish_reason,omitempty"`
	Calls  []batches.Call   `json:"calls"` // never null
	// Waits says why it waits; empty where it does not, never null.
	Waits []fleet.Wait `json:"waits"`
}

// batchStatus is a batch's status for programs. The lists are empty for batches
// that are too large to be looked at job by job.
type batchStatus struct {
	cli.Status
	Asked    []batches.Asked    `json:"asked"`    // never null
	Answered []batches.Answered `json:"answered"` // never null
	// Finished counts the reasons for which answers ended; never null.
	Finished []batches.Finished `json:"finished"`
	// Problems are the failures by class, with one sample each; never null.
	Problems []batches.Problem `json:"problems"`
	// Waits says why jobs wait, most jobs first; never null.
	Waits []fleet.Wait `json:"waits"`
	// Webhook says what the application was told; null where nobody is.
	Webhook *toldStatus `json:"webhook"`
	// Steps are those of a pipeline, in their order, and the figures above are of all of
	// them; empty where it is none, never null.
	Steps []stepStatus `json:"steps"`
}

// stepStatus says where a step of a pipeline stands.
type stepStatus struct {
	Name string `json:"name"`
	cli.Status
	// LeftOut counts the rows that its filter left out.
	LeftOut int64 `json:"left_out"`
}

// stepsOf returns the steps of a pipeline.
func stepsOf(s *session, db *store.Store, p jobs.Progress) ([]stepStatus, error) {
	out := []stepStatus{}
	if len(p.Steps) == 0 {
		return out, nil
	}
	list, err := db.Steps(s.Ctx, p.BatchID)
	for _, one := range list {
		out = append(out, stepStatus{one.Name, cli.StatusOf(one.Progress), one.LeftOut})
	}
	return out, err
}

// partsOf are the batches of which p tells: those of the steps of a pipeline, or the one.
func partsOf(p jobs.Progress) []string {
	if len(p.Steps) == 0 {
		return []string{p.BatchID}
	}
	return p.Steps
}

// problemsOf returns the failures of a batch, or of all steps of a pipeline.
func problemsOf(s *session, db *store.Store, p jobs.Progress) (all []batches.Problem, err error) {
	if p.JobID != "" || p.Failures()+p.Counts[jobs.Retrying] == 0 {
		return nil, nil
	}
	for _, id := range partsOf(p) {
		some, err := db.Problems(s.Ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// printSteps shows them to people.
func printSteps(s *session, steps []stepStatus) error {
	rows := [][]string{{"STEP", "STATE", "JOBS", "DONE", "FAILED", "LEFT OUT", "COST", "BATCH"}}
	for _, one := range steps {
		p := jobs.Progress{Counts: one.Counts}
		rows = append(rows, []string{
			one.Name, one.State, cli.Count(p.Total()), cli.Count(p.Done()), cli.Count(p.Failures()), cli.Count(one.LeftOut),
			cli.Amount(jobs.Money{Cost: one.CostUSD, Simulated: one.SimulatedUSD, Unpriced: one.Unpriced}), one.BatchID,
		})
	}
	fmt.Fprintln(s.Env.Out)
	return cli.Table(s.Env.Out, rows)
}

// toldStatus says what an application was told of a batch.
type toldStatus struct {
	URL       string `json:"url"` // without its query
	PerJob    bool   `json:"per_job"`
	Delivered int64  `json:"delivered"`
	Waiting   int64  `json:"waiting"`
	Failed    int64  `json:"failed"`
	Error     string `json:"error,omitempty"`
}

// told returns it; nil: nobody is told.
func told(s *session, db *store.Store, p jobs.Progress) (*toldStatus, error) {
	if !p.Webhook {
		return nil, nil //nolint:nilnil // nobody is told
	}
	w, err := db.WebhooksOf(s.Ctx, p.BatchID)
	if err != nil || w == nil {
		return nil, err
	}
	return &toldStatus{webhooks.Shown(w.URL), w.PerJob, w.Delivered, w.Waiting, w.Failed, w.Error}, nil
}

// rows say it for people.
func (t *toldStatus) rows() [][]string {
	if t == nil {
		return nil
	}
	parts := []string{cli.Printable(t.URL)}
	for _, part := range []struct {
		n    int64
		what string
	}{{t.Delivered, "delivered"}, {t.Waiting, "waiting"}, {t.Failed, "given up"}} {
		if part.n > 0 {
			parts = append(parts, cli.Count(part.n)+" "+part.what)
		}
	}
	text := strings.Join(parts, ", ")
	if t.Error != "" && t.Waiting+t.Failed > 0 {
		text += ": " + cli.Printable(t.Error)
	}
	return [][]string{{"webhook", text}}
}

// show prints where something stands, what it asked for, why it waits, and who
// answered.
func show(s *session, db *store.Store, output cli.OutputFlag, p jobs.Progress) error {
	d, err := db.Detail(s.Ctx, p)
	if err != nil {
		return err
	}
	steps, err := stepsOf(s, db, p)
	if err != nil {
		return err
	}
	waits := []fleet.Wait{}
	if !p.Finished() {
		found, err := waitsOf(s.Ctx, db, p, partsOf(p))
		if err != nil {
			return err
		}
		waits = append(waits, found...)
	}
	webhook, err := told(s, db, p)
	if err != nil {
		return err
	}
	problems, err := problemsOf(s, db, p)
	if err != nil {
		return err
	}
	switch {
	case !output.ForPrograms():
		if err := cli.PrintStatus(s.Env.Out, p, slices.Concat(parties(p, d), waitRows(p, waits), webhook.rows())...); err != nil {
			return err
		}
		if len(steps) > 0 {
			if err := printSteps(s, steps); err != nil {
				return err
			}
		}
		if len(problems) > 0 {
			return printProblems(s, p, problems)
		}
		if len(d.Calls) == 0 {
			return nil
		}
		fmt.Fprintln(s.Env.Out)
		return cli.Table(s.Env.Out, calls(d.Calls))
	case p.JobID == "":
		return output.Write(s.Env.Out, batchStatus{
			Status: cli.StatusOf(p), Asked: append([]batches.Asked{}, d.Asked...), Answered: append([]batches.Answered{}, d.Answered...),
			Finished: append([]batches.Finished{}, d.Finished...),
			Problems: append([]batches.Problem{}, problems...), Waits: waits, Webhook: webhook, Steps: steps,
		})
	}
	out := jobStatus{Status: cli.StatusOf(p), Calls: append([]batches.Call{}, d.Calls...), Waits: waits}
	for _, a := range d.Asked {
		out.Provider, out.Model, out.Chain, out.Fallback = a.Provider, a.Model, a.Chain, a.Fallback
	}
	for _, a := range d.Answered {
		if a.Provider != out.Provider {
			out.RequestedProvider, out.RequestedModel = out.Provider, out.Model
		}
		out.Provider, out.Model = a.Provider, a.Model
	}
	for _, f := range d.Finished {
		out.Finish = f.Finish
	}
	return output.Write(s.Env.Out, out)
}

// waitsOf says why the job, or the jobs of the batches, wait: not those that are marked as cancelled by and by.
func waitsOf(ctx context.Context, db *store.Store, p jobs.Progress, ids []string) ([]fleet.Wait, error) {
	if p.JobID != "" {
		return fleet.Waits(ctx, db, "", p.JobID)
	}
	if p.State == jobs.BatchCancelling {
		return nil, nil
	}
	if len(ids) == 1 {
		return fleet.Waits(ctx, db, ids[0], "")
	}
	var waiting []fleet.WaitingJobs
	for _, id := range ids {
		some, err := db.Waiting(ctx, id, "")
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, some...)
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	standings, err := db.Standings(ctx)
	if err != nil {
		return nil, err
	}
	return fleet.WaitsOf(waiting, standings, time.Now()), nil
}

// waitRows say for people why jobs wait.
func waitRows(p jobs.Progress, waits []fleet.Wait) [][]string {
	var rows [][]string
	more := moreWait(p.Counts, waits)
	for _, w := range waits {
		text := cli.Printable(w.Text)
		if p.JobID == "" {
			text = more + waitText(w)
		}
		rows = append(rows, []string{"waits", text})
	}
	return rows
}

// moreWait is put before each reason where more jobs wait than were looked at.
func moreWait(counts map[jobs.State]int64, waits []fleet.Wait) string {
	left := counts[jobs.Scheduled] + counts[jobs.Queued] + counts[jobs.Retrying]
	for _, w := range waits {
		left -= w.Jobs
	}
	if left > 0 && len(waits) > 0 && counts[jobs.Scheduled]+counts[jobs.Queued]+counts[jobs.Retrying] > fleet.MaxWaiting {
		return "at least "
	}
	return ""
}

// waitText says why some jobs wait.
func waitText(w fleet.Wait) string {
	return fmt.Sprintf("%s: %s", cli.Things(w.Jobs, "job"), cli.Printable(w.Text))
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
	fmt.Fprintln(s.Env.Out)
	if err := cli.Table(s.Env.Out, rows); err != nil {
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
	_, err := fmt.Fprintf(s.Env.Err, "bring them back with: %s; list them with: enqueue jobs %s --failed\n", command, p.BatchID)
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
	for _, f := range d.Finished {
		switch {
		case f.Finish == providers.FinishLength:
			add("ended", "length: the answer was cut, allow more with max_tokens", f.Jobs)
		case p.JobID == "" || f.Finish != providers.FinishStop:
			add("ended", string(f.Finish), f.Jobs)
		}
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

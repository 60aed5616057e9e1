package main

import (
	"fmt"
	"strings"
	"time"

	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
)

// lsCmd lists batches.
type lsCmd struct {
	State   string        `help:"Only batches in this state: open, running, paused, finished, partial, cancelling, cancelled, or removed, which are left out otherwise." enum:"open,running,paused,finished,partial,cancelling,cancelled,removed," default:"" placeholder:"STATE"`
	Since   time.Duration `help:"Only batches of so long ago at most, such as 7d." placeholder:"DURATION"`
	Source  string        `help:"Only batches whose source's name has this in it." placeholder:"TEXT"`
	Tag     string        `help:"Only batches with this tag: NAME=VALUE, or NAME with any value." placeholder:"TAG"`
	Account string        `help:"Only batches for this account." placeholder:"NAME"`
	Limit   positive      `help:"How many, the newest first." default:"20" placeholder:"N"`
	cli.OutputFlag
}

// listed is a batch in a list for programs.
type listed struct {
	batches.Summary
	// Waits says why its jobs wait, most jobs first; never null.
	Waits []fleet.Wait `json:"waits"`
}

// Run prints them, and below why those that have not finished wait.
func (c *lsCmd) Run(s *session) error {
	if c.Since < 0 {
		return cli.Fail(cli.Usage, fmt.Errorf("--since %s: must be positive", c.Since))
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	filter := batches.Filter{State: c.State, Source: c.Source, Tag: c.Tag, Account: c.Account, Limit: int(c.Limit)}
	if c.Since > 0 {
		filter.Since = time.Now().Add(-c.Since)
	}
	list, err := db.Batches(s.Ctx, filter)
	if err != nil {
		return err
	}
	found := make([]listed, len(list))
	for i, b := range list {
		found[i] = listed{b, []fleet.Wait{}}
		if !b.Finished() {
			waits, err := fleet.Waits(s.Ctx, db, b.ID, "")
			if err != nil {
				return err
			}
			found[i].Waits = append(found[i].Waits, waits...)
		}
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, found)
	}
	return printBatches(s, found)
}

func printBatches(s *session, list []listed) error {
	rows := [][]string{{"BATCH", "STATE", "JOBS", "DONE", "FAILED", "COST", "AGE", "SOURCE"}}
	for _, b := range list {
		rows = append(rows, []string{
			b.ID, b.State, cli.Count(b.Total()), cli.Count(b.Done()), cli.Count(b.Failures()), cli.Amount(b.Money),
			cli.Span(time.Since(b.CreatedAt)), cli.Printable(b.Source),
		})
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	for _, b := range list {
		more := moreWait(b.Counts, b.Waits)
		for _, w := range b.Waits {
			if err := cli.Sentence(s.Env.Out, b.ID+" waits: "+more+waitText(w)); err != nil {
				return err
			}
		}
	}
	return nil
}

// jobsCmd lists the jobs of a batch.
type jobsCmd struct {
	ID     string   `arg:"" help:"A batch."`
	Failed bool     `help:"Only jobs that failed."`
	Limit  positive `help:"How many, in the order of the input." default:"100" placeholder:"N"`
	cli.OutputFlag
}

// listedJob is a job in a list for programs.
type listedJob struct {
	batches.Job
	// Waits says why it waits: one reason or none, never null.
	Waits []fleet.Wait `json:"waits"`
}

// Run prints them.
func (c *jobsCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.BatchJobs(s.Ctx, c.ID, c.Failed, int(c.Limit))
	if err != nil {
		return err
	}
	found, err := withWaits(s, db, list)
	if err != nil {
		return err
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, found)
	}
	rows := [][]string{{"ROW", "JOB", "CUSTOM ID", "STATE", "COST", "PROVIDER", "MODEL", "CALLS", "WHY"}}
	for _, j := range found {
		var why []string
		if j.Error != "" {
			why = append(why, j.Error+": "+cli.Printable(j.Message))
		}
		for _, w := range j.Waits {
			why = append(why, cli.Printable(w.Text))
		}
		rows = append(rows, []string{
			cli.Count(j.Row), j.ID, cli.Printable(j.CustomID), string(j.State),
			cli.Amount(jobs.Money{Cost: j.Cost, Simulated: j.Simulated, Unpriced: j.Unpriced}),
			j.Provider, cli.Printable(j.Model), cli.Count(j.Calls), strings.Join(why, "; "),
		})
	}
	return cli.Table(s.Env.Out, rows)
}

// withWaits says of each job that has not ended why it waits.
func withWaits(s *session, db *store.Store, list []batches.Job) ([]listedJob, error) {
	found := make([]listedJob, len(list))
	var waiting []string
	for i, j := range list {
		found[i] = listedJob{j, []fleet.Wait{}}
		if !j.State.Finished() {
			waiting = append(waiting, j.ID)
		}
	}
	if len(waiting) == 0 {
		return found, nil
	}
	of, err := db.WaitingOf(s.Ctx, waiting)
	if err != nil {
		return nil, err
	}
	standings, err := db.Standings(s.Ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for i, j := range found {
		if w, ok := of[j.ID]; ok {
			found[i].Waits = fleet.WaitsOf([]fleet.WaitingJobs{w}, standings, now)
		}
	}
	return found, nil
}

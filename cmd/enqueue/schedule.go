package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/schedules"
	"oneflow/store"
)

// scheduleCmd holds the commands about schedules.
type scheduleCmd struct {
	Add     scheduleAddCmd     `cmd:"" help:"Add a schedule: a command of enqueue, which workers run again and again."`
	Ls      scheduleLsCmd      `cmd:"" help:"List schedules and their next five fires."`
	Pause   schedulePauseCmd   `cmd:"" help:"Hold a schedule back. Its batches go on."`
	Resume  scheduleResumeCmd  `cmd:"" help:"Let a paused schedule fire again. What it would have fired meanwhile is not made up for."`
	Rm      scheduleRmCmd      `cmd:"" help:"Remove a schedule and its history. Its batches stay."`
	RunNow  scheduleRunNowCmd  `cmd:"" help:"Fire a schedule now, once more than it would."`
	History scheduleHistoryCmd `cmd:"" help:"Show the last fires of a schedule."`
}

// specOf says when it fires.
func specOf(l schedules.Listed) string {
	if l.Every != "" {
		return "every " + l.Every
	}
	return l.Cron + " " + l.Zone
}

// firesOf are its next fires for people: those of one day share its name.
func firesOf(l schedules.Listed) string {
	if l.Paused {
		return "paused"
	}
	var parts []string
	day := ""
	for _, at := range l.Next {
		text := at.Format("15:04 MST")
		if d := at.Format("Mon 2 Jan"); d != day {
			text, day = d+" "+text, d
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// scheduleLsCmd lists schedules.
type scheduleLsCmd struct {
	Name string `arg:"" optional:"" help:"Only this one."`
	cli.OutputFlag
}

// Run prints them.
func (c *scheduleLsCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	list, err := db.Schedules(s.Ctx, c.Name)
	if err != nil {
		return unknownSchedule(err)
	}
	found := make([]schedules.Listed, len(list))
	for i, of := range list {
		found[i] = of.Listed()
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, found)
	}
	if len(found) == 0 {
		fmt.Fprintln(s.Env.Err, "there are no schedules: add one with enqueue schedule add")
		return nil
	}
	rows := [][]string{{"SCHEDULE", "WHEN", "NEXT", "OVERLAP", "SOURCE"}}
	for _, l := range found {
		next := "paused"
		if len(l.Next) > 0 {
			next = "in " + cli.Span(time.Until(l.Next[0]))
			if time.Until(l.Next[0]) < 0 {
				next = "due"
			}
		}
		rows = append(rows, []string{l.Name, specOf(l), next, string(l.Overlap), cli.Printable(l.Source)})
	}
	if err := cli.Table(s.Env.Out, rows); err != nil {
		return err
	}
	for _, l := range found {
		if _, err := fmt.Fprintf(s.Env.Out, "%s fires: %s\n", l.Name, firesOf(l)); err != nil {
			return err
		}
	}
	return nil
}

// unknownSchedule gives the errors of a wrong name their exit code.
func unknownSchedule(err error) error {
	if errors.Is(err, schedules.ErrNotFound) {
		return cli.Fail(cli.Usage, fmt.Errorf("%w: enqueue schedule ls lists those that there are", err))
	}
	if errors.Is(err, schedules.ErrExists) {
		return cli.Fail(cli.Usage, err)
	}
	return err
}

// named holds what commands about one schedule take.
type named struct {
	Name string `arg:"" help:"A schedule."`
	cli.OutputFlag
}

// do connects, does what is to be done, and says so: for programs, how the schedule is
// then; without one, that it is removed.
func (c named) do(s *session, what string, do func(*store.Store) error) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	if err := do(db); err != nil {
		return unknownSchedule(err)
	}
	if !c.ForPrograms() {
		_, err = fmt.Fprintf(s.Env.Out, "%s %s\n", c.Name, what)
		return err
	}
	list, err := db.Schedules(s.Ctx, c.Name)
	if errors.Is(err, schedules.ErrNotFound) {
		return c.Write(s.Env.Out, struct {
			Name    string `json:"name"`
			Removed bool   `json:"removed"`
		}{c.Name, true})
	}
	if err != nil {
		return err
	}
	return c.Write(s.Env.Out, list[0].Listed())
}

type schedulePauseCmd struct{ named }

// Run pauses it.
func (c *schedulePauseCmd) Run(s *session) error {
	return c.do(s, "is paused", func(db *store.Store) error { return db.PauseSchedule(s.Ctx, c.Name) })
}

type scheduleResumeCmd struct{ named }

// Run lets it fire from now on.
func (c *scheduleResumeCmd) Run(s *session) error {
	return c.do(s, "fires again", func(db *store.Store) error { return schedules.Resume(s.Ctx, db, c.Name) })
}

type scheduleRmCmd struct {
	named
	Yes bool `short:"y" help:"Do not ask."`
}

// Run removes it.
func (c *scheduleRmCmd) Run(s *session) error {
	if !c.Yes {
		if err := cli.Confirm(s.Env, fmt.Sprintf("Remove schedule %s with its history? Its batches stay.", c.Name), "--yes"); err != nil {
			return err
		}
	}
	return c.do(s, "is removed; its batches stay", func(db *store.Store) error { return db.RemoveSchedule(s.Ctx, c.Name) })
}

type scheduleRunNowCmd struct{ named }

// Run records a fire; a worker makes its batch.
func (c *scheduleRunNowCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	batch, err := schedules.RunNow(s.Ctx, db, c.Name)
	if err != nil {
		return unknownSchedule(err)
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			BatchID string `json:"batch_id"`
		}{batch})
	}
	if _, err := fmt.Fprintln(s.Env.Out, batch); err != nil {
		return err
	}
	fmt.Fprintf(s.Env.Err, "a worker accepts its rows within seconds; follow them with: enqueue watch %s\n", batch)
	return nil
}

type scheduleHistoryCmd struct {
	named
	Limit positive `help:"How many, the newest first." default:"20" placeholder:"N"`
}

// Run prints them.
func (c *scheduleHistoryCmd) Run(s *session) error {
	db, err := s.db()
	if err != nil {
		return err
	}
	fires, err := db.Fires(s.Ctx, c.Name, int(c.Limit))
	if err != nil {
		return unknownSchedule(err)
	}
	if c.ForPrograms() {
		list := make([]schedules.ListedFire, len(fires))
		for i, f := range fires {
			list[i] = f.Listed()
		}
		return c.Write(s.Env.Out, list)
	}
	of, err := db.Schedules(s.Ctx, c.Name)
	if err != nil {
		return unknownSchedule(err)
	}
	rows := [][]string{{"FOR", "STATE", "JOBS", "BATCH", "NOTE"}}
	for _, f := range fires {
		rows = append(rows, []string{
			f.At.In(of[0].Spec.Location()).Format("2006-01-02 15:04 MST"), string(f.State), cli.Count(int64(f.Accepted)), f.BatchID, note(f),
		})
	}
	return cli.Table(s.Env.Out, rows)
}

// note says what was out of the ordinary about a fire.
func note(f schedules.Fire) string {
	var notes []string
	if f.ByHand {
		notes = append(notes, "by hand")
	}
	if f.Late() > time.Minute {
		notes = append(notes, cli.Span(f.Late())+" late")
	}
	if f.Missed > 0 {
		notes = append(notes, "stands for "+cli.Things(int64(f.Missed), "fire")+" missed before it, too")
	}
	if f.State == schedules.Skipped {
		notes = append(notes, "its last batch had not finished")
	}
	if f.Rejected > 0 {
		notes = append(notes, cli.Things(int64(f.Rejected), "bad line")+" left out")
	}
	if f.Error != "" {
		notes = append(notes, cli.Printable(f.Error))
	}
	return strings.Join(notes, "; ")
}

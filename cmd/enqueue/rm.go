package main

import (
	"context"
	"errors"
	"fmt"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// rmCmd removes a batch, or all steps of a pipeline.
type rmCmd struct {
	ID        string `arg:"" help:"A batch that has finished or was cancelled; of a pipeline, all of its steps are removed."`
	Yes       bool   `short:"y" help:"Do not ask."`
	KeepFiles bool   `help:"Leave its pictures, sound and film where they are."`
	cli.OutputFlag
}

// Run marks the batch, removes its files, then its jobs. A run that is interrupted is
// continued by the same command.
func (c *rmCmd) Run(s *session) error {
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	p, err := db.Progress(s.Ctx, c.ID)
	switch {
	case err != nil:
		return err
	case p.JobID != "":
		return cli.Fail(cli.Usage, fmt.Errorf("%s is a job: only whole batches are removed", c.ID))
	case !p.Finished():
		return c.unfinished()
	}
	steps, err := db.Steps(s.Ctx, c.ID)
	if err != nil {
		return err
	}
	what, ids := "batch", []string{c.ID}
	if len(steps) > 0 {
		what, ids = "the pipeline", nil
	}
	for _, step := range steps {
		ids = append(ids, step.BatchID)
	}
	files := 0
	for _, id := range ids {
		if c.KeepFiles {
			break
		}
		list, err := db.FilesOf(s.Ctx, id)
		if errors.Is(err, jobs.ErrMediaRunning) {
			return fmt.Errorf("%s: a worker makes pictures, sound or film just now, and equal ones share a file: run this again when it has ended, or with --keep-files", c.ID)
		} else if err != nil {
			return err
		}
		files += len(list)
	}
	if !c.Yes {
		of := ""
		if len(steps) > 0 {
			of = " of " + cli.Things(int64(len(steps)), "step")
		}
		question := fmt.Sprintf("Remove %s %s for good: %s%s with their results, and %s?", what, c.ID, cli.Things(p.Total(), "job"), of, cli.Things(int64(files), "file"))
		if err := cli.Confirm(s.Env, question, "--yes"); err != nil {
			return err
		}
	}
	remover := batches.Remover{Store: db}
	if !c.KeepFiles {
		remover.Remove = func(ctx context.Context, file string) error { return removeFile(ctx, cfg, file) }
	}
	n, removed, err := remover.All(s.Ctx, ids)
	switch {
	case errors.Is(err, jobs.ErrBatchUnfinished):
		return c.unfinished()
	case err != nil:
		return fmt.Errorf("%w; go on with the same command, or with --keep-files", err)
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			ID    string `json:"id"`
			Jobs  int64  `json:"jobs"`
			Files int    `json:"files"`
		}{c.ID, n, removed})
	}
	_, err = fmt.Fprintf(s.Env.Out, "removed %s and %s; the id %s is refused from now on\n", cli.Things(n, "job"), cli.Things(int64(removed), "file"), c.ID)
	return err
}

func (c *rmCmd) unfinished() error {
	return cli.Fail(cli.Usage, fmt.Errorf("%s has not finished: wait for it (enqueue watch %s) or cancel it first (enqueue cancel %s)", c.ID, c.ID, c.ID))
}

// removeFile removes an object from where the configuration keeps it.
func removeFile(ctx context.Context, cfg config.Config, file string) error {
	place, err := artifacts.Open(ctx, cfg.Artifacts)
	if err != nil {
		return err
	}
	return place.Remove(ctx, file)
}

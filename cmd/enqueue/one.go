package main

import (
	"errors"
	"fmt"
	"maps"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// oneCmd enqueues a single job.
type oneCmd struct {
	Prompt string `arg:"" help:"The prompt."`
	common
	Wait bool `help:"Wait for the result and print it."`
}

// Run accepts the job.
func (c *oneCmd) Run(s *session) error {
	in, err := c.input(s, "", s.task, jobs.Default)
	if err != nil {
		return err
	}
	if _, set := c.Set["prompt"]; set {
		return cli.Fail(cli.Usage, errors.New("--set prompt=…: the prompt is given already"))
	}
	fields := maps.Clone(in.Defaults)
	fields["prompt"] = quote(c.Prompt)
	fields["task"] = quote(s.task)
	job, err := in.One(fields)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	p, err := s.producer()
	if err != nil {
		return err
	}
	_, dispatchErr, err := p.Enqueue(s.ctx, "", []jobs.New{job})
	if err != nil {
		return err
	}
	s.notDispatched(dispatchErr)
	if c.Wait {
		return c.wait(s, job.ID.String())
	}
	if c.Output == "json" {
		return cli.JSON(s.env.Out, struct {
			JobID string `json:"job_id"`
		}{job.ID.String()})
	}
	_, err = fmt.Fprintln(s.env.Out, job.ID)
	return err
}

// wait follows the job and prints its answer, or where its file is.
func (c *oneCmd) wait(s *session, id string) error {
	p, err := watch(s, id)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		if _, err := batches.ExportJSONL(s.ctx, s.store, id, s.env.Out); err != nil {
			return err
		}
		return outcome(p)
	}
	err = s.store.Export(s.ctx, id, func(r batches.Record) error {
		if r.Text != "" {
			if _, err := fmt.Fprintln(s.env.Out, r.Text); err != nil {
				return err
			}
		}
		for _, a := range r.Artifacts {
			if _, err := fmt.Fprintln(s.env.Out, a.URL); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return outcome(p)
}

// outcome is the exit code of having watched.
func outcome(p jobs.Progress) error {
	if n := p.Failures(); n > 0 {
		err := fmt.Errorf("%s of %s jobs failed", cli.Count(n), cli.Count(p.Total()))
		if p.ErrorClass != "" {
			err = fmt.Errorf("the job %s: %s: %s", p.State, p.ErrorClass, p.ErrorMessage)
		}
		return cli.Fail(cli.JobsFailed, err)
	}
	if p.JobID != "" && p.Counts[jobs.Cancelled] > 0 {
		return cli.Fail(cli.JobsFailed, errors.New("the job was cancelled"))
	}
	if p.State == jobs.BatchCancelled {
		return cli.Fail(cli.JobsFailed, fmt.Errorf("the batch was cancelled: %s of %s jobs were not run", cli.Count(p.Counts[jobs.Cancelled]), cli.Count(p.Total())))
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// single holds what the commands for a single job share.
type single struct {
	common
	Wait bool `help:"Wait for the result and print it."`
}

// oneCmd enqueues a single job.
type oneCmd struct {
	Prompt string `arg:"" help:"The prompt; - to read it from stdin, at most 16 MiB of UTF-8, so that it does not stand in the list of processes. One line end at its end is left out."`
	single
}

// soundCmd enqueues the transcription of one sound.
type soundCmd struct {
	File string `arg:"" help:"The file of the sound: MP3, WAV, FLAC, OGG, M4A, MP4 or WebM, at most 12 MiB."`
	single
}

// Run accepts the job.
func (c *soundCmd) Run(s *session) error {
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	in, err := c.input(s, cfg, s.task, jobs.Default)
	if err != nil {
		return err
	}
	files, closeFiles, err := folder(c.File)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	defer closeFiles()
	in.Files = files
	fields := maps.Clone(in.Defaults)
	fields["file"] = quote(filepath.Base(c.File))
	return c.enqueue(s, cfg, in, fields)
}

// maxPrompt is the longest prompt that is read from stdin, in bytes.
const maxPrompt = 16 << 20

// Run accepts the job.
func (c *oneCmd) Run(s *session) error {
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	in, err := c.input(s, cfg, s.task, jobs.Default)
	if err != nil {
		return err
	}
	files, closeFiles, err := folder("")
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	defer closeFiles()
	in.Files = files
	if _, set := c.Set["prompt"]; set {
		return cli.Fail(cli.Usage, errors.New("--set prompt=…: the prompt is given already"))
	}
	fields := maps.Clone(in.Defaults)
	prompt, err := c.prompt(s)
	if err != nil {
		return err
	}
	fields["prompt"] = quote(prompt)
	return c.enqueue(s, cfg, in, fields)
}

// enqueue accepts the job that the fields make.
func (c *single) enqueue(s *session, cfg config.Config, in batches.Input, fields batches.Fields) error {
	fields["task"] = quote(s.task)
	// What is wrong with it is said before anything is connected to.
	if _, err := in.One(fields); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	provider, err := c.choose(s, cfg, providers.Task(s.task), "")
	if err != nil {
		return err
	}
	fields["provider"] = quote(provider)
	if in.Least, err = s.counted(cfg, c.Account); err != nil {
		return err
	}
	job, err := in.One(fields)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	q, err := newQuotes(s, cfg, c.asking)
	if err != nil {
		return err
	}
	q.add([]jobs.New{job})
	q.anew()
	if err := s.afford(c.Account, job.Least); err != nil {
		return err
	}
	p, err := s.producer(cfg)
	if err != nil {
		return err
	}
	_, dispatchErr, err := p.Enqueue(s.Ctx, "", []jobs.New{job})
	if errors.Is(err, context.Canceled) { // its commit may have been under way
		return cli.Fail(cli.Interrupted, fmt.Errorf("interrupted: the job may have been accepted; see: enqueue status %s", job.ID))
	}
	if err != nil {
		return err
	}
	s.notDispatched(dispatchErr)
	if c.Wait {
		return c.wait(s, job.ID.String())
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, struct {
			JobID string `json:"job_id"`
		}{job.ID.String()})
	}
	_, err = fmt.Fprintln(s.Env.Out, job.ID)
	return err
}

// prompt is the argument, or what stdin holds.
func (c *oneCmd) prompt(s *session) (string, error) {
	if c.Prompt != "-" {
		return c.Prompt, nil
	}
	in, stop := interruptible(s.Ctx, s.Env.In)
	defer stop()
	data, err := io.ReadAll(io.LimitReader(in, maxPrompt+1))
	switch {
	case errors.Is(err, context.Canceled):
		return "", cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was accepted"))
	case err != nil:
		return "", fmt.Errorf("read the prompt from stdin: %w", err)
	case len(data) > maxPrompt:
		return "", cli.Fail(cli.Usage, fmt.Errorf("the prompt on stdin is longer than %d MiB", maxPrompt>>20))
	case !utf8.Valid(data):
		return "", cli.Fail(cli.Usage, errors.New("the prompt on stdin is not valid UTF-8"))
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// wait follows the job and prints its answer, or where its file is.
func (c *single) wait(s *session, id string) error {
	p, err := watch(s, id)
	if err != nil {
		return err
	}
	d, err := s.store.Detail(s.Ctx, p)
	if err != nil {
		return err
	}
	note := ""
	if len(d.Asked) > 0 && len(d.Answered) > 0 {
		note = answeredElsewhere(d.Asked[0], d.Answered[0], d.Calls, s.passedOver)
	}
	if note != "" {
		fmt.Fprintln(s.Env.Err, "enqueue: "+cli.Printable(note))
	}
	if c.ForPrograms() {
		err := s.store.Export(s.Ctx, id, func(r batches.Record) error {
			result := r.Result()
			result.Note = note
			return c.Write(s.Env.Out, result)
		})
		if err != nil {
			return err
		}
		return outcome(p)
	}
	err = s.store.Export(s.Ctx, id, func(r batches.Record) error {
		if r.Vector != nil {
			if err := json.NewEncoder(s.Env.Out).Encode(r.Vector); err != nil {
				return err
			}
		}
		texts := r.Answers()
		if texts == nil && r.Text != "" {
			texts = []string{r.Text}
		}
		for i, text := range texts {
			if i > 0 {
				text = "\n" + text
			}
			if _, err := fmt.Fprintln(s.Env.Out, text); err != nil {
				return err
			}
		}
		for _, a := range r.Artifacts {
			if _, err := fmt.Fprintln(s.Env.Out, a.URL); err != nil {
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
		} else if p.JobID != "" && p.Counts[jobs.Expired] > 0 {
			err = errors.New("the job expired: the time until which it was to be answered (--complete-by, else 24 hours) has passed")
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

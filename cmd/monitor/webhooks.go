package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/store"
	"oneflow/webhooks"
)

// webhooksCmd holds the commands about what applications are told.
type webhooksCmd struct {
	Ls     webhooksLsCmd     `cmd:"" default:"withargs" help:"List the calls to applications, the newest first, and why those that failed did."`
	Resend webhooksResendCmd `cmd:"" help:"Send an event again, with all its tries."`
}

// webhooksLsCmd lists events.
type webhooksLsCmd struct {
	ID      string `arg:"" optional:"" help:"Only those about this batch and its jobs, or this job."`
	Failed  bool   `help:"Only those that were given up."`
	Waiting bool   `help:"Only those that wait for a try."`
	Limit   int    `help:"How many at most." default:"50" placeholder:"N"`
	cli.OutputFlag
}

// listedEvent is an event for programs.
type listedEvent struct {
	webhooks.Event
	MessageID string `json:"message_id"`
	State     string `json:"state"`
	URL       string `json:"url"` // without its query
}

// Run lists them.
func (c *webhooksLsCmd) Run(s *session) error {
	if c.Limit < 1 || c.Limit > 100_000 {
		return cli.Fail(cli.Usage, fmt.Errorf("--limit %d: must be from 1 to 100,000", c.Limit))
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := db.Webhooks(s.Ctx, store.WebhookFilter{ID: c.ID, Failed: c.Failed, Waiting: c.Waiting, Limit: c.Limit})
	if err != nil {
		return err
	}
	found := make([]listedEvent, len(list))
	for i, e := range list {
		found[i] = listedEvent{e, webhooks.MessageID(e.ID), e.State(), webhooks.Shown(e.URL)}
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, found)
	}
	if len(found) == 0 {
		none := "there are no webhooks: enqueue batch --webhook URL makes one"
		switch {
		case c.Failed && c.Waiting:
			none = "no webhook was given up, and none waits"
		case c.Failed:
			none = "no webhook was given up"
		case c.Waiting:
			none = "no webhook waits for a try"
		}
		if c.ID != "" {
			none = "there are no such webhooks about " + cli.Printable(c.ID)
		}
		_, err := fmt.Fprintln(s.Env.Out, none)
		return err
	}
	rows := [][]string{{"EVENT", "ABOUT", "STATE", "TRIES", "AGE", "WHY", "URL", "ID"}}
	for _, e := range found {
		why := cli.Printable(e.Error)
		if e.State == "waiting" && e.Tries > 0 {
			why += "; again in " + cli.Span(max(time.Until(e.TryAt), 0))
		}
		rows = append(rows, []string{
			e.Type, e.Subject, e.State, cli.Count(int64(e.Tries)), cli.Span(time.Since(e.CreatedAt)), why, cli.Printable(e.URL), e.ID.String(),
		})
	}
	return cli.Table(s.Env.Out, rows)
}

// webhooksResendCmd sends an event again.
type webhooksResendCmd struct {
	ID string `arg:"" help:"The id of an event: see monitor webhooks."`
}

// Run makes it due.
func (c *webhooksResendCmd) Run(s *session) error {
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%q is no id of an event: monitor webhooks lists them", c.ID))
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.ResendWebhook(s.Ctx, id); errors.Is(err, jobs.ErrNotFound) {
		return cli.Fail(cli.Usage, fmt.Errorf("there is no event %s: monitor webhooks lists them", id))
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Env.Out, "%s is sent again within seconds\n", id)
	return err
}

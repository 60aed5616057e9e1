package frontdoor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/billing"
	"oneflow/jobs"
)

const (
	// intakeEvery is the time between two looks for batches that another monitor has left, and
	// intakeLease the time after which it is taken to have done so.
	intakeEvery = 5 * time.Second
	intakeLease = 2 * time.Minute
	// sweepEvery is the time between two removals of expired files, sweepMost of them at a time.
	sweepEvery = time.Minute
	sweepMost  = 100
	// maxFaults bounds the faults that are told of a file.
	maxFaults = 50
)

// keepTakingIn takes batches in as they come, and removes what has expired.
func (f *FrontDoor) keepTakingIn(ctx context.Context) {
	tick := time.NewTicker(intakeEvery)
	defer tick.Stop()
	var swept time.Time
	for {
		for ctx.Err() == nil {
			b, ok, err := f.cfg.Stores.Batches.NextIntake(ctx, intakeLease)
			if err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn().Err(err).Msg("batches of programs wait")
			}
			if err != nil || !ok {
				break
			}
			if err := f.takeIn(ctx, b); err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn().Err(err).Str("batch", b.ID).Msg("batch of a program not taken in: it is tried again")
				break
			}
		}
		if time.Since(swept) >= sweepEvery && ctx.Err() == nil {
			swept = time.Now()
			if err := f.sweep(ctx); err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn().Err(err).Msg("expired files stay for now")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
		}
	}
}

func (f *FrontDoor) sweep(ctx context.Context) error {
	expired, err := f.cfg.Stores.Files.ExpiredFiles(ctx, sweepMost)
	for _, file := range expired {
		err = errors.Join(err, f.remove(ctx, file))
	}
	return errors.Join(err, f.cfg.Stores.Calls.ForgetCalls(ctx))
}

// takeIn makes jobs of a batch's file: all of its rows, or none where one has a fault.
// It may be repeated: rows that are jobs already are not made again.
func (f *FrontDoor) takeIn(ctx context.Context, b Batch) error {
	if !b.CancelledAt.IsZero() {
		return f.cfg.Stores.Batches.EndIntake(ctx, b.ID, nil)
	}
	file, err := f.cfg.Stores.Files.File(ctx, b.InputFileID)
	if errors.Is(err, ErrNoFile) {
		return f.cfg.Stores.Batches.EndIntake(ctx, b.ID, []Fault{{Code: "file_not_found", Message: "the input file is gone"}})
	}
	if err != nil {
		return err
	}
	faults, err := f.faults(ctx, b, file)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return f.cfg.Stores.Batches.EndIntake(ctx, b.ID, faults)
	}
	err = f.read(ctx, b, file, func(in batches.Input, source rows.Source) error {
		_, err := batches.Intake{
			Input: in, Store: f.cfg.Stores.Jobs, Producer: f.cfg.Producer,
			Batch: jobs.Batch{ID: b.ID, Account: b.Account, Source: file.Filename, Origin: file.ID, Tags: b.Metadata},
		}.Take(ctx, source)
		return err
	})
	if err != nil && !errors.Is(err, jobs.ErrBatchCancelled) && !errors.Is(err, jobs.ErrBatchRemoved) {
		return err
	}
	if err := f.cfg.Stores.Batches.EndIntake(ctx, b.ID, nil); err != nil {
		return err
	}
	// Whoever cancelled it before it had jobs has stopped none.
	now, err := f.cfg.Stores.Batches.APIBatch(ctx, b.ID)
	if err == nil && !now.CancelledAt.IsZero() {
		err = f.cfg.Stores.Jobs.StopJobs(ctx, b.ID)
	}
	return err
}

// faults reads a file once without making anything of it.
func (f *FrontDoor) faults(ctx context.Context, b Batch, file File) (faults []Fault, err error) {
	return f.faultsIn(ctx, b, func(do func(batches.Input, rows.Source) error) error { return f.read(ctx, b, file, do) })
}

// faultsIn is faults of what read reads.
func (f *FrontDoor) faultsIn(ctx context.Context, b Batch, read func(func(batches.Input, rows.Source) error) error) (faults []Fault, err error) {
	good := 0
	has, least, err := f.funds(ctx, b.Account)
	if err != nil {
		return nil, err
	}
	var needs billing.NanoUSD
	err = read(func(in batches.Input, source rows.Source) error {
		return in.Read(source, func(job jobs.New) error { good++; needs += job.Least; return ctx.Err() }, func(e *rows.LineError) {
			if len(faults) < maxFaults {
				faults = append(faults, Fault{Code: "invalid_request", Message: e.Reason, Line: &e.Line})
			}
		})
	})
	switch {
	case errors.Is(err, errTooManyRows):
		return []Fault{{Code: "too_many_requests", Message: fmt.Sprintf("a batch may have %d requests", maxRows)}}, nil
	case err == nil && good == 0 && len(faults) == 0:
		return []Fault{{Code: "empty_file", Message: "the file has no request"}}, nil
	}
	if err == nil && len(faults) == 0 && least != nil {
		if short := has.Check(needs); short != nil {
			faults = []Fault{{Code: "insufficient_funds", Message: short.Error()}}
		}
	}
	return faults, err
}

// read opens a file as the rows of a batch.
func (f *FrontDoor) read(ctx context.Context, b Batch, file File, do func(batches.Input, rows.Source) error) error {
	from, err := f.cfg.Objects.OpenURL(ctx, file.URL)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	return f.readRows(ctx, b, file.Filename, from, do)
}

// readRows makes what is in a file the rows of a batch.
func (f *FrontDoor) readRows(ctx context.Context, b Batch, name string, from io.Reader, do func(batches.Input, rows.Source) error) error {
	_, least, err := f.funds(ctx, b.Account)
	if err != nil {
		return err
	}
	in := f.cfg.Input
	in.Least, in.Account, in.Shape, in.Deadline = least, b.Account, batches.ShapeOpenAI, b.ExpiresAt
	in.Defaults = map[string]json.RawMessage{"lane": encoded(jobs.Bulk)}
	return do(in, &routed{Source: rows.JSONLines(name, from), endpoint: b.Endpoint, to: f.cfg.Providers})
}

var errTooManyRows = errors.New("too many rows")

// routed is a source of a vendor's batch rows that names for each the provider that has
// its model.
type routed struct {
	rows.Source
	endpoint string
	to       func(endpoint, model string) (provider, name string, err error)
	n        int
}

// Next implements rows.Source.
func (s *routed) Next() (rows.Row, error) {
	row, err := s.Source.Next()
	if errors.Is(err, io.EOF) {
		return row, err
	}
	if s.n++; s.n > maxRows && (s.endpoint != messagesPath || s.n > maxMessages) {
		return row, errTooManyRows
	}
	if err != nil {
		return row, err
	}
	var address, customID string
	_ = json.Unmarshal(row.Fields["url"], &address)        // "" is none of them
	_ = json.Unmarshal(row.Fields["custom_id"], &customID) // the same
	switch {
	case customID == "":
		return row, s.At(row.Place, "custom_id: is missing")
	case address != s.endpoint:
		return row, s.At(row.Place, "url: must be the batch's endpoint, "+s.endpoint)
	}
	provider, body, err := route(s.to, s.endpoint, row.Fields["body"])
	if err != nil {
		return row, s.At(row.Place, err.Error())
	}
	for name := range row.Fields {
		switch name {
		case "custom_id", "method", "url", "body":
		default:
			return row, s.At(row.Place, rows.Printable(fmt.Errorf("%.40q: there is no such field; a line has custom_id, method, url and body", name)))
		}
	}
	row.Fields["provider"], row.Fields["body"] = encoded(provider), body
	return row, nil
}

// route names the provider for a body, and gives its model the name that it has there; a
// body that has it already is returned as it is.
func route(to func(endpoint, model string) (provider, name string, err error), endpoint string, body json.RawMessage) (provider string, out json.RawMessage, err error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return "", nil, errors.New("body: must be a JSON object")
	}
	var model string
	if fields["model"] != nil && json.Unmarshal(fields["model"], &model) != nil {
		return "", nil, errors.New("model: must be a text")
	}
	// The vendor has a model of its own for some.
	asked := model
	switch {
	case model != "" || endpoint == imagesPath:
	case endpoint == moderationsPath:
		model = "omni-moderation-latest"
	default:
		return "", nil, errors.New("model: is missing")
	}
	provider, name, err := to(endpoint, model)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("model: %w", err)
	case name == asked:
		return provider, body, nil
	case name == "":
		delete(fields, "model")
	default:
		fields["model"] = encoded(name)
	}
	return provider, encoded(fields), nil
}

package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/schedules"
)

// newSchedules makes the runner of schedules.
func newSchedules(o WorkerOptions, producer *jobs.Producer) *schedules.Runner {
	return &schedules.Runner{Store: o.Store, Log: o.Log, Take: func(ctx context.Context, f schedules.OpenFire) (schedules.Taken, error) {
		return takeFire(ctx, o, producer, f)
	}}
}

// takeFire makes a batch of a fire's rows, as `enqueue batch` does of a file's. The
// batch's id and the keys of its rows keep a repetition from adding any twice.
func takeFire(ctx context.Context, o WorkerOptions, producer *jobs.Producer, f schedules.OpenFire) (schedules.Taken, error) {
	kept, err := batches.ParseKept(f.Of.Input)
	if err != nil {
		return schedules.Taken{}, &schedules.FinalError{Err: err}
	}
	in, err := kept.Input(cli.Input(o.Config), time.Now())
	if err != nil {
		return schedules.Taken{}, &schedules.FinalError{Err: err}
	}
	in.Account = f.Of.Account
	open := func() (io.ReadCloser, error) {
		if kept.URL != "" {
			return artifacts.OpenObject(ctx, kept.URL)
		}
		return io.NopCloser(bytes.NewReader(f.Of.Content)), nil
	}
	if in.Least, err = afford(ctx, o, f, in, func() rows.Source { return kept.Source(open) }); err != nil {
		return schedules.Taken{}, asFinal(err)
	}
	source := kept.Source(open)
	defer func() { _ = source.Close() }()
	why, batch := "", kept.Batch(f.BatchID, f.Of.Tags)
	batch.Account, batch.Source, batch.Append = f.Of.Account, f.Of.Source, true
	intake := batches.Intake{
		Input: in, Store: o.Store, Producer: producer, Batch: batch,
		Reject: func(e *rows.LineError) {
			if why == "" {
				why = e.Error()
			}
		},
	}
	rep, err := intake.Take(ctx, source)
	if rep.Undelivered != nil {
		o.Log.Debug().Err(rep.Undelivered).Str("batch", f.BatchID).Msg("left to the next top-up")
	}
	taken := schedules.Taken{Accepted: rep.Accepted + rep.Duplicates, Rejected: rep.Rejected, Why: why}
	return taken, asFinal(err)
}

// asFinal makes an error final that the same rows would meet again.
func asFinal(err error) error {
	if err != nil && final(err) {
		return &schedules.FinalError{Err: err}
	}
	return err
}

// afford fails where the account's wallet does not reach for a fire none of whose rows
// was accepted before. It returns what computes the least that a job costs; nil where no
// wallet limits the account.
func afford(ctx context.Context, o WorkerOptions, f schedules.OpenFire, in batches.Input, rowsAnew func() rows.Source) (func(jobs.New) billing.NanoUSD, error) {
	has, least, err := funds(ctx, o, f.Of.Account)
	if err != nil || least == nil {
		return nil, err
	}
	if _, err := o.Store.Progress(ctx, f.BatchID); !errors.Is(err, jobs.ErrNotFound) {
		return least, err
	}
	var sum billing.NanoUSD
	source := rowsAnew()
	err = in.Read(source, func(job jobs.New) error { sum += least(job); return ctx.Err() }, func(*rows.LineError) {})
	if err = errors.Join(err, source.Close()); err == nil {
		err = has.Check(sum)
	}
	return least, err
}

// final reports whether the same rows would be refused again.
func final(err error) bool {
	if _, ok := errors.AsType[*rows.FormatError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*billing.FundsError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*jobs.OtherBatchError](err); ok {
		return true
	}
	return errors.Is(err, jobs.ErrOtherSource) || errors.Is(err, jobs.ErrBatchCancelled) || errors.Is(err, jobs.ErrBatchRemoved)
}

package worker

import (
	"context"
	"errors"
	"time"

	"oneflow/internal/sleep"
	"oneflow/jobs"
)

// errSpooled tells that an outcome is safe, but not in Postgres.
var errSpooled = errors.New("spooled")

// spoolPatience is the time that a full disk may take to have room again. It, and the
// grace for a commit under way, fit into joinGrace.
const (
	spoolPatience = 2 * time.Second
	commitGrace   = time.Second
)

// record commits the outcome of a call, however long Postgres is away; each
// handler has one outcome in hand, and as many handlers as a worker has are what
// it keeps in memory. When the time for writing is over, the outcome is spooled.
// A commit that is under way then may still come: both together do no harm.
func (h *handler) record(e spooled) error {
	err := h.waitForWrite(func() error {
		if e.Answer != nil {
			return h.cfg.Store.Work.Succeed(h.writing, *e.Answer)
		}
		return h.cfg.Store.Work.SettleCall(h.writing, *e.Settlement)
	})
	if err == nil || errors.Is(err, jobs.ErrLeaseLost) || h.writing.Err() == nil {
		return err
	}
	for tried := time.Now(); ; {
		spoolErr := h.spool.keep(e)
		if spoolErr == nil {
			return errSpooled
		}
		if errors.Is(spoolErr, errNoSpool) || time.Since(tried) > spoolPatience {
			return errors.Join(err, spoolErr)
		}
		_ = sleep.For(context.WithoutCancel(h.writing), 100*time.Millisecond)
	}
}

// waitForWrite waits for a write, until shortly after the time for writing is over: a
// Postgres that is silent must not keep a worker that has to leave.
func (h *handler) waitForWrite(write func() error) error {
	written := make(chan error, 1)
	go func() { written <- write() }()
	select {
	case err := <-written:
		return err
	case <-h.writing.Done():
	}
	grace := time.NewTimer(commitGrace)
	defer grace.Stop()
	select {
	case err := <-written:
		return err
	case <-grace.C:
		return h.writing.Err()
	}
}

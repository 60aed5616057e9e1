package jobs

import (
	"context"
	"errors"
	"time"
)

// errSpooled tells that an outcome is safe, but not in Postgres.
var errSpooled = errors.New("spooled")

// spoolPatience is how long a full disk may take to have room again. It, and the
// grace for a commit under way, fit into requeueGrace.
const (
	spoolPatience = 2 * time.Second
	commitGrace   = time.Second
)

// record commits the outcome of a call, however long Postgres is away; each
// handler has one outcome in hand, and as many handlers as a worker has are what
// it keeps in memory. When the time for writing is over, the outcome is spooled.
// A commit that is under way then may still come: both together do no harm.
func (h *handler) record(e spooled) error {
	committed := make(chan error, 1)
	go func() {
		if e.Answer != nil {
			committed <- h.cfg.Store.Succeed(h.writing, *e.Answer)
		} else {
			committed <- h.cfg.Store.SettleCall(h.writing, *e.Settlement)
		}
	}()
	var err error
	select {
	case err = <-committed:
	case <-h.writing.Done():
		grace := time.NewTimer(commitGrace)
		defer grace.Stop()
		select {
		case err = <-committed:
		case <-grace.C:
			err = h.writing.Err()
		}
	}
	if err == nil || errors.Is(err, ErrLeaseLost) || h.writing.Err() == nil {
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
		_ = wait(context.WithoutCancel(h.writing), 100*time.Millisecond)
	}
}

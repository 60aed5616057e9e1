package worker

import (
	"context"
	"time"
)

// Background is a function that the leader calls again and again, beside its rounds,
// since it may take long. Another worker may lead before a call has ended, so two calls
// at once must do nothing twice.
type Background struct {
	Name string
	// Every is the time between two calls.
	Every time.Duration
	// Wake returns a channel that asks for a call at once, until ctx ends; nil: nothing
	// does.
	Wake func(ctx context.Context) <-chan struct{}
	Run  func(ctx context.Context) error
}

// startBackground starts what runs beside the rounds of a term, once.
func (r *reconciler) startBackground(ctx context.Context) {
	if r.term.stop != nil {
		return
	}
	ctx, r.term.stop = context.WithCancel(ctx)
	for _, b := range append([]Background{r.countsAudit()}, r.cfg.Background...) {
		r.background.Go(func() { r.runBackground(ctx, b) })
	}
}

func (r *reconciler) runBackground(ctx context.Context, b Background) {
	tick := time.NewTicker(b.Every)
	defer tick.Stop()
	var wake <-chan struct{}
	if b.Wake != nil {
		wake = b.Wake(ctx)
	}
	failed := ""
	for {
		err := b.Run(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = ""
		case err.Error() != failed: // told once, until it works again
			failed = err.Error()
			r.cfg.Log.Warn().Err(err).Str("duty", b.Name).Msg("duty failed, and is tried again")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		}
	}
}

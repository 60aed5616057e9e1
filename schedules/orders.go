package schedules

import (
	"context"
	"time"
)

// OrderStore keeps what people order of schedules. Each method fails with ErrNotFound where
// there is no such schedule.
type OrderStore interface {
	// Now is the time by the store's clock.
	Now(ctx context.Context) (time.Time, error)
	// Schedules lists all schedules by name, without Content; with a name that one alone.
	Schedules(ctx context.Context, name string) ([]Schedule, error)
	// PauseSchedule holds a schedule back, and ResumeSchedule lets it fire again, first at next.
	PauseSchedule(ctx context.Context, name string) error
	ResumeSchedule(ctx context.Context, name string, next time.Time) error
	// FireNow records a fire that a person asks for. It fails with ErrExists where the
	// schedule fires at that second already.
	FireNow(ctx context.Context, f Fire) error
}

// Resume lets a paused schedule fire again. What it would have fired meanwhile is not made
// up for.
func Resume(ctx context.Context, store OrderStore, name string) error {
	list, err := store.Schedules(ctx, name)
	if err != nil {
		return err
	}
	now, err := store.Now(ctx)
	if err != nil {
		return err
	}
	return store.ResumeSchedule(ctx, name, list[0].Spec.Next(now))
}

// RunNow fires a schedule once more than it would, and returns the id of its batch, whose
// rows a worker accepts within seconds.
func RunNow(ctx context.Context, store OrderStore, name string) (batch string, err error) {
	now, err := store.Now(ctx)
	if err != nil {
		return "", err
	}
	at := now.Truncate(time.Second)
	f := Fire{Schedule: name, At: at, FiredAt: now, ByHand: true, State: Accepting, BatchID: BatchID(name, at)}
	return f.BatchID, store.FireNow(ctx, f)
}

// Coming returns the next n fires, in the time zone of the schedule; none while it is paused.
func (s Schedule) Coming(n int) []time.Time {
	fires := []time.Time{}
	if !s.PausedAt.IsZero() {
		return fires
	}
	for at := s.Next; len(fires) < n && !at.IsZero(); at = s.Spec.Next(at) {
		fires = append(fires, at.In(s.Spec.Location()))
	}
	return fires
}

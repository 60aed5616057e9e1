// Package schedules fires what is to be done again and again: it holds when a schedule
// fires, and the runner that makes a batch of each fire, exactly once. It may import
// nothing of ours; the store, and what makes jobs of a schedule's rows, are handed in.
package schedules

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/rs/zerolog"
)

// Overlap says what to do when a schedule is due and its last batch has not finished.
type Overlap string

// Skip leaves the fire out. Queue puts it off until that batch has finished; all fires
// that come due meanwhile are one then.
const (
	Skip  Overlap = "skip"
	Queue Overlap = "queue"
)

// Schedule is a batch that is made again and again.
type Schedule struct {
	Name    string
	Spec    Spec
	Overlap Overlap
	// Account and Tags are those of its batches.
	Account string
	Tags    map[string]string
	// Source names the origin of its rows, for people: a file's name, a URL, or a command.
	Source string
	// Input says how its rows become jobs, in a form that this package does not read.
	Input []byte
	// Content are its rows as they were when it was added; nil where they are read from
	// a URL, at each fire.
	Content   []byte
	CreatedAt time.Time
	// PausedAt is the time at which a person paused it; zero: it is not paused.
	PausedAt time.Time
	// Next is its next fire.
	Next time.Time
}

// State says what became of a fire.
type State string

// The states of a fire.
const (
	Accepting State = "accepting" // its rows are being made jobs
	Accepted  State = "accepted"  // its batch is complete
	Skipped   State = "skipped"   // its last batch had not finished
	Failed    State = "failed"    // its rows could not be read, or none can be a job
)

// Fire is one fire of a schedule.
type Fire struct {
	Schedule string
	At       time.Time // the time that it is for
	FiredAt  time.Time // the time at which it was seen to
	// Missed is the number of fires before it that nobody saw to, and that it stands for.
	Missed int
	// ByHand reports whether a person asked for it.
	ByHand bool
	State  State
	// BatchID is made of the schedule's name and At.
	BatchID            string
	Accepted, Rejected int
	// Error says why it failed, was tried again, or left a row out; Tries is how often it
	// failed.
	Error string
	Tries int
}

// Late returns the time between that of the fire and the one at which it was seen to.
func (f Fire) Late() time.Duration { return max(f.FiredAt.Sub(f.At), 0) }

// BatchID is the id of the batch of a fire.
func BatchID(schedule string, at time.Time) string {
	return schedule + "-" + at.UTC().Format("20060102T150405Z")
}

// CheckName fails unless a name may be a schedule's. The schema holds the same.
func CheckName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$`).MatchString(name) {
		return fmt.Errorf("schedule %.60q: a name has 1 to 40 letters, digits, dots, - and _, the first a letter or digit", name)
	}
	return nil
}

// Errors that a store returns.
var (
	// ErrNotFound: there is no such schedule.
	ErrNotFound = errors.New("no such schedule")
	// ErrExists: there is one already, or such a fire of it.
	ErrExists = errors.New("is there already")
)

// Store keeps schedules and their fires.
type Store interface {
	// Now is the time by the store's clock, which all workers share.
	Now(ctx context.Context) (time.Time, error)
	// DueSchedules returns the schedules that are due at a time and not paused, without
	// Content.
	DueSchedules(ctx context.Context, now time.Time) ([]Schedule, error)
	// Fire records a fire and moves the schedule on to next, in one commit, if its Next
	// is still expected and it is not paused. The fire is Skipped where a batch of it has
	// not finished and it does not Queue; where it does, nothing is recorded. It reports
	// what became of it; empty: nothing.
	Fire(ctx context.Context, f Fire, expected, next time.Time) (State, error)
	// OpenFire returns the oldest fire that is Accepting and is to be tried by now, with
	// its schedule; nil: there is none.
	OpenFire(ctx context.Context, now time.Time) (*OpenFire, error)
	// EndFire records what became of a fire that was Accepting.
	EndFire(ctx context.Context, f Fire) error
	// PutOffFire records that a fire could not be accepted, and when to try again.
	PutOffFire(ctx context.Context, f Fire, until time.Time) error
}

// OpenFire is a fire whose batch is not complete.
type OpenFire struct {
	Fire
	Of Schedule
}

// Taken holds what became of the rows of a fire.
type Taken struct {
	Accepted, Rejected int
	// Why says why the first of the rejected was; empty: none was.
	Why string
}

// Runner fires schedules. Any number of them may run at once.
type Runner struct {
	Store Store
	// Take makes a batch of a fire's rows. A repetition, after an error or by another
	// Runner, must add nothing twice.
	Take func(ctx context.Context, f OpenFire) (Taken, error)
	Log  zerolog.Logger
}

const (
	// lateAfter is from when on a fire is said to be late.
	lateAfter = time.Minute
	// maxTries bounds the times that the rows of a fire are read, and firstPause is the
	// time after the first, which doubles.
	maxTries   = 8
	firstPause = 5 * time.Second
)

// Round fires what is due, and accepts the rows of what has fired.
func (r *Runner) Round(ctx context.Context) error {
	now, err := r.Store.Now(ctx)
	if err != nil {
		return err
	}
	due, err := r.Store.DueSchedules(ctx, now)
	if err != nil {
		return err
	}
	for _, s := range due {
		if err := r.fire(ctx, s, now); err != nil {
			return err
		}
	}
	for {
		f, err := r.Store.OpenFire(ctx, now)
		if f == nil || err != nil {
			return err
		}
		if err := r.take(ctx, *f, now); err != nil {
			return err
		}
	}
}

// fire records that a schedule fires: all fires that were missed are one.
func (r *Runner) fire(ctx context.Context, s Schedule, now time.Time) error {
	var f Fire
	var next time.Time
	f.At, f.Missed, next = s.Spec.due(s.Next, now)
	if next.IsZero() {
		next = now.AddDate(100, 0, 0) // a cron expression with no day left
	}
	f.Schedule, f.FiredAt, f.State, f.BatchID = s.Name, now, Accepting, BatchID(s.Name, f.At)
	state, err := r.Store.Fire(ctx, f, s.Next, next)
	if err != nil {
		return fmt.Errorf("fire schedule %s: %w", s.Name, err)
	}
	log := r.Log.With().Str("schedule", s.Name).Time("at", f.At).Logger()
	switch {
	case state == Skipped:
		log.Warn().Msg("schedule skipped: its last batch has not finished")
	case state == Accepting && (f.Missed > 0 || f.Late() > lateAfter):
		log.Warn().Int("missed", f.Missed).Dur("late", f.Late()).Str("batch", f.BatchID).Msg("schedule fired late")
	case state == Accepting:
		log.Info().Str("batch", f.BatchID).Msg("schedule fired")
	}
	return nil
}

// take accepts the rows of a fire. What cannot be read is tried again, and then failed.
func (r *Runner) take(ctx context.Context, f OpenFire, now time.Time) error {
	taken, err := r.Take(ctx, f)
	if ctx.Err() != nil {
		return ctx.Err() // another goes on
	}
	f.Accepted, f.Rejected = taken.Accepted, taken.Rejected
	if err == nil && (taken.Accepted > 0 || taken.Rejected == 0) {
		f.State, f.Error = Accepted, taken.Why
		return r.Store.EndFire(ctx, f.Fire)
	}
	if err == nil {
		err = &FinalError{Err: fmt.Errorf("none of its %d rows can be a job: %s", taken.Rejected, taken.Why)}
	}
	f.Tries++
	f.Error = err.Error()
	var final *FinalError
	if errors.As(err, &final) || f.Tries >= maxTries {
		f.State = Failed
		r.Log.Error().Err(err).Str("schedule", f.Schedule).Str("batch", f.BatchID).Msg("schedule failed")
		return r.Store.EndFire(ctx, f.Fire)
	}
	r.Log.Warn().Err(err).Str("schedule", f.Schedule).Str("batch", f.BatchID).Msg("schedule not accepted yet")
	return r.Store.PutOffFire(ctx, f.Fire, now.Add(firstPause<<(f.Tries-1)))
}

// FinalError reports that a repetition of Take is of no use.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FinalError) Unwrap() error { return e.Err }

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/schedules"
)

// keptFires is the number of fires of a schedule that its history keeps.
const keptFires = 1000

var (
	_ schedules.Store      = (*Store)(nil)
	_ schedules.OrderStore = (*Store)(nil)
)

// Now implements schedules.Store.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now, err
}

// scheduleColumns are the columns of schedules s for scheduleFields.
const scheduleColumns = `s.name, s.cron, s.timezone, s.every_seconds, s.created_at, s.overlap, s.account, s.tags, s.source,
	s.input, s.paused_at, s.next_at`

// scheduleFields returns the places that scheduleColumns go to; done makes a schedule of them.
func scheduleFields(s *schedules.Schedule) (into []any, done func() error) {
	var every int64
	var paused *time.Time
	into = []any{
		&s.Name, &s.Spec.Cron, &s.Spec.Zone, &every, &s.CreatedAt, &s.Overlap, &s.Account, &s.Tags, &s.Source,
		&s.Input, &paused, &s.Next,
	}
	done = func() (err error) {
		s.Spec.Every, s.Spec.Anchor = time.Duration(every)*time.Second, s.CreatedAt
		if paused != nil {
			s.PausedAt = *paused
		}
		s.Spec, err = s.Spec.Parse()
		return err
	}
	return into, done
}

func collectSchedule(row pgx.CollectableRow) (s schedules.Schedule, err error) {
	into, done := scheduleFields(&s)
	if err := row.Scan(into...); err != nil {
		return s, err
	}
	return s, done()
}

// AddSchedule adds a schedule; it fails with schedules.ErrExists if there is one of that
// name.
func (s *Store) AddSchedule(ctx context.Context, add schedules.Schedule) error {
	tags := add.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO schedules (name, cron, timezone, every_seconds, created_at, overlap, account, tags, source, input, content, next_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (name) DO NOTHING`,
		add.Name, add.Spec.Cron, add.Spec.Zone, int64(add.Spec.Every/time.Second), add.CreatedAt, add.Overlap, add.Account, tags, add.Source,
		add.Input, add.Content, add.Next)
	switch {
	case err != nil:
		return fmt.Errorf("add schedule %s: %w", add.Name, err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("schedule %s: %w", add.Name, schedules.ErrExists)
	}
	return nil
}

// Schedules lists all schedules by name, without Content; with a name that one alone.
func (s *Store) Schedules(ctx context.Context, name string) ([]schedules.Schedule, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+scheduleColumns+` FROM schedules s WHERE $1 IN ('', s.name) ORDER BY s.name`, name)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, collectSchedule)
	switch {
	case err != nil:
		return nil, fmt.Errorf("list schedules: %w", err)
	case name != "" && len(list) == 0:
		return nil, fmt.Errorf("schedule %s: %w", name, schedules.ErrNotFound)
	}
	return list, nil
}

// PauseSchedule holds a schedule back: it does not fire until ResumeSchedule.
func (s *Store) PauseSchedule(ctx context.Context, name string) error {
	return s.onSchedule(ctx, name, `UPDATE schedules SET paused_at = coalesce(paused_at, now()) WHERE name = $1`)
}

// ResumeSchedule lets a schedule fire again, first at next. What it would have fired
// meanwhile is not made up for.
func (s *Store) ResumeSchedule(ctx context.Context, name string, next time.Time) error {
	return s.onSchedule(ctx, name, `
		UPDATE schedules
		SET next_at = CASE WHEN paused_at IS NULL THEN next_at ELSE $2 END, paused_at = NULL
		WHERE name = $1`, next)
}

// RemoveSchedule removes a schedule and its history; its batches stay.
func (s *Store) RemoveSchedule(ctx context.Context, name string) error {
	return s.onSchedule(ctx, name, `DELETE FROM schedules WHERE name = $1`)
}

func (s *Store) onSchedule(ctx context.Context, name, sql string, args ...any) error {
	tag, err := s.pool.Exec(ctx, sql, append([]any{name}, args...)...)
	switch {
	case err != nil:
		return fmt.Errorf("schedule %s: %w", name, err)
	case tag.RowsAffected() == 0:
		return fmt.Errorf("schedule %s: %w", name, schedules.ErrNotFound)
	}
	return nil
}

// DueSchedules implements schedules.Store.
func (s *Store) DueSchedules(ctx context.Context, now time.Time) ([]schedules.Schedule, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+scheduleColumns+`
		FROM schedules s
		WHERE s.paused_at IS NULL AND s.next_at <= $1
		ORDER BY s.next_at, s.name`, now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, collectSchedule)
}

// isUnfinished holds for a fire f whose batch has not finished.
const isUnfinished = `(f.state = 'accepting' OR f.state = 'accepted' AND EXISTS (
	SELECT
	FROM batch_counts c
	WHERE c.batch_id = f.batch_id OR c.batch_id IN (SELECT batch_id FROM steps WHERE pipeline = f.batch_id)
	HAVING sum(c.scheduled + c.queued + c.running + c.retrying) > 0))`

// Fire implements schedules.Store.
func (s *Store) Fire(ctx context.Context, f schedules.Fire, expected, next time.Time) (state schedules.State, err error) {
	err = s.begin(ctx, func(tx pgx.Tx) error {
		state = ""
		var overlap schedules.Overlap
		var unfinished bool
		err := tx.QueryRow(ctx, `
			SELECT s.overlap, EXISTS (SELECT FROM schedule_fires f WHERE f.schedule = s.name AND `+isUnfinished+`)
			FROM schedules s
			WHERE s.name = $1 AND s.next_at = $2 AND s.paused_at IS NULL
			FOR NO KEY UPDATE OF s`, f.Schedule, expected).Scan(&overlap, &unfinished)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil // somebody else was faster, or it is paused or gone
		case err != nil:
			return err
		case unfinished && overlap == schedules.Queue:
			return nil
		case unfinished:
			f.State = schedules.Skipped
		}
		if err := insertFire(ctx, tx, f); err != nil {
			return err
		}
		state = f.State
		_, err = tx.Exec(ctx, `UPDATE schedules SET next_at = $2 WHERE name = $1`, f.Schedule, next)
		return err
	})
	return state, err
}

// FireNow records a fire that a person asks for, whatever else runs. It fails with
// schedules.ErrNotFound, and with schedules.ErrExists where the schedule fires at that
// second already.
func (s *Store) FireNow(ctx context.Context, f schedules.Fire) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		var there, fired bool
		err := tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM schedules WHERE name = $1), EXISTS (SELECT FROM schedule_fires WHERE schedule = $1 AND fire_at = $2)`,
			f.Schedule, f.At).Scan(&there, &fired)
		switch {
		case err != nil:
			return err
		case !there:
			return fmt.Errorf("schedule %s: %w", f.Schedule, schedules.ErrNotFound)
		case fired:
			return fmt.Errorf("schedule %s at %s: %w", f.Schedule, f.At.Format(time.RFC3339), schedules.ErrExists)
		}
		return insertFire(ctx, tx, f)
	})
}

// insertFire records a fire, and forgets the oldest beyond keptFires.
func insertFire(ctx context.Context, tx pgx.Tx, f schedules.Fire) error {
	var ended *time.Time
	if f.State != schedules.Accepting {
		ended = &f.FiredAt
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO schedule_fires (schedule, fire_at, fired_at, missed, by_hand, state, batch_id, ended_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`, f.Schedule, f.At, f.FiredAt, f.Missed, f.ByHand, f.State, f.BatchID, ended)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		DELETE FROM schedule_fires
		WHERE schedule = $1 AND ended_at IS NOT NULL AND fire_at < (
			SELECT fire_at FROM schedule_fires WHERE schedule = $1 ORDER BY fire_at DESC OFFSET $2 LIMIT 1)`, f.Schedule, keptFires-1)
	return err
}

// fireColumns are the columns of schedule_fires f for fireFields.
const fireColumns = `f.schedule, f.fire_at, f.fired_at, f.missed, f.by_hand, f.state, f.batch_id, f.accepted, f.rejected, f.error, f.tries`

func fireFields(f *schedules.Fire) []any {
	return []any{&f.Schedule, &f.At, &f.FiredAt, &f.Missed, &f.ByHand, &f.State, &f.BatchID, &f.Accepted, &f.Rejected, &f.Error, &f.Tries}
}

// OpenFire implements schedules.Store.
func (s *Store) OpenFire(ctx context.Context, now time.Time) (*schedules.OpenFire, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+fireColumns+`, `+scheduleColumns+`, s.content
		FROM schedule_fires f
		JOIN schedules s ON s.name = f.schedule
		WHERE f.state = 'accepting' AND f.try_at <= $1
		ORDER BY f.fire_at
		LIMIT 1`, now)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o schedules.OpenFire, err error) {
		into, done := scheduleFields(&o.Of)
		if err := row.Scan(append(append(fireFields(&o.Fire), into...), &o.Of.Content)...); err != nil {
			return o, err
		}
		return o, done()
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// EndFire implements schedules.Store.
func (s *Store) EndFire(ctx context.Context, f schedules.Fire) error {
	return again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE schedule_fires
			SET state = $3, accepted = greatest(accepted, $4), rejected = $5, error = $6, tries = $7, ended_at = clock_timestamp()
			WHERE schedule = $1 AND fire_at = $2 AND state = 'accepting'`,
			f.Schedule, f.At, f.State, f.Accepted, f.Rejected, sanitise(f.Error), f.Tries)
		return err
	})
}

// PutOffFire implements schedules.Store.
func (s *Store) PutOffFire(ctx context.Context, f schedules.Fire, until time.Time) error {
	return again(ctx, func() error {
		_, err := s.pool.Exec(ctx, `
			UPDATE schedule_fires SET error = $3, tries = $4, try_at = $5
			WHERE schedule = $1 AND fire_at = $2 AND state = 'accepting'`, f.Schedule, f.At, sanitise(f.Error), f.Tries, until)
		return err
	})
}

// Fires returns the last fires of a schedule, the newest first. It fails with
// schedules.ErrNotFound.
func (s *Store) Fires(ctx context.Context, schedule string, limit int) ([]schedules.Fire, error) {
	if _, err := s.Schedules(ctx, schedule); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `
		SELECT `+fireColumns+` FROM schedule_fires f WHERE f.schedule = $1 ORDER BY f.fire_at DESC LIMIT $2`, schedule, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (f schedules.Fire, err error) {
		return f, row.Scan(fireFields(&f)...)
	})
}

package schedules

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Spec says when a schedule fires: by a cron expression in a time zone, or every so
// often. ParseSpec makes one.
type Spec struct {
	// Cron has five fields, minute, hour, day of month, month and day of week, or is
	// @hourly, @daily, @weekly, @monthly or @yearly. Empty: Every.
	Cron string
	// Zone is the name of the time zone of Cron, such as Europe/Paris.
	Zone string
	// Every is the time between two fires, counted from Anchor. 0: Cron.
	Every time.Duration
	// Anchor is the time at which the schedule was made.
	Anchor time.Time

	fields *cron.SpecSchedule
	zone   *time.Location
}

// minEvery is the shortest time between two fires, which is also cron's.
const minEvery = time.Minute

// maxMissed bounds the missed fires that are counted.
const maxMissed = 10_000

// Parse checks a Spec and prepares it. It fails for one that never fires.
func (s Spec) Parse() (Spec, error) {
	if (s.Cron == "") == (s.Every == 0) {
		return s, errors.New("a schedule has either a cron expression or a time between its fires")
	}
	if s.Every != 0 {
		if s.Every < minEvery {
			return s, fmt.Errorf("every %s: must be a minute at least", s.Every)
		}
		return s, nil
	}
	var err error
	if s.zone, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
		return s, fmt.Errorf("time zone %.40q: must be a name such as Europe/Paris or UTC", s.Zone)
	}
	if strings.ContainsAny(s.Cron, "=") || strings.HasPrefix(s.Cron, "@every") {
		return s, fmt.Errorf("cron %.60q: takes neither a time zone nor @every: these are given apart", s.Cron)
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := parser.Parse(s.Cron)
	if err != nil {
		return s, fmt.Errorf("cron %.60q: must have five fields, minute hour day month weekday, such as '0 6 * * 1-5': %w", s.Cron, err)
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return s, fmt.Errorf("cron %.60q: is no cron expression", s.Cron)
	}
	// Read as UTC, wall clock times have no gaps: Next brings the zone in.
	fields.Location = time.UTC
	s.fields = fields
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return s, fmt.Errorf("cron %.60q: there is no such day", s.Cron)
	}
	return s, nil
}

// Next returns the first fire after a time. The zero time: there is none within five
// years.
//
// Cron times are wall clock times of the zone. One that does not exist, since clocks go
// forward over it, fires at the moment at which they do, together with all others of
// that gap. One that comes twice, since clocks go back, fires the first time. An
// expression whose hour is * is meant to fire all the time: it follows the clock as it
// goes, through both hours, and catches up nothing.
func (s Spec) Next(after time.Time) time.Time {
	if s.Every > 0 {
		if after.Before(s.Anchor) {
			return s.Anchor.Add(s.Every)
		}
		return after.Add(s.Every - after.Sub(s.Anchor)%s.Every)
	}
	if bits.OnesCount64(s.fields.Hour&(1<<24-1)) == 24 {
		return s.nextOfAllHours(after)
	}
	// No change of a clock but one, of a day, is longer than 3 hours, and that lies behind.
	for wall := wallOf(after.In(s.zone)).Add(-3 * time.Hour); ; {
		wall = s.fields.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := s.instant(wall); at.After(after) {
			return at
		}
	}
}

// nextOfAllHours goes from change to change of the clock.
func (s Spec) nextOfAllHours(after time.Time) time.Time {
	for {
		local := after.In(s.zone)
		_, offset := local.Zone()
		_, end := local.ZoneBounds()
		wall := s.fields.Next(wallOf(local))
		if wall.IsZero() {
			return time.Time{}
		}
		at := wall.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			return at
		}
		// The first moment of the new time may be one of the fires.
		if first := wallOf(end.In(s.zone)); s.fields.Next(first.Add(-time.Nanosecond)).Equal(first) {
			return end
		}
		after = end
	}
}

// wallOf returns the time that a clock shows, written as UTC.
func wallOf(local time.Time) time.Time {
	return time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), time.UTC)
}

// instant returns the moment at which the clock of the zone shows a time, which is written
// as UTC: the first, or, if there is none, the one at which it jumps over it.
func (s Spec) instant(wall time.Time) time.Time {
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, s.zone)
	start, end := near.ZoneBounds()
	moments := []time.Time{near}
	if !start.IsZero() {
		moments = append(moments, start.Add(-time.Second))
	}
	if !end.IsZero() {
		moments = append(moments, end)
	}
	var first time.Time
	for _, m := range moments {
		_, offset := m.In(s.zone).Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		if wallOf(at.In(s.zone)).Equal(wall) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	switch {
	case !first.IsZero():
		return first
	case wallOf(near).After(wall):
		return start
	}
	return end
}

// due returns the last fire from first, which is one, to now, how many lie before it,
// and the first after now. Beyond maxMissed they are not counted.
func (s Spec) due(first, now time.Time) (last time.Time, missed int, next time.Time) {
	last = first
	for next = s.Next(first); !next.IsZero() && !next.After(now); next = s.Next(next) {
		last = next
		if missed++; missed == maxMissed {
			return last, missed, s.Next(now)
		}
	}
	return last, missed, next
}

// String is the expression with its zone, or the time between two fires.
func (s Spec) String() string {
	if s.Every > 0 {
		text := s.Every.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return "every " + text
	}
	return s.Cron + " " + s.Zone
}

// Location is the time zone in which people think of its fires.
func (s Spec) Location() *time.Location {
	if s.zone == nil {
		return time.UTC
	}
	return s.zone
}

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"oneflow/config"
	"oneflow/internal/cli"
)

// when are the flags of when jobs run.
type when struct {
	In         time.Duration `help:"Run it no earlier than after this time, such as 5m or 2d." xor:"when" placeholder:"DURATION"`
	At         string        `help:"Run it no earlier than at this time: 18:00, tomorrow 08:00, 2026-01-31 18:00 or 2026-01-31T18:00:00Z, and where it is not this machine's time, with its zone: \"18:00 Europe/Paris\"." xor:"when" placeholder:"TIME"`
	CompleteBy string        `help:"What has not been done by then expires: a time as of --at, or a duration such as 6h. Default: 24h after it may begin." placeholder:"TIME"`
}

// times returns the time at which jobs may begin and that by which they must be done; zero: now, and the default.
func (w when) times(now time.Time) (runAt, deadline time.Time, err error) {
	switch {
	case w.In < 0:
		return runAt, deadline, fmt.Errorf("--in %s: lies in the past", w.In)
	case w.In > 0:
		runAt = now.Add(w.In)
	case w.At != "":
		if runAt, err = parseTime(w.At, now); err != nil {
			return runAt, deadline, fmt.Errorf("--at %.40q: %w", w.At, err)
		}
	}
	if w.CompleteBy == "" {
		return runAt, deadline, nil
	}
	if d, notDuration := config.ParseDuration(w.CompleteBy); notDuration == nil {
		deadline = now.Add(d)
		if d <= 0 {
			return runAt, deadline, fmt.Errorf("--complete-by %s: lies in the past", w.CompleteBy)
		}
	} else if deadline, err = parseTime(w.CompleteBy, now); err != nil {
		if errors.Is(err, errNoTime) {
			err = fmt.Errorf("%w, or a duration such as 6h", err)
		}
		return runAt, deadline, fmt.Errorf("--complete-by %.40q: %w", w.CompleteBy, err)
	}
	if !deadline.After(runAt) {
		return runAt, deadline, fmt.Errorf("--complete-by %s: is no later than the time at which it may begin, %s", w.CompleteBy, stamp(runAt))
	}
	return runAt, deadline, nil
}

// say tells on which day and in which zone the times were read.
func (w when) say(s *session, runAt, deadline time.Time) {
	if w.At != "" {
		fmt.Fprintf(s.Env.Err, "--at %s is %s, in %s\n", w.At, stamp(runAt), cli.Span(time.Until(runAt)))
	}
	if w.CompleteBy != "" {
		fmt.Fprintf(s.Env.Err, "--complete-by %s is %s, in %s\n", w.CompleteBy, stamp(deadline), cli.Span(time.Until(deadline)))
	}
}

// stamp is a time with its zone.
// errNoTime reports that a text is no time in any form that is read.
var errNoTime = errors.New("must be a time such as 18:00, tomorrow 08:00, 2026-01-31 18:00, or 18:00 Europe/Paris")

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST (-07:00)") }

// parseTime reads a time of day or of a date, with the name of a zone after it or
// without: then it is this machine's. A time of day is the next one. It fails for times
// that have passed.
func parseTime(text string, now time.Time) (time.Time, error) {
	clock, zone := strings.TrimSpace(text), now.Location()
	if i := strings.LastIndexByte(clock, ' '); i > 0 {
		name := clock[i+1:]
		if name == "UTC" || name == "Local" || strings.Contains(name, "/") {
			loaded, err := time.LoadLocation(name)
			if err != nil {
				return time.Time{}, fmt.Errorf("%.40q is no time zone, such as Europe/Paris", name)
			}
			clock, zone = strings.TrimSpace(clock[:i]), loaded
		}
	}
	now = now.In(zone)
	days, dayNamed := 0, false
	for i, name := range []string{"today ", "tomorrow "} {
		if rest, ok := strings.CutPrefix(strings.ToLower(clock), name); ok {
			clock, days, dayNamed = strings.TrimSpace(rest), i, true
		}
	}
	t, err := time.Parse("15:04", clock)
	if err != nil {
		t, err = time.Parse("15:04:05", clock)
	}
	if err == nil {
		at := func(days int) time.Time {
			return time.Date(now.Year(), now.Month(), now.Day()+days, t.Hour(), t.Minute(), t.Second(), 0, zone)
		}
		if t = at(days); !dayNamed && t.Before(now) {
			t = at(1)
		}
		return t, notPast(t, now)
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, clock, zone); err == nil && !dayNamed {
			return t, notPast(t, now)
		}
	}
	return time.Time{}, errNoTime
}

// notPast fails for what was more than a minute ago: whoever types a minute means all of
// it.
func notPast(t, now time.Time) error {
	if t.Before(now.Add(-time.Minute)) {
		return fmt.Errorf("lies in the past, %s ago: it is %s now", cli.Span(now.Sub(t)), stamp(now))
	}
	return nil
}

package billing

import (
	"fmt"
	"strings"
	"time"
)

// hours are a part of each day, from and up to minutes of the day in UTC. Where to is
// before from it goes over midnight; the zero value is all day.
type hours struct{ from, to int }

func parseHours(text string) (hours, error) {
	if text == "" {
		return hours{}, nil
	}
	begin, end, found := strings.Cut(text, "-")
	from, errFrom := time.Parse("15:04", begin)
	to, errTo := time.Parse("15:04", end)
	h := hours{from.Hour()*60 + from.Minute(), to.Hour()*60 + to.Minute()}
	if !found || errFrom != nil || errTo != nil || h.from == h.to {
		return hours{}, fmt.Errorf("hours: %s must be a part of the day in UTC, such as \"16:30-00:30\"", quote(text))
	}
	return h, nil
}

// hold reports whether a time is within the hours.
func (h hours) hold(at time.Time) bool {
	if h == (hours{}) {
		return true
	}
	at = at.UTC()
	minute := at.Hour()*60 + at.Minute()
	if h.from < h.to {
		return minute >= h.from && minute < h.to
	}
	return minute >= h.from || minute < h.to
}

package config

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Duration is a time.Duration that is written like "30s", "5m" or "2d".
type Duration time.Duration

// UnmarshalText reads "30s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes "30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// days are the parts of a duration that package time does not know.
var days = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)([dwy])`)

// ParseDuration reads a duration as time.ParseDuration does, and days, weeks and
// years too, which are 24 hours and 7 and 365 times that: "90d", "2w", "1y", "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	hours := days.ReplaceAllStringFunc(text, func(part string) string {
		n, unit := part[:len(part)-1], part[len(part)-1]
		f, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return part
		}
		switch unit {
		case 'w':
			f *= 7
		case 'y':
			f *= 365
		}
		return strconv.FormatFloat(24*f, 'f', -1, 64) + "h"
	})
	d, err := time.ParseDuration(hours)
	if err != nil {
		return 0, fmt.Errorf("must be a duration such as 30s, 5m, 12h, 90d or 2w, got %.40q", text)
	}
	return d, nil
}

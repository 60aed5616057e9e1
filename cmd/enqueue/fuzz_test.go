package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzAt holds that --at gives a time from now on, or an error that names the flag
// and stays short.
func FuzzAt(f *testing.F) {
	for _, at := range []string{
		"18:00", "2031-01-31T18:00:00Z", "2031-01-31 18:00", "2031-01-31T18:00:05", "2020-01-01T00:00:00Z", "24:00", "23:60", "9999-12-31T23:59:59+14:00",
		"0000-01-01T00:00:00Z", "2031-02-30 10:00", "tomorrow", "tomorrow 08:00", "18:00 Europe/Paris", "18:00 ../../x", "\x1b[2J", "\xff", strings.Repeat("1", 1000), "2031-01-31T18:00:00.999999999999Z",
	} {
		f.Add(at, int64(1_900_000_000), 0)
	}
	f.Add("02:30", int64(1_900_000_000), -13*3600)
	f.Fuzz(func(t *testing.T, at string, unix int64, zone int) {
		// Within years that a machine may be run in.
		now := time.Unix(1_700_000_000+((unix%4_000_000_000)+4_000_000_000)%4_000_000_000, 0).In(time.FixedZone("z", zone%(14*3600)))
		got, _, err := when{At: at}.times(now)
		switch {
		case err != nil && (!strings.HasPrefix(err.Error(), "--at ") || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\x1b\n\r")):
			t.Errorf("%q: %q", at, err)
		case err != nil && len(err.Error()) > 300:
			t.Errorf("%.40q: an error of %d bytes", at, len(err.Error()))
		case err == nil && at == "" && !got.IsZero():
			t.Errorf("no time is %s", got)
		case err == nil && at != "" && got.Before(now.Add(-time.Minute)):
			t.Errorf("%q is %s, which is before %s", at, got, now)
		}
	})
}

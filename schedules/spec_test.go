package schedules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/schedules"
)

func spec(t *testing.T, cron, zone string) schedules.Spec {
	t.Helper()
	s, err := schedules.Spec{Cron: cron, Zone: zone}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// fires are those after from until to, in the zone's time.
func fires(t *testing.T, s schedules.Spec, from, to string) (list []string) {
	t.Helper()
	end := moment(t, to)
	for at := s.Next(moment(t, from)); !at.IsZero() && !at.After(end); at = s.Next(at) {
		list = append(list, at.In(s.Location()).Format("02 15:04:05 -07"))
	}
	return list
}

func TestCronTimesThatDoNotExistFireAsTheClockJumpsAndThoseThatComeTwiceFireOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cron, zone, from, to string
		want                       []string
	}{
		{
			"in the gap of Paris", "30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z",
			[]string{"28 02:30:00 +01", "29 03:00:00 +02", "30 02:30:00 +02"},
		},
		{
			"all times of the gap are one fire", "*/20 2,3 * * *", "Europe/Paris", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z",
			[]string{"29 03:00:00 +02", "29 03:20:00 +02", "29 03:40:00 +02"},
		},
		{
			"each hour over the gap", "30 * * * *", "Europe/Paris", "2026-03-28T23:00:00Z", "2026-03-29T02:00:00Z",
			[]string{"29 00:30:00 +01", "29 01:30:00 +01", "29 03:30:00 +02"},
		},
		{
			"each full hour over the gap", "0 * * * *", "Europe/Paris", "2026-03-28T23:30:00Z", "2026-03-29T02:00:00Z",
			[]string{"29 01:00:00 +01", "29 03:00:00 +02", "29 04:00:00 +02"},
		},
		{
			"in the overlap of Paris", "30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z",
			[]string{"25 02:30:00 +02", "26 02:30:00 +01"},
		},
		{
			"each hour over the overlap", "0 * * * *", "Europe/Paris", "2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z",
			[]string{"25 02:00:00 +02", "25 02:00:00 +01", "25 03:00:00 +01"},
		},
		{
			"in the gap of New York", "15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z",
			[]string{"08 03:00:00 -04", "09 02:15:00 -04"},
		},
		{
			"in the overlap of New York", "45 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z",
			[]string{"01 01:45:00 -04", "02 01:45:00 -05"},
		},
		{
			"a quarter of an hour, in the overlap of New York", "*/15 * * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z",
			[]string{"01 01:45:00 -04", "01 01:00:00 -05", "01 01:15:00 -05", "01 01:30:00 -05"},
		},
		{
			"midnight does not exist", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-07T12:00:00Z",
			[]string{"06 01:00:00 -03", "07 00:00:00 -03"},
		},
		{
			"half an hour, each hour", "0 * * * *", "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z",
			[]string{"04 01:00:00 +10", "04 03:00:00 +11", "04 04:00:00 +11"},
		},
		{
			"half an hour", "0 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z",
			[]string{"04 02:30:00 +11", "05 02:00:00 +11"},
		},
		{
			"a day that does not exist", "0 12 * * *", "Pacific/Apia", "2011-12-28T23:00:00Z", "2011-12-31T21:00:00Z",
			[]string{"29 12:00:00 -10", "31 00:00:00 +14", "31 12:00:00 +14"},
		},
		{
			"the ends of months", "0 6 31 * *", "Europe/Paris", "2026-01-01T00:00:00Z", "2026-06-30T00:00:00Z",
			[]string{"31 06:00:00 +01", "31 06:00:00 +02", "31 06:00:00 +02"},
		},
		{
			"leap day", "0 6 29 2 *", "UTC", "2025-01-01T00:00:00Z", "2033-01-01T00:00:00Z",
			[]string{"29 06:00:00 +00", "29 06:00:00 +00"},
		},
		{
			"the end of a year", "@monthly", "Europe/Paris", "2026-11-15T00:00:00Z", "2027-01-15T00:00:00Z",
			[]string{"01 00:00:00 +01", "01 00:00:00 +01"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, fires(t, spec(t, c.cron, c.zone), c.from, c.to)); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", c.cron, c.zone, diff)
			}
		})
	}
}

// Whatever moment one asks from, the answer is the same fire: none is passed over and
// none comes twice.
func TestNextIsTheSameFireFromEachMomentBeforeIt(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"} {
		for _, cron := range []string{"30 2 * * *", "*/20 1-3 * * *", "*/20 * * * *", "0 0 * * 0", "59 23 * * *"} {
			t.Run(zone+" "+cron, func(t *testing.T) {
				t.Parallel()
				s := spec(t, cron, zone)
				for _, from := range []time.Time{
					time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), time.Date(2026, 4, 4, 0, 0, 0, 0, time.UTC),
					time.Date(2026, 9, 5, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC),
				} {
					next := s.Next(from)
					for at := from; at.Before(from.Add(50 * time.Hour)); at = at.Add(7 * time.Minute) {
						if !at.Before(next) {
							next = s.Next(next)
						}
						if got := s.Next(at); !got.Equal(next) {
							t.Fatalf("after %s: %s, want %s", at, got, next)
						}
					}
				}
			})
		}
	}
}

func TestFiresThatWereMissedAreOneAndAreCounted(t *testing.T) {
	t.Parallel()
	s := spec(t, "0 * * * *", "UTC")
	first := moment(t, "2026-01-01T01:00:00Z")
	last, missed, next := schedules.Due(s, first, moment(t, "2026-01-01T06:30:00Z"))
	if last.Hour() != 6 || missed != 5 || next.Hour() != 7 {
		t.Errorf("Due: %s, %d missed, next %s", last, missed, next)
	}
	last, missed, next = schedules.Due(s, first, first)
	if !last.Equal(first) || missed != 0 || next.Hour() != 2 {
		t.Errorf("Due on time: %s, %d missed, next %s", last, missed, next)
	}
	_, missed, next = schedules.Due(s, first, moment(t, "2046-01-01T06:30:00Z"))
	if missed != 10_000 || next.Year() != 2046 {
		t.Errorf("Due after 20 years: %d missed, next %s", missed, next)
	}
}

func TestEveryCountsFromItsAnchorWhateverClocksDo(t *testing.T) {
	t.Parallel()
	anchor := moment(t, "2026-03-28T22:30:00Z")
	s, err := schedules.Spec{Every: 6 * time.Hour, Anchor: anchor}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	at := anchor
	for i := range 10 {
		next := s.Next(at)
		if next.Sub(at) != 6*time.Hour {
			t.Errorf("fire %d: %s after %s", i, next, at)
		}
		at = next
	}
	if next := s.Next(anchor.Add(-24 * time.Hour)); !next.Equal(anchor.Add(6 * time.Hour)) {
		t.Errorf("asked for before it was made, it fires at %s", next)
	}
}

func TestASpecThatNeverFiresOrIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec schedules.Spec
		want string
	}{
		{schedules.Spec{}, "either"},
		{schedules.Spec{Cron: "* * * * *", Every: time.Hour}, "either"},
		{schedules.Spec{Every: time.Second}, "a minute"},
		{schedules.Spec{Cron: "0 6 * *", Zone: "UTC"}, "five fields"},
		{schedules.Spec{Cron: "0 0 6 * * *", Zone: "UTC"}, "five fields"},
		{schedules.Spec{Cron: "0 25 * * *", Zone: "UTC"}, "five fields"},
		{schedules.Spec{Cron: "0 0 30 2 *", Zone: "UTC"}, "no such day"},
		{schedules.Spec{Cron: "TZ=UTC 0 6 * * *", Zone: "UTC"}, "time zone"},
		{schedules.Spec{Cron: "@every 1h", Zone: "UTC"}, "@every"},
		{schedules.Spec{Cron: "0 6 * * *", Zone: "Mars/Olympus"}, "Europe/Paris"},
		{schedules.Spec{Cron: "0 6 * * *", Zone: "Local"}, "Europe/Paris"},
	} {
		if _, err := c.spec.Parse(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.spec, err, c.want)
		}
	}
}

func ExampleSpec_Next() {
	s, err := schedules.Spec{Cron: "30 2 * * *", Zone: "Europe/Paris"}.Parse()
	if err != nil {
		panic(err)
	}
	at := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	for range 2 {
		at = s.Next(at)
		fmt.Println(at.In(s.Location()))
	}
	// In the night of the 29th there is no 02:30.

	// Output:
	// 2026-03-29 03:00:00 +0200 CEST
	// 2026-03-30 02:30:00 +0200 CEST
}

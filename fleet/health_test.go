package fleet_test

import (
	"slices"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/fleet"
	"oneflow/jobs"
)

func TestAProviderIsJudgedByWhatPeopleSayAndThenByWhatHappens(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	type standing = fleet.Standing
	traffic := func(requests, succeeded, limited, refused int64) fleet.Traffic {
		return fleet.Traffic{Requests: requests, Succeeded: succeeded, RateLimited: limited, Refused: refused}
	}
	closed := fleet.Breaker{State: fleet.BreakerClosed}
	for name, c := range map[string]struct {
		s      standing
		recent fleet.Traffic
		status fleet.Status
		reason string
	}{
		"nothing known":          {standing{Status: fleet.Available}, fleet.Traffic{}, fleet.Available, ""},
		"all well":               {standing{Status: fleet.Available, Breaker: closed}, traffic(100, 100, 0, 0), fleet.Available, ""},
		"disabled":               {standing{Status: fleet.Unavailable, Reason: "too dear", OutOfMoneyAt: now}, fleet.Traffic{}, fleet.Unavailable, "too dear"},
		"out of money":           {standing{OutOfMoneyAt: now.Add(-9 * time.Minute)}, fleet.Traffic{}, fleet.Unavailable, "its account is out of money"},
		"was out of money":       {standing{OutOfMoneyAt: now.Add(-11 * time.Minute)}, fleet.Traffic{}, fleet.Available, ""},
		"held open":              {standing{Breaker: fleet.Breaker{State: fleet.BreakerClosed, Held: fleet.BreakerOpen}}, fleet.Traffic{}, fleet.Unavailable, "its breaker is held open"},
		"open":                   {standing{Breaker: fleet.Breaker{State: fleet.BreakerOpen, Reason: "overloaded"}}, fleet.Traffic{}, fleet.Degraded, "its breaker is open: overloaded"},
		"half open":              {standing{Breaker: fleet.Breaker{State: fleet.BreakerHalfOpen}}, fleet.Traffic{}, fleet.Degraded, "its breaker is half open"},
		"open but held closed":   {standing{Breaker: fleet.Breaker{State: fleet.BreakerOpen, Held: fleet.BreakerClosed}}, fleet.Traffic{}, fleet.Available, ""},
		"blocked":                {standing{BlockedUntil: now.Add(time.Minute), BlockedReason: "rate_limited"}, fleet.Traffic{}, fleet.Degraded, "it asked to be left alone until 12:01:00 UTC: rate_limited"},
		"was blocked":            {standing{BlockedUntil: now.Add(-time.Minute)}, fleet.Traffic{}, fleet.Available, ""},
		"failing":                {standing{}, traffic(100, 79, 0, 0), fleet.Degraded, "21 of 100 calls failed in the last 5 minutes"},
		"failing within reason":  {standing{}, traffic(100, 80, 0, 0), fleet.Available, ""},
		"too few to judge":       {standing{}, traffic(9, 0, 0, 0), fleet.Available, ""},
		"refused for the rate":   {standing{}, traffic(100, 10, 90, 0), fleet.Available, ""},
		"asked for nonsense":     {standing{}, traffic(100, 10, 0, 90), fleet.Available, ""},
		"failing among nonsense": {standing{}, traffic(100, 5, 0, 90), fleet.Degraded, "5 of 10 calls failed in the last 5 minutes"},
	} {
		got := c.s
		got.Judge(c.recent, now)
		want := c.status
		if got.Status != want || got.Reason != c.reason {
			t.Errorf("%s: %s (%s), want %s (%s)", name, got.Status, got.Reason, want, c.reason)
		}
	}
}

func TestTheBestIsTheMostReliableThenTheFastestThenTheCheapest(t *testing.T) {
	t.Parallel()
	candidate := func(name string, requests, succeeded, p50 int64, cost billing.NanoUSD, unpriced int64) fleet.Candidate {
		return fleet.Candidate{Provider: name, Figures: fleet.Figures{
			P50: p50, Traffic: fleet.Traffic{Requests: requests, Succeeded: succeeded, Money: jobs.Money{Cost: cost, Unpriced: unpriced}},
		}}
	}
	excluded := candidate("excluded", 1000, 1000, 1, 0, 0)
	excluded.Excluded = "disabled"
	mock := candidate("mock", 1000, 1000, 1, 0, 0)
	mock.Mock = true
	list := []fleet.Candidate{
		excluded, mock,
		candidate("failing", 100, 79, 1, 0, 0),
		candidate("new", 0, 0, 0, 0, 0),
		candidate("hardly used", 9, 9, 1, 0, 0),
		candidate("less reliable", 1000, 980, 10, 0, 0),
		candidate("slow", 1000, 1000, 900, 0, 0),
		candidate("unpriced", 1000, 1000, 500, 0, 1000),
		candidate("dear", 1000, 997, 510, 2_000_000, 0),
		candidate("cheap", 1000, 998, 500, 1_000_000, 0),
	}
	fleet.Rank(list)
	var got []string
	for _, c := range list {
		got = append(got, c.Provider)
	}
	want := []string{"cheap", "dear", "unpriced", "slow", "less reliable", "new", "hardly used", "failing", "mock", "excluded"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"oneflow/fleet"
	"oneflow/internal/app"
	"oneflow/policy/limiter"
	"oneflow/providers"
)

func TestWhatHoldsAProviderBackIsSaidWithItsCause(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { client.Close() })
	set := map[string]fleet.Settings{"p": {Limits: providers.Limits{RPM: 600}}, "other": {}}
	if lines, err := app.Holds(t.Context(), client, set); err != nil || len(lines) != 0 || len(server.Keys()) != 0 {
		t.Fatalf("%q, %v, keys %q: want nothing, and nothing changed", lines, err, server.Keys())
	}
	l, err := limiter.New(limiter.Config{
		Redis: client, CallTimeout: time.Minute, Settings: func(string) limiter.Settings { return limiter.Settings{Limits: set["p"].Limits} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	s, err := l.Acquire(t.Context(), "p", limiter.Demand{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Refused(t.Context(), &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})
	all, err := app.Holds(t.Context(), client, set)
	lines := all["p"]
	if err != nil || len(all) != 1 || len(lines) == 0 || !strings.HasPrefix(lines[0], "blocked until ") || !strings.Contains(lines[0], "it refused a call (rate limited)") {
		t.Errorf("%q, %v", lines, err)
	}
}

package storetest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Pool connects to the Postgres at url, such as one that Database made, to look at what a store keeps behind its back.
// It is closed when the test ends.
func Pool(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), url)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Client connects to the Redis at url, such as one that Redis found. It asks for no maintenance notifications, which
// cost a round trip and a goroutine, and is closed when the test ends.
func Client(tb testing.TB, url string) *redis.Client {
	tb.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewClient(o)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

package limiter_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

// A call takes a slot, waits for it, and hands it back with what it used. A refusal
// stops everybody for as long as the provider asked.
func Example() {
	ctx := context.Background()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	l, err := limiter.New(limiter.Config{
		Redis: client, CallTimeout: time.Minute,
		Settings: func(string) limiter.Settings { return limiter.Settings{Limits: providers.Limits{RPM: 6000}} },
	})
	if err != nil {
		panic(err)
	}
	defer l.Close()

	slot, err := l.Acquire(ctx, "openai", limiter.Demand{InputTokens: 100, OutputTokens: 300}, 0)
	if err != nil {
		panic(err)
	}
	// The call is made here.
	slot.Done(ctx, providers.Usage{InputTokens: 90, OutputTokens: 120}, providers.RateLimits{})

	slot, err = l.Acquire(ctx, "openai", limiter.Demand{}, 0)
	if err != nil {
		panic(err)
	}
	slot.Refused(ctx, &providers.Error{Kind: providers.RateLimited, RetryAfter: time.Hour})

	_, err = l.Acquire(ctx, "openai", limiter.Demand{}, 0)
	if long, ok := errors.AsType[*limiter.WaitTooLongError](err); ok {
		fmt.Println("wait for", long.Blocked.Round(time.Minute))
	}
	// Output: wait for 1h0m0s
}

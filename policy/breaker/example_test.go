package breaker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"oneflow/policy/breaker"
)

// Ten failures in a row open the breaker for the whole fleet; who asks is told until
// when.
func Example() {
	ctx := context.Background()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	moved := make(chan string, 1)
	b, err := breaker.New(breaker.Config{
		Provider: "openai", Redis: client, CallTimeout: time.Minute,
		OnChange: func(state breaker.State, reason string) { moved <- string(state) + ": " + reason },
	})
	if err != nil {
		panic(err)
	}
	for range 10 {
		permit, err := b.Acquire(ctx)
		if err != nil {
			panic(err)
		}
		// The call is made here.
		permit.Record(breaker.Failed, "HTTP 503")
	}
	fmt.Println(<-moved)
	_, err = b.Acquire(ctx)
	fmt.Println(err)
	// Output:
	// open: 10 of the last 10 answers were failures, the last: HTTP 503
	// its circuit breaker is open
}

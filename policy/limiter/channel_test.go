package limiter_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/policy/limiter"
	"oneflow/providers"
)

// Two fleets on two databases of one Redis: what one gives back wakes nobody of the other.
func TestAFleetHearsNothingOfAnotherOnTheSameServer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0, providers.Limits{Concurrent: 1})
	named := func(name string) *limiter.Limiter {
		return f.limiter(t, client(t, f.redis), limiter.Config{Fleet: name})
	}
	heard := func(name string) <-chan *redis.Message {
		sub := f.redis.Subscribe(t.Context(), "oneflow:"+name+":limit:freed")
		t.Cleanup(func() { sub.Close() })
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		return sub.Channel()
	}
	ours, others := heard("one"), heard("two")
	l := named("one")
	s := acquire(t, l)
	waits := make(chan struct{})
	go func() {
		defer close(waits)
		acquire(t, l).Unused(t.Context())
	}()
	for f.redis.HGet(t.Context(), "oneflow:limit:{p}", "waiting").Val() == "" {
		<-time.After(time.Millisecond)
	}
	s.Done(t.Context(), providers.Usage{}, providers.RateLimits{})
	<-waits
	if m := <-ours; m.Payload != "p" {
		t.Errorf("told of %q", m.Payload)
	}
	select {
	case m := <-others:
		t.Errorf("the other fleet was told of %q", m.Payload)
	default:
	}
}

package worker

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/sleep"
	"oneflow/jobs"
)

const (
	// wakeEvery is the interval at which a worker looks for work of the providers whose Servers
	// have left: one command for all their queues, whatever brought a task there. It is most of what
	// an idle worker does, and most of what a job waits for that comes to one.
	wakeEvery = 80 * time.Millisecond
	// wakeDelayedEvery is the interval at which it looks for tasks that have become due, which
	// asynq moves to a queue only while a Server of it runs.
	wakeDelayedEvery = time.Second
	// idleAfter is the time without work of a provider after which its Servers leave.
	idleAfter = 10 * time.Second
	// clocksEvery is the interval at which a worker compares its clock with Redis', and
	// clocksApart the difference from which on it counts.
	clocksEvery = time.Minute
	clocksApart = time.Second
)

// waker starts the Servers of providers that have work, and lets those leave that
// have none.
type waker struct {
	servers *servers
	redis   redis.UniversalClient
	script  *redis.Script
	// delayed is the time at which it looks for due tasks next.
	delayed time.Time
}

func newWaker(s *servers, client redis.UniversalClient) *waker {
	return &waker{servers: s, redis: client, script: redis.NewScript(hasWork)}
}

// run looks until ctx ends. While Redis is away there is nothing to start for, and
// the audit says so.
func (w *waker) run(ctx context.Context) {
	tick, clocks := time.NewTicker(wakeEvery), time.NewTicker(clocksEvery)
	defer tick.Stop()
	defer clocks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clocks.C:
			w.compareClocks(ctx)
			continue
		case <-tick.C:
		}
		if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			w.servers.cfg.Log.Debug().Err(err).Msg("looking for new work failed")
			_ = sleep.For(ctx, wakeDelayedEvery)
		}
	}
}

// compareClocks notes how far this machine's clock is ahead of Redis'. While Redis does not
// answer, what was found last holds.
func (w *waker) compareClocks(ctx context.Context) {
	asked := time.Now()
	theirs, err := w.redis.Time(ctx).Result()
	if err != nil {
		return
	}
	w.servers.ahead.Store(int64(aheadOf(theirs, asked.Add(time.Since(asked)/2))))
}

// aheadOf returns how far our clock is ahead of theirs; 0 where it is behind: asynq here would see
// what comes by their clock when ours has come that far, and the others see what comes by ours at once.
func aheadOf(theirs, ours time.Time) time.Duration {
	if ahead := ours.Sub(theirs); ahead >= clocksApart {
		return ahead
	}
	return 0
}

// look starts what has work.
func (w *waker) look(ctx context.Context, now time.Time) error {
	idle := w.servers.stopIdle(now)
	if len(idle) == 0 {
		return nil
	}
	due := !now.Before(w.delayed)
	if due {
		w.delayed = now.Add(wakeDelayedEvery)
	}
	found, err := w.redis.Exists(ctx, queueKeys(idle, "pending")...).Result()
	if err == nil && found == 0 && due {
		found, err = w.redis.Exists(ctx, queueKeys(idle, "retry", "scheduled")...).Result()
	}
	if err != nil || found == 0 {
		return err
	}
	for _, provider := range idle {
		work, err := w.script.Run(ctx, w.redis, queueKeys([]string{provider}, "pending", "paused", "retry", "scheduled"), now.Unix()).Bool()
		if err != nil {
			return err
		}
		if !work {
			continue
		}
		if err := w.servers.wake(provider); err != nil {
			return err
		}
	}
	return nil
}

// hasWork reports whether a provider has a task that can be taken. KEYS are, for each
// of its queues, asynq's list of what is pending, the mark of a paused queue, and the
// sorted sets of what is tried again and of what is scheduled; ARGV[1] is the time in
// seconds.
const hasWork = `
for i = 1, #KEYS, 4 do
	if redis.call("EXISTS", KEYS[i + 1]) == 0 then
		if redis.call("EXISTS", KEYS[i]) == 1
			or #redis.call("ZRANGEBYSCORE", KEYS[i + 2], "-inf", ARGV[1], "LIMIT", 0, 1) > 0
			or #redis.call("ZRANGEBYSCORE", KEYS[i + 3], "-inf", ARGV[1], "LIMIT", 0, 1) > 0 then
			return 1
		end
	end
end
return 0`

// queueKeys are asynq's keys of these sorts, of all queues of these providers.
func queueKeys(providers []string, sorts ...string) []string {
	var keys []string
	for _, p := range providers {
		for _, lane := range jobs.Lanes() {
			for _, sort := range sorts {
				keys = append(keys, strings.Join([]string{"asynq", "{" + jobs.QueueName(p, lane) + "}", sort}, ":"))
			}
		}
	}
	return keys
}

// stopIdle lets Servers leave that have had no work for a while, and returns the
// providers that are served and have none.
func (s *servers) stopIdle(now time.Time) (idle []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	for name, d := range s.providers {
		if d.all.server != nil && d.running == 0 && now.Sub(d.worked) > s.cfg.pace.idle {
			s.leave(d, &d.all)
			s.leave(d, &d.high)
		}
		if d.plan != nil && d.all.server == nil {
			idle = append(idle, name)
		}
	}
	return idle
}

// wake starts the Servers of a provider.
func (s *servers) wake(provider string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.providers[provider]
	if s.stopped || d.plan == nil || d.all.server != nil {
		return nil
	}
	d.worked = time.Now()
	_, err := s.start(d)
	return err
}

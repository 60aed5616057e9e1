package main

import (
	"context"
	"math"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
)

const (
	turnsWindow = 200
	turnsRate   = 50 // calls a second
	turnsJobs   = 2000
	turnsFirst  = 500
	turnsHead   = 100 // calls of the first account before the second comes
	turnsWithin = 0.15
)

// turns has two accounts with as many jobs each, of which the second comes when
// the first has filled the window and is at work; then the same with the names the
// other way round. It tells when each has its 500th call, from the time when both
// are there.
func turns(ctx context.Context, _ grammar, v *verdicts, f *fleet, server *fakeprovider.Server) error {
	v.say("\ntwo accounts with %s jobs each, a window of %d, %d calls a second; the second comes after %d calls of the first.",
		cli.Count(turnsJobs), turnsWindow, turnsRate, turnsHead)
	v.say("From the second's acceptance to the %dth call of each after it, by the server's log", turnsFirst)
	for _, order := range [][2]string{{"ada", "bob"}, {"bob", "ada"}} {
		name := order[0] + "-then-" + order[1]
		called := func(account string, since time.Time) (at []time.Time) {
			for _, call := range server.Calls() {
				if call.Time.After(since) && strings.Contains(string(call.Body), " of "+name+"-"+account+".") {
					at = append(at, call.Time)
				}
			}
			return at
		}
		bring := func(account string) error {
			return f.bring(ctx, name+"-"+account, turnsJobs, "--account", account)
		}
		if err := bring(order[0]); err != nil {
			return err
		}
		if err := f.until(ctx, poll, "the first account's calls", func() (bool, error) { return len(called(order[0], time.Time{})) >= turnsHead, nil }); err != nil {
			return err
		}
		if err := bring(order[1]); err != nil {
			return err
		}
		both := time.Now()
		err := f.until(ctx, poll, "calls of both accounts", func() (bool, error) {
			return min(len(called(order[0], both)), len(called(order[1], both))) >= turnsFirst, nil
		})
		if err != nil {
			return err
		}
		first, second := called(order[0], both)[turnsFirst-1].Sub(both), called(order[1], both)[turnsFirst-1].Sub(both)
		apart := math.Abs(float64(first-second)) / float64(max(first, second))
		v.check(apart <= turnsWithin, "turns/%s = %.1f s and %.1f s, %.1f %% apart (at most %.0f %%)", name, first.Seconds(), second.Seconds(), 100*apart, 100*turnsWithin)
		for _, account := range order {
			if _, err := f.enqueue(ctx, nil, "cancel", name+"-"+account); err != nil {
				return err
			}
		}
	}
	return nil
}

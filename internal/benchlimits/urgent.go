package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
)

const (
	// urgentRate is the provider's limit a second: a slot each 500 ms.
	urgentRate = 2
	urgentBulk = 10_000
	urgentJobs = 10
	// urgentNoise is the delay that a loaded machine may add.
	urgentNoise = 100 * time.Millisecond
)

// urgent puts high jobs into the middle of a bulk run, one by one, and tells how
// long each waited for its call, and how many calls of the bulk run went before it.
// The same is done without the bulk run first.
func urgent(ctx context.Context, _ grammar, v *verdicts, f *fleet, server *fakeprovider.Server) error {
	spacing := time.Second / urgentRate
	alone, _, err := f.send(ctx, "alone", server, func(last fakeprovider.Call, _ int64) bool { return time.Since(last.Time) > 2*spacing })
	if err != nil {
		return err
	}
	if err := f.bring(ctx, "bulk", urgentBulk); err != nil {
		return err
	}
	waits, between, err := f.send(ctx, "urgent", server, func(_ fakeprovider.Call, since int64) bool { return since >= 3 })
	if err != nil {
		return err
	}
	v.say("\n%d high jobs, one by one, in a bulk run of %s that waits for a slot each %s, and before it without one:\nfrom acceptance in Postgres to the server's log",
		urgentJobs, cli.Count(urgentBulk), spacing)
	v.say("urgent/waits_alone = %v", alone)
	v.say("urgent/waits = %v", waits)
	slices.Sort(alone)
	v.check(slices.Max(between) <= 1, "urgent/bulk_calls_before = %v (at most 1)", between)
	late, most := slices.Max(waits)-alone[len(alone)/2], spacing+urgentNoise
	v.check(late <= most, "urgent/delay_most = %s (at most one slot and %s)", late, urgentNoise)
	return nil
}

// send enqueues high jobs, each when due says so of the last call and of how many
// there were since the job before. It returns how long each waited from its
// acceptance to its call, and how many other calls came between.
func (f *fleet) send(ctx context.Context, prompt string, server *fakeprovider.Server, due func(last fakeprovider.Call, since int64) bool) (waits []time.Duration, between []int, err error) {
	for i := range urgentJobs {
		before := server.Count()
		err := f.until(ctx, poll, "the time for the next job", func() (bool, error) {
			calls := server.Calls()
			return due(calls[len(calls)-1], server.Count()-before), nil
		})
		if err != nil {
			return nil, nil, err
		}
		mark := fmt.Sprintf("%s no. %d.", prompt, i)
		r, err := f.enqueue(ctx, nil, "text", mark, "--provider", "openai", "--model", model, "--lane", "high", "--set", "max_tokens=16")
		if err != nil {
			return nil, nil, err
		}
		p, err := f.services.Store.Progress(ctx, strings.TrimSpace(r.Stdout))
		if err != nil {
			return nil, nil, err
		}
		err = f.until(ctx, poll, "the job's call", func() (bool, error) {
			others := 0
			for _, call := range server.Calls() {
				if strings.Contains(string(call.Body), mark) {
					waits, between = append(waits, call.Time.Sub(p.CreatedAt).Round(time.Millisecond)), append(between, others)
					return true, nil
				}
				if call.Time.After(p.CreatedAt) {
					others++
				}
			}
			return false, nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return waits, between, nil
}

package store_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// player is one of many who do legal and illegal things to the same jobs.
type player struct {
	w      *database
	store  *store.Store
	rand   *rand.Rand
	shared *board
	money  bool // sets budgets and pays into wallets, too
}

// board holds what the players know of each other's claims and calls.
type board struct {
	mu      sync.Mutex
	workers []uuid.UUID
	ids     []uuid.UUID
	leases  []*jobs.Job
	calls   []openedCall
	past    []func(*store.Store) error
	holders sync.Map // by lease token: a holder does one thing at a time, as its goroutine would
}

// hold waits until nobody else acts under a lease.
func (b *board) hold(token uuid.UUID) (release func()) {
	mu, _ := b.holders.LoadOrStore(token, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	return mu.(*sync.Mutex).Unlock
}

type openedCall struct {
	job  *jobs.Job
	call jobs.Call
}

func (b *board) add(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// some returns a random one of a list of the board.
func some[T any](p *player, from *[]T) (v T, ok bool) {
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	if len(*from) == 0 {
		return v, false
	}
	// Rather a recent one: the old ones are mostly stale.
	n := len(*from)
	if p.rand.IntN(4) > 0 {
		n = min(n, 30)
	}
	return (*from)[len(*from)-1-p.rand.IntN(n)], true
}

// do runs one operation and keeps it, to be done once more later.
func (p *player) do(op func(*store.Store) error) error {
	if p.rand.IntN(3) == 0 {
		p.shared.add(func() { p.shared.past = append(p.shared.past, op) })
	}
	return op(p.store)
}

func (p *player) move(ctx context.Context) error {
	b := p.shared
	most := 106
	if p.money {
		most = 130
	}
	switch k := p.rand.IntN(most); {
	case k >= 106:
		return p.spend(ctx)
	case k >= 100:
		return p.pack(ctx)
	case k < 30:
		b.mu.Lock()
		id := b.ids[p.rand.IntN(len(b.ids))]
		b.mu.Unlock()
		worker, _ := some(p, &b.workers)
		c := jobs.Claim{ID: id, Gen: []int{1, 1, 1, 1, 2, 2, 3, 3, 4}[p.rand.IntN(9)], LeaseToken: jobs.NewID()}
		if p.rand.IntN(2) == 0 {
			return p.start(ctx, worker, c)
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			got, err := s.Claim(ctx, worker, c)
			if got.Job != nil {
				b.add(func() { b.leases = append(b.leases, got.Job) })
			}
			return err
		})
	case k < 55:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		worker, _ := some(p, &b.workers)
		c := callOf(j, nano(p.rand.Int64N(100)))
		c.Task, c.Units = []providers.Task{providers.Text, providers.Image}[p.rand.IntN(2)], p.rand.Int64N(10)
		if p.rand.IntN(5) == 0 {
			c.Reserved = nil
		}
		if p.rand.IntN(5) == 0 {
			c.Timeout = time.Millisecond
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			err := s.BeginCall(ctx, worker, c)
			if err == nil {
				b.add(func() { b.calls = append(b.calls, openedCall{j, c}) })
			}
			return err
		})
	case k < 65:
		c, ok := some(p, &b.calls)
		if !ok {
			return nil
		}
		s := jobs.Settlement{CallID: c.call.CallID, Outcome: jobs.CallUnknown}
		switch p.rand.IntN(3) {
		case 0:
			s.Outcome, s.Cost = jobs.CallFailedUnbilled, nano(0)
		case 1:
			s.Outcome = jobs.CallFailedBilled
			s.Kind = []providers.Kind{providers.Timeout, providers.OffSchema, providers.Cut}[p.rand.IntN(3)] // the last two are asked anew
			if p.rand.IntN(3) > 0 {
				s.Cost = nano(p.rand.Int64N(100))
			}
		}
		return p.do(func(st *store.Store) error {
			defer b.hold(c.job.LeaseToken)()
			return st.SettleCall(ctx, s)
		})
	case k < 73:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		var keep *jobs.Keep
		if p.rand.IntN(3) > 0 && p.child(j) == nil { // the worker leaves the cache out where a step follows
			key := jobs.CacheKey{byte(p.rand.IntN(answered + 2))}
			release := b.hold(j.LeaseToken)
			found, err := p.store.LookUp(ctx, jobs.Look{Key: key, JobID: j.ID, LeaseToken: j.LeaseToken, Account: "default", Provider: "mock", Model: "m", For: 24 * time.Hour})
			release()
			if err != nil || found == jobs.CacheHit || found == jobs.CacheFollow {
				return err
			}
			if keep = (&jobs.Keep{Key: key, For: []time.Duration{50 * time.Millisecond, time.Hour}[p.rand.IntN(2)]}); p.rand.IntN(3) == 0 {
				return p.store.Release(ctx, key, j.LeaseToken)
			}
		}
		// A call that nobody else knows of, so that it has not failed before.
		c := callOf(j, nano(50))
		worker, _ := some(p, &b.workers)
		release := b.hold(c.LeaseToken)
		err := p.store.BeginCall(ctx, worker, c)
		release()
		if err != nil {
			return err
		}
		done := success(j, c, nano(p.rand.Int64N(100)))
		done.Settlement.Units = p.rand.Int64N(10)
		done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 1, URL: "file:///x"}}
		done.Child = p.child(j)
		done.Cache = keep
		return p.do(func(s *store.Store) error {
			defer b.hold(c.LeaseToken)()
			return s.Succeed(ctx, done)
		})
	case k < 82:
		j, ok := some(p, &b.leases)
		if !ok {
			return nil
		}
		e := jobs.Completion{
			JobID: j.ID, LeaseToken: j.LeaseToken, Class: "timeout", RefundAttempt: p.rand.IntN(3) == 0,
			State: []jobs.State{jobs.Queued, jobs.Retrying, jobs.Queued, jobs.Retrying, jobs.Failed, jobs.Expired, jobs.Cancelled, jobs.Unknown}[p.rand.IntN(8)],
		}
		return p.do(func(s *store.Store) error {
			defer b.hold(e.LeaseToken)()
			_, err := s.Complete(ctx, e)
			return err
		})
	case k < 84:
		worker, _ := some(p, &b.workers)
		_, err := p.store.TakeOver(ctx, worker)
		return err
	case k < 88:
		// The answer of any call, whatever has become of its job.
		c, ok := some(p, &b.calls)
		if !ok {
			return nil
		}
		done := success(c.job, c.call, nano(p.rand.Int64N(100)))
		done.Settlement.Units = p.rand.Int64N(10)
		done.Child = p.child(c.job)
		return p.do(func(s *store.Store) error {
			defer b.hold(c.job.LeaseToken)()
			return s.Succeed(ctx, done)
		})
	case k < 89:
		id, _ := some(p, &b.ids)
		_, err := p.store.Retry(ctx, id.String(), []jobs.State{jobs.Failed, jobs.Unknown, jobs.Expired}[:1+p.rand.IntN(3)], "")
		return err
	case k < 90:
		id, _ := some(p, &b.ids)
		r := store.Resolution{Billed: p.rand.IntN(2) == 0, Retry: p.rand.IntN(2) == 0}
		if r.Billed && p.rand.IntN(2) == 0 {
			r.Cost = nano(p.rand.Int64N(100))
		}
		_, err := p.store.Resolve(ctx, id.String(), r)
		return err
	case k < 91:
		_, err := p.store.TakeOverdue(ctx, 0)
		return err
	case k < 92:
		id, _ := some(p, &b.ids)
		_, err := p.store.Cancel(ctx, id.String())
		return err
	case k < 94:
		if p.rand.IntN(4) == 0 {
			return p.store.ForgetCached(ctx)
		}
		_, err := p.store.SweepCancelled(ctx)
		if err == nil {
			_, err = p.store.ExpireOverdue(ctx)
		}
		return err
	case k < 95:
		marked, _, err := p.store.TopUp(ctx, jobs.Queue{Provider: "mock", Lane: jobs.Default}, 10)
		if err == nil && p.rand.IntN(3) == 0 {
			err = p.store.Undispatch(ctx, marked)
		}
		if err == nil && p.rand.IntN(3) == 0 {
			_, err = p.store.Redispatch(ctx, marked)
		}
		return err
	}
	if p.rand.IntN(10) == 0 {
		_, err := p.store.EndBatches(ctx)
		return err
	}
	again, ok := some(p, &b.past)
	if !ok {
		return nil
	}
	return again(p.store)
}

// lookUp claims a job, and takes an answer that the cache has.
func (p *player) lookUp(ctx context.Context) error {
	b := p.shared
	worker, _ := some(p, &b.workers)
	for range 50 {
		id, _ := some(p, &b.ids)
		got, err := p.store.Claim(ctx, worker, jobs.Claim{ID: id, Gen: 1, LeaseToken: jobs.NewID()})
		if err != nil {
			return err
		}
		if got.Job == nil {
			continue
		}
		b.add(func() { b.leases = append(b.leases, got.Job) })
		if got.Job.BatchID == "b1" { // the worker leaves the cache out where a step follows
			continue
		}
		defer b.hold(got.Job.LeaseToken)()
		_, err = p.store.LookUp(ctx, jobs.Look{
			Key: jobs.CacheKey{byte(p.rand.IntN(answered))}, JobID: got.Job.ID, LeaseToken: got.Job.LeaseToken,
			Account: "default", Provider: "mock", Model: "m", For: 24 * time.Hour,
		})
		return err
	}
	return nil
}

// start claims a job with its first call, whatever has become of it since it was looked at.
func (p *player) start(ctx context.Context, worker uuid.UUID, c jobs.Claim) error {
	list, err := p.store.Untouched(ctx, []jobs.Claim{c})
	if err != nil || len(list) == 0 {
		return err
	}
	j := &list[0]
	j.LeaseToken = c.LeaseToken
	call := callOf(j, nano(p.rand.Int64N(100)))
	call.Gen, call.Units = c.Gen, p.rand.Int64N(10)
	return p.do(func(s *store.Store) error {
		defer p.shared.hold(c.LeaseToken)()
		err := s.BeginCall(ctx, worker, call)
		if err == nil {
			p.shared.add(func() {
				p.shared.leases, p.shared.calls = append(p.shared.leases, j), append(p.shared.calls, openedCall{j, call})
			})
		}
		return err
	})
}

// child returns the next step of a job that succeeds: each time another job, of which one
// counts, or one that failed, or none. Of the jobs of the pipeline b1 alone.
func (p *player) child(j *jobs.Job) *jobs.Child {
	if j.BatchID != "b1" {
		return nil
	}
	c := &jobs.Child{Batch: "b1.2.next"}
	row := jobs.New{
		ID: jobs.NewID(), Provider: "mock", Lane: jobs.Default, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: "next"},
		Estimate: jobs.Estimate{Jobs: 1, Low: 1, Expected: 2, High: 3},
	}
	if err := jobs.NewKeys().Assign(&row); err != nil {
		return nil
	}
	row.Key = jobs.ChildKey(j.ID, "")
	switch p.rand.IntN(4) {
	case 0: // left out
	case 1:
		c.New, c.Class, c.Message = &row, "refused", "no template"
	default:
		c.New = &row
		p.shared.add(func() { p.shared.ids = append(p.shared.ids, row.ID) })
	}
	return c
}

// answered is the number of requests that the cache has an answer to from the beginning; of two
// more it has none.
const answered = 4

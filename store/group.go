package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/sleep"
)

// maxGroup bounds the operations that share a transaction: half the handlers of a busy
// worker, whose claims and ends else wait for one another in step.
const maxGroup = 200

// maxBytes is about how much a transaction sends at most, beyond its last
// operation.
const maxBytes = 64 << 20

// light is the weight of operations that are always small.
func light[In any](In) int { return 0 }

// outcome is the answer to one operation of a group.
type outcome[Out any] struct {
	out Out
	err error
}

type operation[In, Out any] struct {
	ctx  context.Context //nolint:containedctx // the caller's, for as long as it waits
	in   In
	done chan outcome[Out]
}

// linger is the time that the first operation of a group waits for others: little
// beside a provider call. Where at least company others are to be expected within the longest
// linger of the group, by how fast they have come lately, it waits for shared: a transaction costs as
// much as ten of its rows. Where those take longer to become a busy group, it waits for one, up to the
// longest of the group: nobody waits for what ends a call as for what begins one.
const (
	linger      = 2 * time.Millisecond
	shared      = 20 * time.Millisecond
	beginLinger = shared
	endLinger   = 50 * time.Millisecond
	company     = 2
	busyGroup   = 16
)

// group commits operations of one kind together, one group at a time: those that
// came while the last one was being committed, and those of the linger.
type group[In, Out any] struct {
	ops  chan operation[In, Out]
	run  func(ctx context.Context, in []In) ([]outcome[Out], error)
	life context.Context //nolint:containedctx // of the store
	// weight is about how many bytes an operation sends beyond a few hundred.
	weight func(In) int
	// longest is for how long the first operation of a group waits at most.
	longest time.Duration
	over    sync.WaitGroup
}

// pipeline is the transaction of a group, in one round trip. Its first statement
// takes from the planner all ways but to find rows by their keys, one by one: a plan
// is kept for as long as the connection, and one that was made when a table was
// small, or known to be empty, would go through all of it, for each group, when it
// is large. For the same reason no statement of a group matches its rows with each
// other by a join, but for the calls that a claim's end leaves behind, which are few:
// the planner takes them for ten at most, and compares each with all. Where two
// tables are joined through a key of the first, OFFSET 0 keeps them in that order.
// What joins rows with a table asks for id = ANY (ARRAY[row.id]): by id = row.id the
// planner may begin with a table that it knows to be empty, and go through all of it by its index.
func pipeline() *pgx.Batch {
	var p pgx.Batch
	p.Queue(`
		SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
			set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
			set_config('cpu_tuple_cost', '1', true), set_config('random_page_cost', '0', true),
			set_config('jit', 'off', true)`)
	return &p
}

// statementTimeout bounds a group's transaction before its outcome
// is taken for unknown, and it is done again. Postgres may be there and silent.
const statementTimeout = 15 * time.Second

// errClosed answers operations after Close.
var errClosed = errors.New("the store is closed")

// newGroup starts a group that ends with life. run does all operations in one
// transaction; it must be safe to repeat after an unknown COMMIT.
func newGroup[In, Out any](life context.Context, weight func(In) int, longest time.Duration, run func(context.Context, []In) ([]outcome[Out], error)) *group[In, Out] {
	g := &group[In, Out]{ops: make(chan operation[In, Out]), run: run, life: life, weight: weight, longest: longest}
	g.over.Go(g.loop)
	return g
}

func (g *group[In, Out]) wait() { g.over.Wait() }

// commitGrace is the time that a commit under way is waited for after the caller's ctx
// has ended: a Postgres that is silent must not keep one who has to leave.
const commitGrace = time.Second

// do runs one operation and waits for its commit. ctx ends the repetition after
// failures that pass, not a transaction under way: that may still be committed when do
// fails with ctx's error.
func (g *group[In, Out]) do(ctx context.Context, in In) (Out, error) {
	op := operation[In, Out]{ctx: ctx, in: in, done: make(chan outcome[Out], 1)}
	var none Out
	select {
	case g.ops <- op:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-g.life.Done():
		return none, errClosed
	}
	select {
	case o := <-op.done:
		return o.out, o.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(commitGrace)
	defer grace.Stop()
	select {
	case o := <-op.done:
		return o.out, o.err
	case <-grace.C:
		return none, ctx.Err()
	}
}

func (g *group[In, Out]) loop() {
	var lately arrivals
	for {
		select {
		case op := <-g.ops:
			began := time.Now()
			ops := g.gather(op, lately.wait(g.longest))
			lately.note(len(ops), began)
			g.flush(ops)
		case <-g.life.Done():
			return
		}
	}
}

// arrivals follows how fast operations come.
type arrivals struct {
	last time.Time // when the group before began to gather
	// perSecond is their rate, half of it that of the last group.
	perSecond float64
}

// note notes a group of n that began to gather then.
func (a *arrivals) note(n int, began time.Time) {
	passed := max(began.Sub(a.last), linger)
	a.perSecond, a.last = (a.perSecond+float64(n)/passed.Seconds())/2, began
}

// wait returns for how long the next group waits, whose longest linger is given.
func (a *arrivals) wait(longest time.Duration) time.Duration {
	if a.perSecond*longest.Seconds() < company {
		return linger
	}
	return min(max(time.Duration(busyGroup/a.perSecond*float64(time.Second)), shared), longest)
}

// gather takes what has been waiting, and what comes within wait, up to
// maxGroup and about maxBytes: Postgres takes no message above 1 GiB.
func (g *group[In, Out]) gather(first operation[In, Out], wait time.Duration) []operation[In, Out] {
	ops := []operation[In, Out]{first}
	over := time.NewTimer(wait)
	defer over.Stop()
	for bytes := g.weight(first.in); len(ops) < maxGroup && bytes < maxBytes; {
		select {
		case op := <-g.ops:
			ops = append(ops, op)
			bytes += g.weight(op.in)
		case <-over.C:
			return ops
		}
	}
	return ops
}

// flush commits ops together, repeating after failures that pass for those whose
// callers still wait. If Postgres refuses the group for something in it, each is
// tried alone, so that one bad row does not take others with it.
func (g *group[In, Out]) flush(ops []operation[In, Out]) {
	delay := firstDelay
	for len(ops) > 0 {
		outs, err := g.once(ops)
		if err == nil {
			for i, op := range ops {
				op.done <- outs[i]
			}
			return
		}
		if !transient(err) && len(ops) > 1 {
			for i := range ops {
				g.flush(ops[i : i+1])
			}
			return
		}
		waiting := ops[:0]
		_ = sleep.For(g.life, delay)
		for _, op := range ops {
			if !transient(err) || op.ctx.Err() != nil || g.life.Err() != nil {
				op.done <- outcome[Out]{err: err}
				continue
			}
			waiting = append(waiting, op)
		}
		ops, delay = waiting, min(2*delay, maxDelay)
	}
}

func (g *group[In, Out]) once(ops []operation[In, Out]) ([]outcome[Out], error) {
	in := make([]In, len(ops))
	for i, op := range ops {
		in[i] = op.in
	}
	// Not life: a commit under way at Close is waited for, but not for ever.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.life), statementTimeout)
	defer cancel()
	outs, err := g.run(ctx, in)
	if err == nil && len(outs) != len(ops) {
		err = fmt.Errorf("store: %d operations gave %d outcomes", len(ops), len(outs))
	}
	return outs, err
}

func isNetwork(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

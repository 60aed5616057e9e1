package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Outage is a time in which Postgres does not answer while somebody waits for it.
type Outage struct {
	// For is the time that it has lasted.
	For time.Duration
	// Err is the last failure; it holds no password.
	Err error
	// Over says that Postgres answers again. It follows an Outage that was reported.
	Over bool
}

// An outage is told of once statements or connections have failed for outageAfter,
// or one of them has been without an answer for silentAfter, and every outageEvery
// from then on.
const (
	outageAfter = 2 * time.Second
	silentAfter = 10 * time.Second
	outageEvery = 10 * time.Second
)

// errSilent is the cause of an outage without a failure.
var errSilent = errors.New("a statement has not been answered")

// OnOutage has report called while Postgres does not answer: 2 s after the first
// failure, then every 10 s, and once more when it answers again. report must not wait.
// It may be called once.
func (s *Store) OnOutage(report func(Outage)) {
	s.outage.mu.Lock()
	defer s.outage.mu.Unlock()
	s.outage.report = report
}

// outage follows, as a tracer of all connections, what is asked and answered.
type outage struct {
	mu     sync.Mutex
	report func(Outage)
	// asked holds the time at which each statement and connection under way began.
	asked map[uint64]time.Time
	next  uint64
	// since is the time of the first failure after the last answer; zero: none.
	since    time.Time
	last     error
	reported time.Time // zero: nothing is reported
	over     sync.WaitGroup
}

// watch looks every second until ctx ends.
func (o *outage) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			o.look(now)
		}
	}
}

func (o *outage) look(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, err := o.since, o.last
	due := !since.IsZero() && now.Sub(since) >= outageAfter
	for _, began := range o.asked {
		if now.Sub(began) >= silentAfter && (since.IsZero() || began.Before(since)) {
			since, due = began, true
			if err == nil {
				err = errSilent
			}
		}
	}
	if o.report == nil || !due || now.Sub(o.reported) < outageEvery {
		return
	}
	o.reported = now
	o.report(Outage{For: now.Sub(since), Err: err})
}

// questionKey is the key of a question's number in a context.
type questionKey struct{}

func (o *outage) begin(ctx context.Context) context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	o.asked[o.next] = time.Now()
	return context.WithValue(ctx, questionKey{}, o.next)
}

func (o *outage) end(ctx context.Context, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, ok := ctx.Value(questionKey{}).(uint64); ok {
		delete(o.asked, n)
	}
	switch {
	case err != nil && transient(err):
		if o.last = err; o.since.IsZero() {
			o.since = time.Now()
		}
	case err == nil:
		if o.report != nil && !o.reported.IsZero() {
			o.report(Outage{Over: true})
		}
		o.since, o.reported, o.last = time.Time{}, time.Time{}, nil
	}
}

// The interfaces of pgx's tracers.
var (
	_ pgx.QueryTracer    = (*outage)(nil)
	_ pgx.BatchTracer    = (*outage)(nil)
	_ pgx.CopyFromTracer = (*outage)(nil)
	_ pgx.ConnectTracer  = (*outage)(nil)
)

// TraceQueryStart implements pgx.QueryTracer.
func (o *outage) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return o.begin(ctx)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (o *outage) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryEndData) {
	o.end(ctx, d.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (o *outage) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return o.begin(ctx)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (o *outage) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (o *outage) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchEndData) {
	o.end(ctx, d.Err)
}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (o *outage) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return o.begin(ctx)
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (o *outage) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceCopyFromEndData) {
	o.end(ctx, d.Err)
}

// TraceConnectStart implements pgx.ConnectTracer.
func (o *outage) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return o.begin(ctx)
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (o *outage) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) { o.end(ctx, d.Err) }

// Package store keeps everything in Postgres: it is the only place with SQL,
// beside the migrations. It implements the interfaces that jobs declares, and the
// reads that commands and the monitor need. It may import the domain packages
// and migrations.
//
// Every transition is one conditional UPDATE, fenced with the lease. What a
// worker does for each job goes through group commit: many jobs, one transaction,
// and each caller waits for its own commit.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"oneflow/internal/sleep"
	"oneflow/jobs"
	"oneflow/worker"
)

// Store is the connection to Postgres. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	stop context.CancelFunc
	life context.Context //nolint:containedctx // until Close
	// pooled reports whether a pooler stands between us and Postgres.
	pooled bool
	// ended gets a value when jobs have ended here: see notify.
	ended      chan struct{}
	background sync.WaitGroup
	// budgeted is until when budgets are known to be there, in Unix nanoseconds.
	budgeted atomic.Int64
	// exact is until when answers are written by succeedSQL, in Unix nanoseconds.
	exact atomic.Int64
	// outage follows whether Postgres answers.
	outage *outage

	claims  *group[claimIn, jobs.Claimed]
	begins  *group[beginIn, struct{}]
	settles *group[jobs.Settlement, struct{}]
	succeed *group[jobs.Success, struct{}]
	ends    *group[jobs.Completion, jobs.State]

	// beginsOn and succeedOn are the connections of begins and succeed.
	beginsOn, succeedOn pinned
}

// The interfaces that this package implements.
var (
	_ jobs.AcceptStore   = (*Store)(nil)
	_ jobs.DispatchStore = (*Store)(nil)
	_                    = worker.Stores{
		Work: (*Store)(nil), Orders: (*Store)(nil), Presence: (*Store)(nil), Leader: (*Store)(nil), Recovery: (*Store)(nil),
		Deliveries: (*Store)(nil), Capacity: (*Store)(nil), Money: (*Store)(nil), Watch: (*Store)(nil),
	}
)

// Open connects to Postgres and checks the connection. The caller closes the
// Store. The error never holds the URL, which may hold a password.
func Open(ctx context.Context, databaseURL string) (*Store, error) {
	cfg, err := parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("the database URL: %w", err)
	}
	cfg.MaxConns = max(cfg.MaxConns, 8)
	watched := &outage{asked: map[uint64]time.Time{}}
	cfg.ConnConfig.Tracer = watched
	pool, behind, err := openPool(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres at %s:%d: %w", cfg.ConnConfig.Host, cfg.ConnConfig.Port, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{pool: pool, stop: stop, life: life, pooled: behind, ended: make(chan struct{}, 1), outage: watched, beginsOn: pinned{pool: pool}, succeedOn: pinned{pool: pool}}
	s.background.Go(s.notify)
	watched.over.Go(func() { watched.watch(life) })
	s.claims = newGroup(life, light, beginLinger, s.claimMany)
	s.begins = newGroup(life, light, beginLinger, s.beginMany)
	s.settles = newGroup(life, func(c jobs.Settlement) int { return len(c.Body) }, endLinger, s.settleMany)
	s.succeed = newGroup(life, sizeOf, endLinger, s.succeedMany)
	s.ends = newGroup(life, light, endLinger, s.completeMany)
	return s, nil
}

// Close waits for writes under way and closes the connections.
func (s *Store) Close() {
	s.stop()
	s.claims.wait()
	s.begins.wait()
	s.settles.wait()
	s.succeed.wait()
	s.ends.wait()
	s.outage.over.Wait()
	s.background.Wait()
	s.beginsOn.close()
	s.succeedOn.close()
	s.pool.Close()
}

// Ping reports whether Postgres answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// SchemaVersion returns the version of the schema, 0 where there is none.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) {
	var v int64
	// Asked once: to prepare it would take as long as to ask.
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`, pgx.QueryExecModeSimpleProtocol).Scan(&v)
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && refusal.Code == pgUndefinedTable {
		return 0, nil
	}
	return v, err
}

// begin runs do in a transaction, and again after a failure that a repetition
// mends, until ctx ends. do must be safe to repeat after an unknown COMMIT.
func (s *Store) begin(ctx context.Context, do func(pgx.Tx) error) error {
	return again(ctx, func() error { return pgx.BeginFunc(ctx, s.pool, do) })
}

// again repeats do while it fails for a reason that passes, with back-off from
// 50 ms to 2 s, until ctx ends. Then the error is ctx's, too: a COPY that ctx
// interrupts tells of the connection that was closed for it.
func again(ctx context.Context, do func() error) error {
	delay := firstDelay
	for {
		err := do()
		switch {
		case err == nil || !transient(err):
			return err
		case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case ctx.Err() != nil:
			return err
		}
		_ = sleep.For(ctx, delay)
		delay = min(2*delay, maxDelay)
	}
}

// Back-off between repetitions.
const (
	firstDelay = 50 * time.Millisecond
	maxDelay   = 2 * time.Second
)

// transient reports whether the same statement may work in a moment: a lost or
// silent connection, a server that starts or stops, a full disk, a deadlock.
// Callers look at their own context themselves.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code[:2] {
		case "08", "53", "57": // connection, resources, operator intervention
			return true
		}
		return e.Code == pgSerialization || e.Code == pgDeadlock || e.ConstraintName == callsKey || e.ConstraintName == sharesKey
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return pgconn.SafeToRetry(err) || isNetwork(err)
}

const (
	pgSerialization  = "40001"
	pgDeadlock       = "40P01"
	pgDivisionByZero = "22012"
	pgUndefinedTable = "42P01"
	// resultsKey is violated by a second answer of a job.
	resultsKey = "results_pkey"
	// callsKey and sharesKey are violated by a repetition that began before the first
	// try of the same write was committed.
	callsKey  = "calls_pkey"
	sharesKey = "call_jobs_pkey"
)

// waitingStates are the states of a job that has not ended and that nobody holds.
const waitingStates = `('scheduled', 'queued', 'retrying')`

// vainCalls counts the calls of the job with the state s, since a person's last
// retry, that ended with unknown outcome, or were billed and brought no result.
const vainCalls = `(
	SELECT count(*)
	FROM (SELECT call_id FROM call_jobs WHERE job_id = s.job_id AND gen >= s.retry_gen OFFSET 0) cj
	CROSS JOIN LATERAL (SELECT state, error_kind FROM calls WHERE id = cj.call_id OFFSET 0) c
	WHERE c.state IN ('unknown', 'failed_billed'))`

// unknownCalls counts those of them after which a call may be the second to be paid for
// in vain: not the answers that another call goes on from (jobs.Miss), nor what was
// ordered and is continued (jobs.Order).
const unknownCalls = `(
	SELECT count(*)
	FROM (SELECT call_id FROM call_jobs WHERE job_id = s.job_id AND gen >= s.retry_gen OFFSET 0) cj
	CROSS JOIN LATERAL (SELECT state, error_kind, handle FROM calls WHERE id = cj.call_id OFFSET 0) c
	WHERE c.state = 'unknown' AND c.handle = '' OR c.state = 'failed_billed' AND c.error_kind NOT IN ` + missKinds + `)`

// missKinds are the kinds of a jobs.Miss.
const missKinds = `('schema', 'cut', 'pause')`

// ids collects one uuid from each item.
func ids[T any](items []T, id func(T) uuid.UUID) []uuid.UUID {
	out := make([]uuid.UUID, len(items))
	for i, it := range items {
		out[i] = id(it)
	}
	return out
}

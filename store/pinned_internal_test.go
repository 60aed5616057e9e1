package store

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"oneflow/internal/storetest"
)

// pidOf returns the process of Postgres' that a pinned connection speaks to.
func pidOf(t *testing.T, p *pinned) (pid int, err error) {
	t.Helper()
	var b pgx.Batch
	b.Queue(`SELECT pg_backend_pid()`).QueryRow(func(row pgx.Row) error { return row.Scan(&pid) })
	return pid, p.send(t.Context(), &b)
}

// closes closes a pool, which waits for all its connections: a broken one is given back by and by.
func closes(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Errorf("%d connections are still held", pool.Stat().AcquiredConns())
	}
}

func TestAGroupKeepsItsConnectionUntilThatBreaks(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), storetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	one, other := &pinned{pool: pool}, &pinned{pool: pool}
	first, err := pidOf(t, one)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		second, err := pidOf(t, other) // who takes any that is free would get it next
		if err != nil {
			t.Fatal(err)
		}
		again, err := pidOf(t, one)
		if err != nil || again != first || second == first {
			t.Fatalf("processes %d, then %d beside %d, %v; want the same again, which the other has not", first, again, second, err)
		}
	}
	if _, err := pool.Exec(t.Context(), `SELECT pg_terminate_backend($1, 60000)`, first); err != nil {
		t.Fatal(err)
	}
	if pid, err := pidOf(t, one); err == nil || !transient(err) {
		t.Errorf("a connection that was cut off gave %d, %v; want what is tried again", pid, err)
	}
	if pid, err := pidOf(t, one); err != nil || pid == first {
		t.Errorf("after it the process is %d, %v; want another", pid, err)
	}
	one.used = one.used.Add(-2 * pinnedFor)
	if pid, err := pidOf(t, one); err != nil || pid == 0 {
		t.Errorf("after a rest: %d, %v", pid, err)
	}
	one.close()
	other.close()
	closes(t, pool)
}

func TestATransactionThatFailsGivesItsConnectionBack(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), storetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &pinned{pool: pool}
	var b pgx.Batch
	b.Queue(`SELECT 1 / 0`)
	if err := p.send(t.Context(), &b); err == nil {
		t.Error("a division by zero did not fail")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.send(ctx, &b); err == nil {
		t.Error("a cancelled send did not fail")
	}
	closes(t, pool)
}

func TestTheFirstJobsWaitForNoPlan(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), storetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		on  *pinned
		sql string
	}{{&s.beginsOn, takeSQL}, {&s.beginsOn, beginSQL}, {&s.succeedOn, answersSQL}} {
		var plans int
		var b pgx.Batch
		b.Queue(`SELECT coalesce(sum(generic_plans), 0) FROM pg_prepared_statements WHERE statement = $1`, c.sql).
			QueryRow(func(row pgx.Row) error { return row.Scan(&plans) })
		if err := c.on.send(t.Context(), &b); err != nil || plans != 1 {
			t.Errorf("%d plans, %v; want one of %.60s", plans, err, c.sql)
		}
	}
}

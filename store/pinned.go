package store

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pinnedFor is the time for which a connection is taken to be as it was last: pgxpool, too,
// looks at one that was idle for longer before it hands it out.
const pinnedFor = time.Second

// pinned sends the transactions of one kind of group on one connection of the pool, as long
// as there are some. Postgres plans a statement, and those of its triggers, for each connection anew, which
// takes it as long as some hundred rows: were they sent on any that is free, each worker would
// plan them on all that it has.
type pinned struct {
	pool *pgxpool.Pool

	mu   sync.Mutex
	conn *pgxpool.Conn // nil: none is held
	used time.Time
}

// send sends a pipeline, one at a time.
func (p *pinned) send(ctx context.Context, b *pgx.Batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.used) > pinnedFor {
		p.release()
	}
	if p.conn == nil {
		conn, err := p.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		p.conn = conn
	}
	err := p.conn.SendBatch(ctx, b).Close()
	if p.used = time.Now(); err != nil {
		p.release()
	}
	return err
}

// close gives the connection back.
func (p *pinned) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

// release gives the connection back, which the pool closes if it is broken. The caller holds mu.
func (p *pinned) release() {
	if p.conn != nil {
		p.conn.Release()
		p.conn = nil
	}
}

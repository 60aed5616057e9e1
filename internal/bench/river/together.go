package main

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// row holds what is written for a job: of its answer, the text and the body.
type row struct {
	call uuid.UUID
	job  int64
	text string
	raw  []byte
}

// together commits rows of many jobs in one transaction: those that came while the last
// was being committed, and in the few milliseconds after.
type together struct {
	rows chan waiting
}

type waiting struct {
	row

	done chan error
}

// The bounds of a transaction: OneFlow's.
const (
	most   = 500
	linger = 2 * time.Millisecond
)

func newTogether(ctx context.Context, pool *pgxpool.Pool, sql string) *together {
	t := &together{rows: make(chan waiting)}
	go func() {
		for {
			list, ok := t.gather(ctx)
			if !ok {
				return
			}
			n := len(list)
			calls, jobs, texts, raws, sums := make([]uuid.UUID, n), make([]int64, n), make([]string, n), make([][]byte, n), make([][]byte, n)
			for i, w := range list {
				sum := sha256.Sum256(w.raw)
				calls[i], jobs[i], texts[i], raws[i], sums[i] = w.call, w.job, w.text, w.raw, sum[:]
			}
			_, err := pool.Exec(ctx, sql, calls, jobs, texts, raws, sums)
			for _, w := range list {
				w.done <- err
			}
		}
	}()
	return t
}

func (t *together) gather(ctx context.Context) (list []waiting, ok bool) {
	select {
	case w := <-t.rows:
		list = append(list, w)
	case <-ctx.Done():
		return nil, false
	}
	over := time.NewTimer(linger)
	defer over.Stop()
	for len(list) < most {
		select {
		case w := <-t.rows:
			list = append(list, w)
		case <-over.C:
			return list, true
		}
	}
	return list, true
}

// write waits for the commit of a row.
func (t *together) write(ctx context.Context, r row) error {
	w := waiting{row: r, done: make(chan error, 1)}
	select {
	case t.rows <- w:
		return <-w.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

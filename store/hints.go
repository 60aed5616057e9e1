package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/sleep"
)

const (
	// endedChannel is the channel on which stores tell each other that jobs have ended.
	endedChannel = "oneflow_ended"
	// submittedChannel is that of oneflow.enqueue: see the schema.
	submittedChannel = "oneflow_submitted"
	// tellEvery is the least time between two of a store's notices, and retellAfter the
	// time after which a connection that listened is made anew.
	tellEvery   = 50 * time.Millisecond
	retellAfter = 2 * time.Second
)

// Hints returns a channel that gets a value soon after jobs have ended, whoever ended
// them, until ctx ends or the Store is closed. A hint may be missed, and says not
// which jobs: who waits for one polls, too. Behind a pooler, which may hand each
// transaction to another connection of Postgres', there are none.
func (s *Store) Hints(ctx context.Context) <-chan struct{} { return s.hintsOn(ctx, endedChannel) }

// SubmittedHints is Hints for rows that SQL has submitted.
func (s *Store) SubmittedHints(ctx context.Context) <-chan struct{} {
	return s.hintsOn(ctx, submittedChannel)
}

func (s *Store) hintsOn(ctx context.Context, channel string) <-chan struct{} {
	hints := make(chan struct{}, 1)
	if s.pooled {
		return hints
	}
	ctx, stop := context.WithCancel(ctx)
	context.AfterFunc(s.life, stop) //nolint:contextcheck // it ends with the Store, too
	s.background.Go(func() {
		defer stop()
		for ctx.Err() == nil {
			_ = s.listen(ctx, channel, hints) // whatever the reason, polling goes on, and this again
			_ = sleep.For(ctx, retellAfter)
		}
	})
	return hints
}

// listen passes notices on until its connection breaks or ctx ends.
func (s *Store) listen(ctx context.Context, channel string, hints chan<- struct{}) (err error) {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return err
	}
	for {
		signal(hints) // also at first: what ended before was not heard of
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// notify tells those who listen that jobs have ended, together with others that end
// meanwhile. It is no part of the transactions that end them, since those that give
// notices are committed one by one, and it does not wait for the disk.
func (s *Store) notify() {
	for {
		select {
		case <-s.ended:
		case <-s.life.Done():
			return
		}
		var p pgx.Batch
		p.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
		p.Queue(`SELECT pg_notify($1, '')`, endedChannel)
		ctx, done := context.WithTimeout(s.life, retellAfter)
		_ = s.pool.SendBatch(ctx, &p).Close() // a hint: it may be lost
		done()
		_ = sleep.For(s.life, tellEvery)
	}
}

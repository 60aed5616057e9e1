package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CheckURL fails where a database URL cannot be read, and says what in it is wrong.
// The error holds no password.
func CheckURL(databaseURL string) error {
	_, err := parse(databaseURL)
	return err
}

func parse(databaseURL string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err == nil {
		return cfg, nil
	}
	// The error itself repeats the URL; its innermost cause does not.
	cause := err
	for inner := errors.Unwrap(cause); inner != nil; inner = errors.Unwrap(cause) {
		if cause = inner; errors.As(cause, new(*fs.PathError)) && errors.Unwrap(errors.Unwrap(cause)) == nil {
			break // it names the file
		}
	}
	if name := culprit(databaseURL); name == "sslmode" {
		return nil, errors.New("its parameter sslmode is none of disable, allow, prefer, require, verify-ca and verify-full")
	} else if name != "" {
		return nil, fmt.Errorf("its parameter %s: %w", name, cause)
	}
	return nil, errors.New("it cannot be read: it looks like postgres://user:password@host:5432/name")
}

// culprit returns the parameter without which the URL could be read; empty where
// there is none.
func culprit(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	for name := range u.Query() {
		without := *u
		rest := u.Query()
		rest.Del(name)
		without.RawQuery = rest.Encode()
		if _, err := pgxpool.ParseConfig(without.String()); err == nil {
			return name
		}
	}
	return ""
}

// pooled reports whether a pooler such as PgBouncer stands between us and Postgres.
// A pooler makes up the process number with which a connection begins, since it does
// not know yet which of Postgres' will serve it.
//
// In transaction mode each transaction may be served by another of Postgres'
// connections: what is prepared by name, or set for a session, is not there the next
// time.
func pooled(ctx context.Context, c *pgx.Conn) (bool, error) {
	var pid uint32
	if err := c.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return false, err
	}
	return pid != c.PgConn().PID(), nil
}

// errPooler tells that the first connection of a pool has found a pooler.
var errPooler = errors.New("a pooler stands before Postgres")

// openPool connects, and makes the pool fit for what stands behind its address: it reports
// whether that is a pooler. Its first connection finds out, so that a command has one alone.
func openPool(ctx context.Context, cfg *pgxpool.Config) (_ *pgxpool.Pool, behind bool, err error) {
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	var known atomic.Bool // by the first connection
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		if !known.Load() {
			if behind, err := pooled(ctx, c); err != nil || behind {
				return cmp.Or(err, errPooler)
			}
		}
		return prepare(ctx, c, false)
	}
	pool, err := connected(ctx, cfg)
	known.Store(true)
	if err == nil || !errors.Is(err, errPooler) {
		return pool, false, err
	}
	// Statements are not prepared by name; their parameters' types are still known,
	// which arrays need.
	cfg = cfg.Copy()
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return prepare(ctx, c, true) }
	pool, err = connected(ctx, cfg)
	return pool, true, err
}

// connected makes a pool with one connection.
func connected(ctx context.Context, cfg *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		pool.Close()
		return nil, err
	}
	c.Release()
	return pool, nil
}

// prepare makes a new connection fit for short statements: with a million jobs in
// a queue, Postgres takes what it expects of some for worth compiling, which takes
// longer than they do. Behind a pooler the setting would come to others.
func prepare(ctx context.Context, c *pgx.Conn, behindPooler bool) error {
	sendUUIDs(c.TypeMap())
	if behindPooler {
		return nil
	}
	_, err := c.Exec(ctx, `SET jit = off`)
	return err
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

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
func pooled(ctx context.Context, cfg *pgx.ConnConfig) (is bool, err error) {
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	var pid uint32
	if err := c.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return false, err
	}
	return pid != c.PgConn().PID(), nil
}

// suit makes a pool's configuration fit for what stands behind its address, and
// reports whether that is a pooler.
func suit(ctx context.Context, cfg *pgxpool.Config) (behind bool, err error) {
	behind, err = pooled(ctx, cfg.ConnConfig)
	if err != nil {
		return false, err
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if behind {
		// Statements are not prepared by name; their parameters' types are still known,
		// which arrays need.
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return prepare(ctx, c, behind) }
	return behind, nil
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

package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	givenLimit = 5 * time.Second       // how long a given service may stay silent
	pollEvery  = 20 * time.Millisecond // between two attempts to reach a server that is starting
)

// finalError marks an answer that waiting does not change: a wrong password, a database that is not there.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// checkPostgres waits up to 5 s for a given Postgres. from names the variable it was given by.
func checkPostgres(ctx context.Context, from, raw string) error {
	cfg, err := pgx.ParseConfig(raw)
	if err != nil { // pgx's own message may quote the URL with its password
		return fmt.Errorf("devstack: %s is no Postgres URL: want postgres://user:password@host:port/database; correct it, or unset %s to use a Postgres of this machine", from, databaseVar)
	}
	addr := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	err = await(ctx, givenLimit, func(ctx context.Context) error { return pingPostgres(ctx, cfg) })
	return unanswered(err, from, databaseVar, "Postgres", addr, "postgres")
}

// checkRedis waits up to 5 s for a given Redis. from names the variable it was given by.
func checkRedis(ctx context.Context, from, raw string) error {
	opt, err := redis.ParseURL(raw)
	if err != nil { // the message may quote the URL with its password
		return fmt.Errorf("devstack: %s is no Redis URL: want redis://:password@host:port/number; correct it, or unset %s to use a Redis of this machine", from, redisVar)
	}
	err = await(ctx, givenLimit, func(ctx context.Context) error { return pingRedis(ctx, opt) })
	return unanswered(err, from, redisVar, "Redis", opt.Addr, "redis")
}

func unanswered(err error, from, variable, name, addr, service string) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("does not answer after %s", givenLimit)
	if _, ok := errors.AsType[finalError](err); ok {
		what = "refuses us"
	}
	return fmt.Errorf("devstack: %s: %s at %s %s: %w; start it (docker compose up -d %s, or your system's service), correct the variable, or unset %s to use a %s of this machine",
		from, name, addr, what, err, service, variable, name)
}

// await calls try until it succeeds, the limit is over, or try says with a finalError that this is no use. It returns the
// last error of try.
func await(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[finalError](err); ok {
			return err
		}
		if last == nil || ctx.Err() == nil { // the error before the time was up says more than "deadline exceeded"
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// pingPostgres connects for real. A server that still starts up is an error like any other; other answers are final.
func pingPostgres(ctx context.Context, cfg *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code[:2] != "57" && pgErr.Code[:2] != "53" {
			return finalError{fmt.Errorf("%s (SQLSTATE %s)", pgErr.Message, pgErr.Code)}
		}
		return err
	}
	return conn.Close(ctx)
}

// pingRedis dials before it makes a client, so that a closed port is one quiet error.
func pingRedis(ctx context.Context, opt *redis.Options) error {
	network := opt.Network
	if network == "" {
		network = "tcp"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, opt.Addr)
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	one := *opt
	one.PoolSize, one.MaxRetries, one.DialerRetries = 1, -1, 1
	one.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewClient(&one)
	defer closeQuietly(client)
	err = client.Ping(ctx).Err()
	if redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "ERR") {
		return finalError{err}
	}
	return err
}

// freePort is a loopback port that nobody listens on at this moment. Callers try again when somebody else was faster.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("devstack: find a free port on 127.0.0.1: %w", err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("devstack: find a free port on 127.0.0.1: got %s", l.Addr())
	}
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("devstack: find a free port on 127.0.0.1: %w", err)
	}
	return addr.Port, nil
}

// isFree reports whether nobody listens on a loopback port at this moment.
func isFree(ctx context.Context, port int) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		closeQuietly(l)
	}
	return err == nil
}

// serverURL puts an address and its credentials together.
func serverURL(scheme, user, password string, port int, path, query string) string {
	u := url.URL{
		Scheme: scheme, User: url.UserPassword(user, password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: path, RawQuery: query,
	}
	return u.String()
}

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Until asks every so often until done, for what only another process can tell. what completes the sentence "waited in
// vain for …" of the error with which it ends when ctx does; an error of done ends it at once.
func Until(ctx context.Context, every time.Duration, what string, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Query asks Postgres for one value, on a connection of its own, within 30 s.
func Query[T any](ctx context.Context, databaseURL, sql string, args ...any) (v T, err error) {
	return v, QueryRow(ctx, databaseURL, sql, args, &v)
}

// QueryRow asks Postgres for one row, on a connection of its own, within 30 s.
func QueryRow(ctx context.Context, databaseURL, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, sql, args...).Scan(into...)
}

// Exec runs statements in Postgres, one by one, on a connection of their own.
func Exec(ctx context.Context, databaseURL string, statements ...string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Redis makes a client. The caller closes it.
func Redis(redisURL string) (*redis.Client, error) {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, err
	}
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(opts), nil
}

// RedisText is everything in one Redis database, to look for what must not be in it.
func RedisText(ctx context.Context, redisURL string) (string, error) {
	client, err := Redis(redisURL)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	var b strings.Builder
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		b.WriteString(keys.Val() + " ")
		// DUMP is the value as Redis keeps it, of whatever type. Short strings in it are not compressed. A key may have
		// expired by now.
		if dump, err := client.Dump(ctx, keys.Val()).Result(); err == nil {
			b.WriteString(dump)
		}
		if h, err := client.HGetAll(ctx, keys.Val()).Result(); err == nil {
			fmt.Fprint(&b, h)
		}
	}
	return b.String(), keys.Err()
}

// ReadLog reads the call log of a fake provider, or of the mock, line by line. A log that is not there is empty, and a
// last line that is not whole yet is left out.
func ReadLog[L any](path string) ([]L, error) {
	data, err := os.ReadFile(path) //nolint:gosec // a log of ours
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var lines []L
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var l L
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return lines, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the call log %s: %w", path, err)
		}
		lines = append(lines, l)
	}
}

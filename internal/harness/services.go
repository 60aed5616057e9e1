package harness

import (
	"context"
	"errors"
	"io"
	"os"

	"oneflow/internal/devstack"
	"oneflow/migrations"
	"oneflow/store"
)

// Services are a Postgres with our schema, and a Redis.
type Services struct {
	*devstack.Stack
	// Store speaks to that Postgres.
	Store *store.Store
}

// StartServices starts servers, or takes those of DATABASE_URL and REDIS_URL, and brings the schema up. log gets a line
// for each server that was started.
func StartServices(ctx context.Context, log io.Writer, getenv func(string) string) (*Services, error) {
	return startServices(ctx, devstack.Options{Log: log, Getenv: getenv})
}

// StartDurable is StartServices with servers that write to the disk before they answer, as those of production do. Their
// data is in dir, which the caller removes.
func StartDurable(ctx context.Context, log io.Writer, getenv func(string) string, dir string) (*Services, error) {
	return startServices(ctx, devstack.Options{Log: log, Getenv: getenv, Dir: dir, Persist: true})
}

func startServices(ctx context.Context, o devstack.Options) (*Services, error) {
	stack, err := devstack.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := migrations.Up(ctx, stack.DatabaseURL); err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	db, err := store.Open(ctx, stack.DatabaseURL)
	if err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	return &Services{Stack: stack, Store: db}, nil
}

// Close stops what was started.
func (s *Services) Close() error {
	s.Store.Close()
	return s.Stack.Close()
}

// Isolated is the environment of this process without the servers that it names: what is broken on purpose, or would be
// disturbed, has servers of its own.
func Isolated(name string) string {
	if name == "DATABASE_URL" || name == "REDIS_URL" {
		return ""
	}
	return os.Getenv(name)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/migrations"
	"oneflow/store"
)

// Services are the flags that say where Postgres and Redis are.
type Services struct {
	DatabaseURL    string        `help:"Postgres, such as postgres://user:password@localhost:5432/oneflow." env:"DATABASE_URL" placeholder:"URL"`
	RedisURL       string        `help:"Redis, such as redis://:password@localhost:6379/0." env:"REDIS_URL" placeholder:"URL"`
	ConnectTimeout time.Duration `help:"How long to wait for Postgres and Redis before giving up with exit code 3." default:"30s" env:"ONEFLOW_CONNECT_TIMEOUT"`
}

const howToStart = "start it with `make dev`, which prints the environment to use, or with `docker compose up -d`"

// AnyPostgres waits until Postgres answers, whatever its schema.
func (s Services) AnyPostgres(ctx context.Context, log zerolog.Logger) error {
	db, err := s.open(ctx, log)
	if err == nil {
		db.Close()
	}
	return err
}

func (s Services) open(ctx context.Context, log zerolog.Logger) (db *store.Store, err error) {
	if s.DatabaseURL == "" {
		return nil, Fail(Usage, errors.New("DATABASE_URL is not set, so there is no Postgres to use: "+howToStart))
	}
	err = s.wait(ctx, log, "Postgres", "DATABASE_URL", s.DatabaseURL, func(ctx context.Context) (err error) {
		db, err = store.Open(ctx, s.DatabaseURL)
		return err
	})
	return db, err
}

// Postgres connects, waiting with back-off and saying so, and checks that the
// schema is the one that this program needs.
func (s Services) Postgres(ctx context.Context, log zerolog.Logger) (*store.Store, error) {
	db, err := s.open(ctx, log)
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func checkSchema(ctx context.Context, db *store.Store) error {
	has, err := db.SchemaVersion(ctx)
	if err != nil {
		return Fail(Unavailable, fmt.Errorf("read the schema's version: %w", err))
	}
	needs, err := migrations.Latest()
	if err != nil {
		return err
	}
	if has < needs {
		return Fail(Unavailable, fmt.Errorf("the database has schema version %d and this program needs %d: run `worker migrate up`", has, needs))
	}
	return nil
}

// RedisOptions reads the URL.
func (s Services) RedisOptions() (*redis.Options, error) {
	if s.RedisURL == "" {
		return nil, Fail(Usage, errors.New("REDIS_URL is not set, so there is no Redis to use: "+howToStart))
	}
	opts, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, Fail(Usage, errors.New("REDIS_URL cannot be read: it looks like redis://:password@localhost:6379/0"))
	}
	return opts, nil
}

// Redis waits until Redis answers.
func (s Services) Redis(ctx context.Context, log zerolog.Logger) (asynq.RedisConnOpt, error) {
	opts, err := s.RedisOptions()
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(opts)
	err = s.wait(ctx, log, "Redis", "REDIS_URL", s.RedisURL, func(ctx context.Context) error { return client.Ping(ctx).Err() })
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	return ForAsynq(opts), nil
}

// ForAsynq hands a Redis address to asynq.
func ForAsynq(o *redis.Options) asynq.RedisConnOpt {
	return asynq.RedisClientOpt{
		Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig,
	}
}

// wait repeats try with back-off from 100 ms to 5 s.
func (s Services) wait(ctx context.Context, log zerolog.Logger, what, variable, address string, try func(context.Context) error) error {
	patience, cancel := context.WithTimeout(ctx, s.ConnectTimeout)
	defer cancel()
	delay := 100 * time.Millisecond
	for {
		one, done := context.WithTimeout(patience, 5*time.Second)
		err := try(one)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		timer := time.NewTimer(delay)
		select {
		case <-patience.Done():
			timer.Stop()
			return Fail(Unavailable, fmt.Errorf("%s does not answer at %s (%s), waited %s: %w; %s",
				what, host(address), variable, s.ConnectTimeout, err, howToStart))
		case <-timer.C:
		}
		log.Warn().Str("at", host(address)).Err(err).Dur("next_try", delay).Msg(what + " does not answer, waiting")
		delay = min(2*delay, 5*time.Second)
	}
}

// host is the part of a URL that holds no secret.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "its address"
	}
	return u.Host
}

package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
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

// escaped says what makes most addresses unreadable.
const escaped = "where / ? # @ and % in a password are written %2F %3F %23 %40 and %25"

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
	if !readable(s.DatabaseURL) {
		return nil, Fail(Usage, errors.New("DATABASE_URL cannot be read: it looks like postgres://user:password@localhost:5432/oneflow, "+escaped))
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
	if u, parseErr := url.Parse(s.RedisURL); err != nil || parseErr != nil || !whole(s.RedisURL, u) {
		return nil, Fail(Usage, errors.New("REDIS_URL cannot be read: it looks like redis://:password@localhost:6379/0, "+escaped))
	}
	return opts, nil
}

// Redis waits until Redis answers, and checks that it throws nothing away: an
// eviction would lose deliveries without a trace, so it is refused with exit code
// Unsafe. A Redis that keeps nothing on disk is only warned of.
func (s Services) Redis(ctx context.Context, log zerolog.Logger) (asynq.RedisConnOpt, error) {
	opts, err := s.RedisOptions()
	if err != nil {
		return nil, err
	}
	opts.ContextTimeoutEnabled = true // or a silent server outlasts ConnectTimeout
	client := redis.NewClient(opts)
	err = s.wait(ctx, log, "Redis", "REDIS_URL", s.RedisURL, func(ctx context.Context) error { return client.Ping(ctx).Err() })
	if err == nil {
		err = checkRedis(ctx, log, client, host(s.RedisURL))
	}
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	return ForAsynq(opts), nil
}

// checkRedis reads how Redis treats what it holds. Managed services forbid CONFIG,
// and tell by INFO.
func checkRedis(ctx context.Context, log zerolog.Logger, client *redis.Client, at string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info := func(section, field string) string {
		// Not to know is said below.
		sections, _ := client.InfoMap(ctx, section).Result()
		for _, fields := range sections {
			if value, ok := fields[field]; ok {
				return value
			}
		}
		return ""
	}
	policy := info("memory", "maxmemory_policy")
	if policy == "" {
		settings, _ := client.ConfigGet(ctx, "maxmemory-policy").Result()
		policy = settings["maxmemory-policy"]
	}
	switch policy {
	case "noeviction":
	case "":
		log.Warn().Str("at", at).Msg("Redis does not tell its maxmemory-policy: make sure that it is noeviction, or deliveries may be thrown away")
	default:
		return Fail(Unsafe, fmt.Errorf("Redis at %s (REDIS_URL) has maxmemory-policy %s and may throw deliveries away: run `redis-cli -u \"$REDIS_URL\" CONFIG SET maxmemory-policy noeviction`, and write it into its redis.conf", at, policy))
	}
	if info("persistence", "aof_enabled") == "0" {
		log.Warn().Str("at", at).Msg("Redis keeps no append-only file: after a crash of it, what was queued since its last snapshot is delivered again from Postgres, which takes up to half a minute")
	}
	return nil
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
		if refused(err) {
			return Fail(Usage, fmt.Errorf("%s at %s (%s) does not let us in: %w", what, host(address), variable, err))
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

// refused tells that waiting is of no use: the server is there and does not take
// the name, the password or the database, or shows a certificate that is not to be
// trusted.
func refused(err error) bool {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return true
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		state := e.SQLState()
		return strings.HasPrefix(state, "28") || state == "3D000"
	}
	return strings.HasPrefix(err.Error(), "WRONGPASS ") || strings.HasPrefix(err.Error(), "NOAUTH ")
}

// readable tells whether a Postgres address has one of its two forms.
func readable(address string) bool {
	if !strings.Contains(address, "://") {
		return regexp.MustCompile(`^\s*[a-z_]+\s*=`).MatchString(address)
	}
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && whole(address, u)
}

// host is the part of a URL that holds no secret.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || !whole(address, u) {
		return "its address"
	}
	return u.Host
}

// whole tells that the host of u, which address was read as, is one: with a / ? or
// # in it, a password is taken apart, and a piece of it for the port; with an @, a
// piece is taken for the host, by some readers at the first @ and by others at the
// last. So there is at most one, and it ends the user and the password.
func whole(address string, u *url.URL) bool {
	n := strings.Count(address, "@")
	return n == 0 || n == 1 && u.User != nil
}

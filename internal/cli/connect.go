package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/internal/sleep"
	"oneflow/migrations"
	"oneflow/store"
)

// Services are the flags that say where Postgres and Redis are.
type Services struct {
	InsecureRedisTLS bool `name:"insecure-redis-tls" help:"Take a REDIS_URL with skip_verify=true: insecure, whoever stands in between can be Redis." env:"ONEFLOW_INSECURE_REDIS_TLS"`

	DatabaseURL    string        `help:"Postgres, such as postgres://user:password@localhost:5432/oneflow." env:"DATABASE_URL" placeholder:"URL"`
	RedisURL       string        `help:"Redis, such as redis://:password@localhost:6379/0." env:"REDIS_URL" placeholder:"URL"`
	ConnectTimeout time.Duration `help:"How long to wait for Postgres and Redis before giving up with exit code 3. Default: 30s, and 3s where nothing listens on this machine." env:"ONEFLOW_CONNECT_TIMEOUT" placeholder:"DURATION"`
}

// How long Services waits where ConnectTimeout is 0: a server elsewhere may be
// starting, one on this machine that nobody has started does not come by itself.
const (
	connectTimeout  = 30 * time.Second
	loopbackTimeout = 3 * time.Second
)

// An outage is told of after tellAfter, then every tellEvery.
const (
	tellAfter = 2 * time.Second
	tellEvery = 10 * time.Second
)

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
	if err := store.CheckURL(s.DatabaseURL); err != nil {
		return nil, Fail(Usage, fmt.Errorf("DATABASE_URL cannot be used: %w", err))
	}
	err = s.wait(ctx, log, "Postgres", "DATABASE_URL", s.DatabaseURL, func(ctx context.Context) (err error) {
		db, err = store.Open(ctx, s.DatabaseURL)
		return err
	})
	if err != nil {
		return nil, err
	}
	db.OnOutage(func(o store.Outage) {
		switch {
		case o.Over:
			log.Info().Str("at", host(s.DatabaseURL)).Msg("Postgres answers again")
		default:
			log.Warn().Str("at", host(s.DatabaseURL)).Str("for", o.For.Round(time.Second).String()).Str("cause", brief(o.Err)).
				Msg("Postgres does not answer: waiting until it does, or until this command is stopped")
		}
	})
	return db, nil
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
	if opts.TLSConfig != nil && opts.TLSConfig.InsecureSkipVerify && !s.InsecureRedisTLS {
		return nil, Fail(Unsafe, errInsecureRedis)
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
	err = s.wait(ctx, log, "Redis", "REDIS_URL", s.RedisURL, func(ctx context.Context) error { return usable(ctx, client) })
	if err == nil {
		err = checkRedis(ctx, log, client, host(s.RedisURL))
	}
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	return ForAsynq(opts), nil
}

// RedisRefusal returns why Redis cannot be used, if it is there and says so now; nil
// where it can be used, and where it does not answer: producers do without it for a
// while.
func (s Services) RedisRefusal(ctx context.Context, client *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, tellAfter)
	defer cancel()
	if err := usable(ctx, client); err != nil {
		if f, ok := permanent(err); ok {
			return refusal(f, "Redis", host(s.RedisURL), "REDIS_URL", err)
		}
	}
	return nil
}

// usable does what OneFlow and asynq need of a Redis: it runs a script that writes,
// and publishes. A cluster, a replica and a user without rights refuse it.
func usable(ctx context.Context, client *redis.Client) error {
	if err := client.Ping(ctx).Err(); err != nil {
		return err
	}
	const key = "oneflow:check"
	if err := client.Eval(ctx, `return redis.call('SET', KEYS[1], '1', 'PX', 1000)`, []string{key}).Err(); err != nil {
		return err
	}
	if err := client.Publish(ctx, key, "").Err(); err != nil {
		return err
	}
	cluster, _ := client.InfoMap(ctx, "cluster").Result() // a server that does not tell is taken for none
	for _, fields := range cluster {
		if fields["cluster_enabled"] == "1" {
			return errors.New("MOVED this server is part of a cluster")
		}
	}
	return nil
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
		log.Warn().Str("at", at).Msg("Redis does not report its maxmemory-policy: make sure that it is noeviction, or deliveries may be evicted")
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

// wait repeats try with back-off from 100 ms to 5 s, until it succeeds, fails for
// good, or has failed for as long as one may wait.
func (s Services) wait(ctx context.Context, log zerolog.Logger, what, variable, address string, try func(context.Context) error) error {
	limit := cmp.Or(s.ConnectTimeout, connectTimeout)
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tell := tellAfter
	var err error // the last failure
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		one, done := context.WithTimeout(waiting, 5*time.Second)
		failure := try(one)
		done()
		switch {
		case failure == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil || waiting.Err() == nil: // one that was cut off knows no cause
			err = failure
		}
		if f, ok := permanent(err); ok {
			return refusal(f, what, host(address), variable, err)
		}
		if s.ConnectTimeout == 0 && errors.Is(err, syscall.ECONNREFUSED) && onThisMachine(address) {
			limit = loopbackTimeout
		}
		waited := time.Since(began)
		if left := limit - waited; left <= 0 || sleep.For(waiting, min(delay, left, tell-waited)) != nil {
			return Fail(Unavailable, fmt.Errorf("%s does not answer at %s (%s), waited %s: %s; %s",
				what, host(address), variable, limit, brief(err), howToStart))
		}
		if waited = time.Since(began); waited >= tell && waited < limit {
			log.Warn().Str("at", host(address)).Str("cause", brief(err)).Str("until", began.Add(limit).Format(time.TimeOnly)).
				Msg(what + " does not answer, waiting")
			tell += tellEvery
		}
	}
}

// refusal is the error of a server that is there and cannot be used.
func refusal(f fault, what, at, variable string, err error) error {
	text := fmt.Sprintf("%s at %s (%s) does not let us in: %s", what, at, variable, brief(err))
	if f.hint != "" {
		text += "; " + f.hint
	}
	return Fail(f.code, errors.New(text))
}

// onThisMachine reports whether a URL names the loopback.
func onThisMachine(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// readable reports whether a Postgres address has one of its two forms.
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

// whole reports whether the host of u, which address was read as, is one: with a / ? or
// # in it, a password is taken apart, and a piece of it for the port; with an @, a
// piece is taken for the host, by some readers at the first @ and by others at the
// last. So there is at most one, and it ends the user and the password.
func whole(address string, u *url.URL) bool {
	n := strings.Count(address, "@")
	return n == 0 || n == 1 && u.User != nil
}

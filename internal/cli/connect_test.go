package cli_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
	"oneflow/migrations"
)

// closed is an address of this machine where nobody listens, nor will while a test runs.
const closed = "127.0.0.1:1"

// silent is a server that listens and never says anything.
func silent(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for buf := make([]byte, 4096); ; {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestAServerThatDoesNotAnswerIsExitCode3NamingVariableAndHostButNoPassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, variable, at, scheme string }{
		{"Postgres", "DATABASE_URL", closed, "postgres"},
		{"Redis", "REDIS_URL", closed, "redis"},
		{"Postgres", "DATABASE_URL", silent(t), "postgres"},
		{"Redis", "REDIS_URL", silent(t), "redis"},
	} {
		var log, stderr bytes.Buffer
		address := c.scheme + "://ana:canary@" + c.at + "/0?sslmode=disable"
		s := cli.Services{DatabaseURL: address, RedisURL: strings.TrimSuffix(address, "?sslmode=disable"), ConnectTimeout: 250 * time.Millisecond}
		connect := func() error { _, err := s.Postgres(t.Context(), zerolog.New(&log)); return err }
		if c.what == "Redis" {
			connect = func() error { _, err := s.Redis(t.Context(), zerolog.New(&log)); return err }
		}
		code := cli.Code("x", &stderr, connect())
		want := "x: " + c.what + " does not answer at " + c.at + " (" + c.variable + "), waited 250ms: "
		if code != cli.Unavailable || !strings.HasPrefix(stderr.String(), want) || !strings.Contains(stderr.String(), "make dev") {
			t.Errorf("exit %d: %s", code, stderr.String())
		}
		if strings.Contains(stderr.String()+log.String(), "canary") {
			t.Errorf("the password is told: %s%s", stderr.String(), log.String())
		}
		if text := err(connect); strings.Count(text, "\n") > 0 || len(text) > 250 {
			t.Errorf("not one line: %s", text)
		}
	}
}

// err is the error that do fails with.
func err(do func() error) string { return do().Error() }

func TestNobodyWaitsForAnAddressThatIsWrong(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	other, parseErr := url.Parse(database)
	if parseErr != nil || other.Host == "" {
		t.Fatalf("the tests' database has no URL: %v", parseErr)
	}
	other.Path = "/no_such_database_here"
	locked := miniredis.RunT(t)
	locked.RequireAuth("another")
	for _, c := range []struct{ database, redis, want string }{
		{"", "", "x: DATABASE_URL is not set, so there is no Postgres to use: start it with"},
		{"postgres://ana:canary/1@localhost/x", "", "x: DATABASE_URL cannot be read: it looks like postgres://"},
		{"postgres://ana:12#canary@localhost/x", "", "x: DATABASE_URL cannot be read"},
		{"postgres://ana:12/canary@localhost/x", "", "x: DATABASE_URL cannot be read"},
		{"postgres://ana:12@canary@localhost/x", "", "x: DATABASE_URL cannot be read: it looks like postgres://user:password@localhost:5432/oneflow, where / ? # @ and % in a password are written %2F"},
		{"postgres://ana:12@canary/3@localhost/x", "", "x: DATABASE_URL cannot be read"},
		{"postgres://12@canary@localhost/x?password=a", "", "x: DATABASE_URL cannot be read"},
		{"postgres:ana:12=canary@localhost/x", "", "x: DATABASE_URL cannot be read"},
		{"postgres://localhost:port/x", "", "x: DATABASE_URL cannot be read"},
		{"mysql://ana:canary@localhost/x", "", "x: DATABASE_URL cannot be read"},
		{"localhost", "", "x: DATABASE_URL cannot be read"},
		{other.String(), "", "x: Postgres at " + other.Host + " (DATABASE_URL) does not let us in: "},
		{database, "", "x: REDIS_URL is not set, so there is no Redis to use: start it with"},
		{database, "http://ana:canary@localhost", "x: REDIS_URL cannot be read: it looks like redis://"},
		{database, "redis://:12/canary@localhost", "x: REDIS_URL cannot be read"},
		{database, "redis://:12#canary@localhost", "x: REDIS_URL cannot be read: it looks like redis://:password@localhost:6379/0, where / ? # @ and % in a password are written %2F"},
		{database, "redis://:12@canary@" + locked.Addr(), "x: REDIS_URL cannot be read"},
		{database, "redis://" + locked.Addr(), "x: Redis at " + locked.Addr() + " (REDIS_URL) does not let us in: NOAUTH"},
		{database, "redis://:canary@" + locked.Addr(), "x: Redis at " + locked.Addr() + " (REDIS_URL) does not let us in: WRONGPASS"},
	} {
		s := cli.Services{DatabaseURL: c.database, RedisURL: c.redis, ConnectTimeout: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var log, stderr bytes.Buffer
		db, err := s.Postgres(ctx, zerolog.New(&log))
		if err == nil {
			db.Close()
			_, err = s.Redis(ctx, zerolog.New(&log))
		}
		if code := cli.Code("x", &stderr, err); code != cli.Usage || !strings.HasPrefix(stderr.String(), c.want) || strings.Contains(stderr.String()+log.String(), "canary") {
			t.Errorf("%s, %s: exit %d: %s%s", c.database, c.redis, code, stderr.String(), log.String())
		}
	}
}

func TestWaitingEndsWhenTheCommandIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan struct{}, 1)
	log := zerolog.New(writer(func() {
		select {
		case waiting <- struct{}{}:
		default:
		}
	}))
	go func() { <-waiting; cancel() }()
	s := cli.Services{RedisURL: "redis://" + closed, ConnectTimeout: time.Hour}
	if _, err := s.Redis(ctx, log); !errors.Is(err, context.Canceled) || cli.Code("x", &bytes.Buffer{}, err) != cli.Interrupted {
		t.Error(err)
	}
}

type writer func()

func (w writer) Write(p []byte) (int, error) { w(); return len(p), nil }

func TestServersThatAnswerAreUsed(t *testing.T) {
	t.Parallel()
	s := cli.Services{DatabaseURL: storetest.Database(t), RedisURL: storetest.Redis(t), ConnectTimeout: 30 * time.Second}
	db, err := s.Postgres(t.Context(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := s.Redis(t.Context(), zerolog.Nop()); err != nil {
		t.Error(err)
	}
}

func TestADatabaseWithoutTheSchemaSaysHowToGetIt(t *testing.T) {
	t.Parallel()
	s := cli.Services{DatabaseURL: storetest.Database(t), ConnectTimeout: 30 * time.Second}
	if err := migrations.Down(t.Context(), s.DatabaseURL, 0); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	_, err := s.Postgres(t.Context(), zerolog.Nop())
	if code := cli.Code("x", &stderr, err); code != cli.Unavailable || !strings.Contains(stderr.String(), "schema version 0 and this program needs") || !strings.Contains(stderr.String(), "run `worker migrate up`") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	if err := s.AnyPostgres(t.Context(), zerolog.Nop()); err != nil {
		t.Errorf("migrating needs a server only: %v", err)
	}
}

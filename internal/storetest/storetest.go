// Package storetest gives each test a Postgres database and a Redis database number of its own.
//
// A package whose tests use it says so once, which is what stops the servers and removes their data at the end:
//
//	func TestMain(m *testing.M) { storetest.Main(m) }
//
// The servers are those of DATABASE_URL and REDIS_URL where these are set; otherwise each test process starts a
// throwaway pair at the first use, in about a second. Tests fail, and are not skipped, where neither can be had.
//
// It imports internal/devstack and migrations, and is never imported by production code.
package storetest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"oneflow/internal/devstack"
)

const (
	startLimit = 90 * time.Second // for the servers and the template
	testLimit  = 60 * time.Second // for one clone or one removal, on a machine that is busy with other tests
)

// Main runs a package's tests and then stops what they started. It returns the exit code, which TestMain may ignore: the
// test program exits with it by itself.
func Main(m Runner) int { return wrapped{m}.Run() }

// Runner has the method of [testing.M]; one of a package's own may do more around it.
type Runner interface{ Run() int }

// VerifyMain is Main for a package whose tests must leave no goroutine behind:
//
//	func TestMain(m *testing.M) { storetest.VerifyMain(m) }
//
// A closed client of Redis may look for a server that was away for another second.
func VerifyMain(m Runner) {
	goleak.VerifyTestMain(wrapped{m}, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

type wrapped struct{ tests Runner }

// Run runs the tests and stops the servers. Servers that do not stop properly fail the run.
func (w wrapped) Run() int {
	process.mu.Lock()
	process.wrapped = true
	process.mu.Unlock()
	logging.Disable() // what Redis' client logs where a test's Redis is away it returns as well
	code := w.tests.Run()
	if err := process.close(); err != nil {
		_, _ = os.Stderr.WriteString("storetest: " + err.Error() + "\n")
		return max(code, 1)
	}
	return code
}

// services are the servers of this test process. They are started at the first use.
type services struct {
	mu      sync.Mutex
	wrapped bool // Run will close them
	started bool
	err     error // of the start, told to every test
	stack   *devstack.Stack
	pg      *databases
	redis   *numbers
}

// process is a global because tests of one process have nothing else in common.
var process services //nolint:gochecknoglobals // see above

// get starts the servers once. After a failed start every test fails with its reason.
func (s *services) get(tb testing.TB) *services {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wrapped {
		tb.Fatal("storetest: this package has no TestMain that stops the servers: add `func TestMain(m *testing.M) { storetest.Main(m) }`")
	}
	if !s.started {
		s.started = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startLimit)
		defer cancel()
		s.err = s.start(ctx)
	}
	if s.err != nil {
		tb.Fatalf("storetest: tests need Postgres and Redis: %v", s.err)
	}
	if err := s.stack.Err(); err != nil {
		tb.Fatalf("storetest: a server was lost in an earlier test: %v", err)
	}
	return s
}

func (s *services) start(ctx context.Context) error {
	stack, err := devstack.Start(ctx, devstack.Options{})
	if err != nil {
		return err
	}
	pg, err := newDatabases(ctx, stack)
	if err == nil {
		var redis *numbers
		if redis, err = newNumbers(ctx, stack.RedisURL, stack.OwnRedis); err == nil {
			s.stack, s.pg, s.redis = stack, pg, redis
			return nil
		}
	}
	return errors.Join(err, stack.Close())
}

func (s *services) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stack == nil {
		return nil
	}
	return errors.Join(s.redis.close(), s.stack.Close())
}

// Database returns the URL of a new database that holds the migrated schema and no other data. It is dropped when the
// test ends, whoever is still connected.
func Database(tb testing.TB) string {
	tb.Helper()
	s := process.get(tb)
	ctx, cancel := context.WithTimeout(tb.Context(), testLimit)
	defer cancel()
	name, url, err := s.pg.clone(ctx)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit) // tb's own is over by now
		defer cancel()
		if err := s.pg.drop(ctx, name); err != nil {
			tb.Errorf("storetest: %v", err)
		}
	})
	return url
}

// Redis returns the URL of a Redis database number that is empty and this test's alone; it is flushed when the test
// ends. Pub/sub ignores database numbers, and FLUSHALL reaches all of them: a test that uses either across numbers
// starts a devstack of its own.
func Redis(tb testing.TB) string {
	tb.Helper()
	s := process.get(tb)
	ctx, cancel := context.WithTimeout(tb.Context(), testLimit)
	defer cancel()
	number, url, err := s.redis.take(ctx)
	if err != nil {
		tb.Fatalf("storetest: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit) // tb's own is over by now
		defer cancel()
		if err := s.redis.giveBack(ctx, number); err != nil {
			tb.Errorf("storetest: %v", err)
		}
	})
	return url
}

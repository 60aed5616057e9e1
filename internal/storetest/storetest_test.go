package storetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"oneflow/internal/devstack"
	"oneflow/migrations"
)

func TestMain(m *testing.M) { VerifyMain(m) }

func connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func client(tb testing.TB, url string) *redis.Client {
	tb.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	c := redis.NewClient(opt)
	tb.Cleanup(func() { c.Close() })
	return c
}

func TestEachDatabaseIsMigratedAndAlone(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			url := Database(t)
			list, err := migrations.List(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				if !m.Applied {
					t.Errorf("%s is not applied", m.Name)
				}
			}
			if _, err := connect(t, url).Exec(t.Context(), `CREATE TABLE mine (id int)`); err != nil {
				t.Error(err) // it would be there if a neighbour had made it
			}
		})
	}
}

func TestDatabaseIsDroppedAlthoughSomebodyIsConnected(t *testing.T) { //nolint:tparallel // it looks at what its subtest left
	t.Parallel()
	var url string
	t.Run("uses it", func(t *testing.T) {
		url = Database(t)
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn // not closed
	})
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		conn.Close(t.Context())
		t.Error("the database outlives its test")
	}
}

func TestEachRedisNumberIsEmptyAndAlone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := make(map[string]bool)
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			url := Redis(t)
			c := client(t, url)
			if n := c.DBSize(t.Context()).Val(); n != 0 {
				t.Errorf("%d keys are there already", n)
			}
			if err := c.Set(t.Context(), "mine", "1", 0).Err(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[url] = true
		})
	}
}

func TestRedisNumberIsFlushedAndUsedAgain(t *testing.T) {
	t.Parallel()
	n, err := newNumbers(t.Context(), Redis(t), true) // another "process" on the same server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.close() })
	number, url, err := n.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, url)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := n.giveBack(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	if c.DBSize(t.Context()).Val() != 0 {
		t.Error("the number was given back with its data")
	}
}

func TestRedisNumberWithDataIsNeverTakenOrFlushed(t *testing.T) {
	t.Parallel()
	stack, err := devstack.Start(t.Context(), devstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	if !stack.OwnRedis {
		t.Skip("REDIS_URL is set: its data is not ours to play with")
	}
	n, err := newNumbers(t.Context(), stack.RedisURL, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.close() })
	n.count = 3 // numbers 1 and 2
	somebody := client(t, must(withNumber(stack.RedisURL, 1)))
	if err := somebody.Set(t.Context(), "precious", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	number, _, err := n.take(t.Context())
	if err != nil || number != 2 {
		t.Fatalf("took %d, %v; want 2", number, err)
	}
	if _, _, err := n.take(t.Context()); err == nil || !strings.Contains(err.Error(), "unset REDIS_URL") {
		t.Errorf("no number is free, but the error is %v", err)
	}
	// Our lock is lost and somebody else's data is in the number: it stays.
	if err := n.locks.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client(t, must(withNumber(stack.RedisURL, 2))).Set(t.Context(), "theirs", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := n.giveBack(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for number, want := range map[int]string{1: "precious", 2: "theirs"} {
		if client(t, must(withNumber(stack.RedisURL, number))).Exists(t.Context(), want).Val() != 1 {
			t.Errorf("%s in number %d is gone", want, number)
		}
	}
}

func TestGivenPostgresGetsOneTemplateFromManyProcesses(t *testing.T) {
	t.Parallel()
	stack, err := devstack.Start(t.Context(), devstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	if !stack.OwnPostgres {
		t.Skip("DATABASE_URL is set: its databases are not ours to play with")
	}
	conn := connect(t, stack.DatabaseURL)
	old := clonePrefix + fmt.Sprintf("%x", time.Now().Add(-48*time.Hour).Unix()) + "_left"
	young := clonePrefix + fmt.Sprintf("%x", time.Now().Unix()) + "_inuse"
	for _, name := range []string{halfMadePrefix + "left", old, young} {
		if _, err := conn.Exec(t.Context(), `CREATE DATABASE `+quote(name)); err != nil {
			t.Fatal(err)
		}
	}
	given := &devstack.Stack{DatabaseURL: stack.DatabaseURL}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, err := newDatabases(t.Context(), given)
			if err != nil {
				t.Error(err)
				return
			}
			name, _, err := d.clone(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.drop(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	rows, err := conn.Query(t.Context(), `SELECT datname FROM pg_database WHERE starts_with(datname, 'oneflow_') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || !strings.HasPrefix(names[0], templatePrefix) || names[1] != young {
		t.Errorf("left on the server: %q; want one template and %s", names, young)
	}
}

func TestWithoutMainTheTestFailsAndSaysWhatToAdd(t *testing.T) {
	t.Parallel()
	var s services
	failed := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.get(failed)
	}()
	<-done
	if !strings.Contains(failed.message, "storetest.Main(m)") {
		t.Errorf("it says %q", failed.message)
	}
}

// recorder keeps what Fatal says; the goroutine ends, as with a real test.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	r.message = fmt.Sprint(args...)
	runtime.Goexit()
}

func TestDatabaseThatCannotBeHadFailsTheTest(t *testing.T) {
	t.Parallel()
	if os.Getenv("STORETEST_CHILD") != "" {
		Database(t)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "STORETEST_CHILD=1", "DATABASE_URL=postgres://me:hush@127.0.0.1:1/x")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATABASE_URL") || strings.Contains(string(out), "hush") {
		t.Errorf("exit %v, output:\n%s", err, out)
	}
}

func TestConnectionStringsOfBothForms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"postgres://u:p@h:1/a?sslmode=disable": "postgres://u:p@h:1/b?sslmode=disable",
		"host=h user=u dbname=a":               "host=h user=u dbname=a dbname=b",
	} {
		if got := must(withDatabase(in, "b")); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"redis://:p@h:1":            "redis://:p@h:1/7",
		"redis://:p@h:1/3":          "redis://:p@h:1/7",
		"unix://:p@/run/redis?db=1": "unix://:p@/run/redis?db=7",
	} {
		if got := must(withNumber(in, 7)); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

// must keeps tables short; the inputs are the test's own.
func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func BenchmarkDatabase(b *testing.B) {
	s := process.get(b)
	for _, strategy := range []string{" STRATEGY wal_log", " STRATEGY file_copy"} {
		d := *s.pg
		d.strategy = strategy
		b.Run(strings.TrimSpace(strategy), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					name, _, err := d.clone(b.Context())
					if err == nil {
						err = d.drop(b.Context(), name)
					}
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

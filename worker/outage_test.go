package worker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
	"oneflow/worker"
)

// cable lies between a worker and Postgres, and can be pulled.
type cable struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	pulled   bool
	ends     []net.Conn
}

// newCable makes a cable to a database, and the store at its other end.
func newCable(t *testing.T, database string) (*cable, *store.Store) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: u.Host}
	var all sync.WaitGroup
	all.Go(func() { c.serve(&all) })
	u.Host = l.Addr().String()
	db, err := store.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.plug()
		db.Close()
		_ = l.Close()
		c.pull()
		all.Wait()
	})
	return c, db
}

func (c *cable) serve(all *sync.WaitGroup) {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		c.ends = append(c.ends, near, far)
		if c.pulled {
			_, _ = near.Close(), far.Close()
		}
		c.mu.Unlock()
		for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
			all.Go(func() {
				_, _ = io.Copy(ends[0], ends[1])
				_, _ = ends[0].Close(), ends[1].Close()
			})
		}
	}
}

func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
	for _, end := range c.ends {
		_ = end.Close()
	}
	c.ends = nil
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = false
}

// logbook is a log that tests wait for.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// cutOff is a worker with 8 answers in hand, and its Postgres away.
func cutOff(t *testing.T, f *fleet, n int, change func(*worker.Config)) (w *running, s *service, c *cable, log *logbook) {
	t.Helper()
	c, db := newCable(t, f.url)
	gate := make(chan struct{})
	s = serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		<-gate
		if n == 8 {
			return providers.Response{}, failure(providers.Timeout, providers.BillingUnknown)
		}
		return answers(ctx, n, req)
	})
	log = &logbook{}
	f.enqueue(t, n, nil)
	w = f.worker(t, s, func(cfg *worker.Config) {
		cfg.Store, cfg.Log = parts(db), zerolog.New(log)
		cfg.Hasten(100*time.Millisecond, 100*time.Millisecond, time.Hour)
		if change != nil {
			change(cfg)
		}
	})
	eventually(t, "8 calls are in flight", func() bool { return len(s.made()) == 8 })
	c.pull()
	close(gate)
	eventually(t, "the worker notices", func() bool { return log.count("heartbeat failed") >= 3 })
	return w, s, c, log
}

func TestAnswersAreKeptWhilePostgresIsAwayAndNoCallIsMade(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const n = 30
	_, s, c, _ := cutOff(t, f, n, nil)
	if got := len(s.made()); got != 8 {
		t.Errorf("%d calls, want no other than the 8 before Postgres went away", got)
	}
	if got := f.count(t, `SELECT count(*) FROM calls WHERE state <> 'running'`); got != 0 {
		t.Errorf("%d calls are settled: the cable was not pulled", got)
	}
	c.plug()
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	// One call failed, and may have been billed: it is repeated once.
	if got := len(s.made()); got != n+1 {
		t.Errorf("%d calls for %d jobs and one failure", got, n)
	}
	if got := f.count(t, `SELECT count(*) FROM job_states WHERE gen <> 1 OR crashes > 0 OR attempt <> 1`); got != 0 {
		t.Errorf("%d jobs were taken from a living worker", got)
	}
	if got := f.count(t, `SELECT count(*) FROM calls WHERE state <> 'succeeded'`); got != 1 {
		t.Errorf("%d calls have no known outcome, want the one that failed", got)
	}
}

func TestAWorkerThatMustLeaveWithPostgresAwaySpoolsItsAnswersForTheNext(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const n = 20
	state := t.TempDir()
	w, s, c, log := cutOff(t, f, n, func(cfg *worker.Config) {
		cfg.State, cfg.Drain = state, 100*time.Millisecond
	})
	w.stop()
	w.wait(t) // without an error
	files, err := os.ReadDir(filepath.Join(state, "spool"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v, want one file: %s", files, err, log.text.String())
	}
	if data, err := os.ReadFile(filepath.Join(state, "spool", files[0].Name())); err != nil || bytes.Count(data, []byte("\n")) != 8 {
		t.Errorf("%d lines, %v, want the 8 that were paid for", bytes.Count(data, []byte("\n")), err)
	}
	if log.count("secret") != 0 {
		t.Error("the log tells a prompt or an answer")
	}
	if got := f.count(t, `SELECT count(*) FROM job_states WHERE state = 'running'`); got != 8 {
		t.Errorf("%d jobs are in the name of the worker that left, want 8", got)
	}
	c.plug()
	next := serve(answers)
	f.worker(t, next, func(cfg *worker.Config) {
		cfg.State = state
		cfg.Hasten(100*time.Millisecond, 100*time.Millisecond, 2*time.Second)
	})
	f.awaitAll(t, jobs.Succeeded)
	f.drained(t)
	// The failed one was taken over with its call, and sent once more.
	if first, second := len(s.made()), len(next.made()); first != 8 || second != n-7 {
		t.Errorf("%d and %d calls, want 8 and %d: none twice", first, second, n-7)
	}
	for prompt, times := range next.perPrompt() {
		if slices.ContainsFunc(s.made()[:7], func(c call) bool { return c.prompt == prompt }) && times > 0 {
			// The 8th call of the first worker is the one that failed.
			t.Errorf("%q was paid for twice", prompt)
		}
	}
	if got := f.count(t, `SELECT count(*) FROM job_states WHERE cost_nano <> 10`); got != 1 {
		t.Errorf("%d jobs cost more than their one call, want the one whose call failed", got)
	}
	if files, err := filepath.Glob(filepath.Join(state, "spool", "*.spool*")); err != nil || len(files) != 0 {
		t.Errorf("%v, %v are left of the spool", files, err)
	}
}

func TestAFullDiskOfPostgresIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.exec(t, `
		CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
		END $$;
		CREATE TRIGGER full_disk BEFORE INSERT ON results FOR EACH ROW EXECUTE FUNCTION full_disk()`)
	s := serve(answers)
	f.enqueue(t, 20, nil)
	f.worker(t, s, nil)
	eventually(t, "8 answers wait", func() bool { return len(s.made()) == 8 })
	f.exec(t, `DROP TRIGGER full_disk ON results`)
	f.awaitAll(t, jobs.Succeeded)
	if got := f.count(t, `SELECT count(*) FROM calls WHERE state = 'succeeded'`); got != 20 || len(s.made()) != 20 {
		t.Errorf("%d of %d calls succeeded, want 20 of 20", got, len(s.made()))
	}
}

func TestACallThatNeverReturnsIsGivenUpUnderItsLivingWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	gate := make(chan struct{})
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n == 1 {
			<-gate // deaf to its context
			return providers.Response{}, errors.New("too late")
		}
		return answers(ctx, n, req)
	})
	w := f.worker(t, s, func(c *worker.Config) {
		c.CallTimeout = time.Second // the second call must end in time on a busy machine, too
		c.Hasten(100*time.Millisecond, 50*time.Millisecond, 3*time.Second)
	})
	id := f.enqueue(t, 1, nil)[0]
	got := f.await(t, id, jobs.Succeeded)
	if got.Gen != 2 || got.Crashes != 0 || !slices.Equal(got.Outcomes, []string{"unknown", "succeeded"}) || got.Cost != 110 {
		t.Errorf("%+v, want its hung call on the bill, and it sent once more", got)
	}
	close(gate)
	w.stop()
	w.wait(t)
}

// Leaders die one after the other, each long before a worker counts as silent.
func TestASilentWorkersJobsAreTakenOverThoughNoLeaderLivesLong(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	ctx := t.Context()
	dead := jobs.NewID()
	if err := f.store.Register(ctx, worker.Presence{ID: dead, Host: "h", PID: 1}); err != nil {
		t.Fatal(err)
	}
	id := f.enqueue(t, 1, nil)[0]
	if got, err := f.store.Claim(ctx, dead, jobs.Claim{ID: id, Gen: 1, LeaseToken: jobs.NewID()}); err != nil || got.Job == nil {
		t.Fatal(got, err)
	}
	const silence = 3 * time.Second
	began := time.Now()
	lives, longest := 0, time.Duration(0)
	for f.count(t, `SELECT count(*) FROM job_states WHERE state = 'running' AND worker_id = '`+dead.String()+`'`) > 0 {
		if time.Since(began) > 40*silence {
			t.Fatalf("the job was not taken over by any of %d leaders", lives)
		}
		born := time.Now()
		w := f.worker(t, serve(answers), func(c *worker.Config) { c.Hasten(50*time.Millisecond, 50*time.Millisecond, silence) })
		eventually(t, "it leads", func() bool {
			return f.count(t, `SELECT count(*) FROM leaders WHERE role = 'reconciler' AND expires_at > now()`) == 1
		})
		<-time.After(silence / 6)
		w.stop()
		w.wait(t)
		longest = max(longest, time.Since(born))
		// It has died, without a word to the next.
		f.exec(t, `UPDATE leaders SET expires_at = now() - interval '1 second'`)
		lives++
	}
	// On a busy machine one leader may have lived for as long as that.
	if took := time.Since(began); took < silence || lives < 2 && longest < silence {
		t.Errorf("taken over after %s by the leader number %d: before it counted as silent", took, lives)
	}
}

// aMoment is as long as a quick call takes.
func aMoment(ctx context.Context) error {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

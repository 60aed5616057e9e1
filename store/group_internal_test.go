package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var errPasses = &pgconn.PgError{Code: "57P01"} // the server is stopping

// doubler doubles numbers in groups, as told by the test.
type doubler struct {
	mu     sync.Mutex
	groups [][]int
	hold   chan struct{} // if there, each group waits for one value
	fail   func(in []int) error
}

func (d *doubler) run(_ context.Context, in []int) ([]outcome[int], error) {
	d.mu.Lock()
	d.groups = append(d.groups, slices.Clone(in))
	d.mu.Unlock()
	if d.hold != nil {
		<-d.hold
	}
	if d.fail != nil {
		if err := d.fail(in); err != nil {
			return nil, err
		}
	}
	out := make([]outcome[int], len(in))
	for i, n := range in {
		out[i].out = 2 * n
	}
	return out, nil
}

func (d *doubler) sizes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]int, len(d.groups))
	for i, g := range d.groups {
		out[i] = len(g)
	}
	return out
}

// lingered waits until a group that has begun to gather is under way.
func lingered() {
	<-time.After(linger)
	synctest.Wait()
}

// result is one caller's share.
type result struct {
	n, out int
	err    error
}

func start(ctx context.Context, g *group[int, int], n int, into chan<- result) {
	go func() {
		out, err := g.do(ctx, n)
		into <- result{n, out, err}
	}()
}

func TestALoneOperationHardlyWaitsAndACrowdSharesItsCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		d := &doubler{hold: make(chan struct{})}
		g := newGroup(life, light, beginLinger, d.run)
		const crowd = 2*maxGroup + 100
		results := make(chan result, crowd+1)
		began := time.Now()
		start(t.Context(), g, 1, results)
		lingered()
		if got := d.sizes(); !slices.Equal(got, []int{1}) {
			t.Errorf("groups of %v, want the lone one under way", got)
		}
		for n := range crowd {
			start(t.Context(), g, n, results)
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Error("somebody has an answer before its commit")
		}
		d.hold <- struct{}{}
		synctest.Wait()
		if len(results) != 1 {
			t.Errorf("%d answers after the first commit, want 1", len(results))
		}
		for range 3 {
			d.hold <- struct{}{}
		}
		if got := d.sizes(); !slices.Equal(got, []int{1, maxGroup, maxGroup, 100}) {
			t.Errorf("groups of %v", got)
		}
		for range crowd + 1 {
			if r := <-results; r.err != nil || r.out != 2*r.n {
				t.Errorf("%+v", r)
			}
		}
		if took := time.Since(began); took > 3*linger+beginLinger {
			t.Errorf("four commits lingered for %s", took)
		}
		stop()
		g.wait()
	})
}

// What comes often enough to have company waits for it, and shares commits; what comes
// seldom does not wait.
func TestAStreamSharesCommitsAndWhatComesSeldomDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		linger   time.Duration // the longest of the group
		every    time.Duration
		n        int
		least    int           // commits
		most     int           // commits
		longest  time.Duration // wait of one
		expected string
	}{
		{beginLinger, 5 * time.Millisecond, 400, 0, 400/4 + 10, beginLinger, "a stream shares commits"},
		{beginLinger, 100 * time.Millisecond, 20, 20, 20, linger, "what comes seldom does not wait"},
		{endLinger, 5 * time.Millisecond, 400, 0, 400/10 + 10, endLinger, "what ends a call waits longer for company"},
		{endLinger, time.Millisecond, 2000, 2000 / 25, 2000/20 + 10, endLinger, "but not where a crowd comes soon"},
		{endLinger, 100 * time.Millisecond, 20, 20, 20, linger, "what comes seldom does not wait"},
	} {
		synctest.Test(t, func(t *testing.T) {
			life, stop := context.WithCancel(t.Context())
			d := &doubler{}
			g := newGroup(life, light, c.linger, d.run)
			waits := make(chan time.Duration, c.n)
			for n := range c.n {
				go func() {
					began := time.Now()
					if out, err := g.do(t.Context(), n); err != nil || out != 2*n {
						t.Errorf("%d gave %d, %v", n, out, err)
					}
					waits <- time.Since(began)
				}()
				<-time.After(c.every)
			}
			for range c.n {
				if wait := <-waits; wait > c.longest {
					t.Errorf("every %s: one waited for %s, want %s at most", c.every, wait, c.longest)
				}
			}
			if commits := len(d.sizes()); commits < c.least || commits > c.most {
				t.Errorf("every %s: %d commits for %d operations, want %d to %d: %s", c.every, commits, c.n, c.least, c.most, c.expected)
			}
			stop()
			g.wait()
		})
	}
}

func TestClosingWaitsForTheCommitUnderWayAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		d := &doubler{hold: make(chan struct{})}
		g := newGroup(life, light, beginLinger, d.run)
		results := make(chan result, 10)
		start(t.Context(), g, 1, results)
		lingered()
		start(t.Context(), g, 2, results)
		synctest.Wait()
		stop()
		synctest.Wait()
		if r := <-results; r.n != 2 || !errors.Is(r.err, errClosed) {
			t.Errorf("%+v, want what had not begun to be refused", r)
		}
		closed := make(chan struct{})
		go func() { g.wait(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed, although a commit is under way")
		default:
		}
		d.hold <- struct{}{}
		<-closed
		if r := <-results; r.n != 1 || r.err != nil || r.out != 2 {
			t.Errorf("%+v, want what had begun to be done", r)
		}
		if _, err := g.do(t.Context(), 3); !errors.Is(err, errClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestAFailureThatPassesIsWaitedOutByThoseWhoHaveTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		until := time.Now().Add(10 * time.Second)
		d := &doubler{hold: make(chan struct{}), fail: func([]int) error {
			if time.Now().Before(until) {
				return errPasses
			}
			return nil
		}}
		g := newGroup(life, light, beginLinger, d.run)
		results := make(chan result, 3)
		start(t.Context(), g, 3, results)
		lingered()
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start(hurried, g, 1, results)
		start(t.Context(), g, 2, results)
		synctest.Wait()
		until = time.Now()
		d.hold <- struct{}{}
		if r := <-results; r.n != 3 || r.err != nil {
			t.Errorf("%+v", r)
		}
		until = time.Now().Add(10 * time.Second)
		close(d.hold)
		// One that stands in line behind them gives up in its time, too.
		inLine, giveUp := context.WithTimeout(t.Context(), time.Second)
		defer giveUp()
		lingered()
		if _, err := g.do(inLine, 4); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in line: %v", err)
		}
		if r := <-results; r.n != 1 || !errors.Is(r.err, errPasses) {
			t.Errorf("%+v", r)
		}
		if r := <-results; r.n != 2 || r.err != nil || r.out != 4 {
			t.Errorf("%+v", r)
		}
		if late := time.Since(until); late < 0 || late > 2*time.Second {
			t.Errorf("done %s after the server was back, want at most 2 s", late)
		}
		if n := len(d.sizes()); n > 20 {
			t.Errorf("%d tries in 10 s", n)
		}
		stop()
		g.wait()
	})
}

func TestClosingEndsTheWaitForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		g := newGroup(life, light, beginLinger, (&doubler{fail: func([]int) error { return errPasses }}).run)
		results := make(chan result, 1)
		start(t.Context(), g, 1, results)
		lingered()
		stop()
		g.wait()
		if r := <-results; r.err == nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestOnlyThePoisonOfAGroupFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		poison := errors.New("refused")
		d := &doubler{hold: make(chan struct{}), fail: func(in []int) error {
			if slices.Contains(in, 7) {
				return poison
			}
			return nil
		}}
		g := newGroup(life, light, beginLinger, d.run)
		results := make(chan result, 20)
		for n := range 20 {
			start(t.Context(), g, n, results)
		}
		synctest.Wait()
		close(d.hold)
		for range 20 {
			r := <-results
			if r.n == 7 && !errors.Is(r.err, poison) || r.n != 7 && (r.err != nil || r.out != 2*r.n) {
				t.Errorf("%+v", r)
			}
		}
		stop()
		g.wait()
	})
}

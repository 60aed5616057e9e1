package store_test

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"oneflow/billing"
	"oneflow/jobs"
)

// counted is a proxy before Postgres that counts round trips: how often somebody asks after an
// answer, on any of the connections.
type counted struct{ trips atomic.Int64 }

// before starts one, and returns the address to connect to.
func (c *counted) before(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	behind := u.Host
	wg.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := new(net.Dialer).DialContext(t.Context(), "tcp", behind)
			if err != nil {
				_ = from.Close()
				continue
			}
			var answered atomic.Bool
			answered.Store(true)
			wg.Go(func() { c.carry(to, from, func() { c.asked(&answered) }) })
			wg.Go(func() { c.carry(from, to, func() { answered.Store(true) }) })
		}
	})
	u.Host = l.Addr().String()
	return u.String()
}

// asked counts a round trip for the first of what is asked after an answer.
func (c *counted) asked(answered *atomic.Bool) {
	if answered.Swap(false) {
		c.trips.Add(1)
	}
}

// carry copies what comes, and says so before.
func (*counted) carry(to, from net.Conn, seen func()) {
	defer func() { _ = to.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			seen()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			return
		}
	}
}

// What a check of budgets costs is one round trip more for the call that it is about, and
// nothing where there is no budget.
func TestABudgetCostsACallOneRoundTripAtMostAndNoneWhereThereIsNone(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	var proxy counted
	through := openStore(t, proxy.before(t, w.url))
	const calls = 20
	var running []*jobs.Job
	for range 3 * (calls + 1) {
		running = append(running, w.running(t, nil))
	}
	trips := func() float64 {
		t.Helper()
		begin := func(j *jobs.Job) {
			if err := through.BeginCall(t.Context(), w.worker, callOf(j, nano(1))); err != nil {
				t.Fatal(err)
			}
		}
		begin(running[0]) // its statements are prepared, and whether there are budgets is known
		before := proxy.trips.Load()
		for _, j := range running[1 : calls+1] {
			begin(j)
		}
		running = running[calls+1:]
		return float64(proxy.trips.Load()-before) / calls
	}
	without := trips()
	if without != 1 {
		t.Errorf("%g round trips a call without a budget, want 1", without)
	}
	b := w.budget(t, billing.Budget{Scope: billing.Scope{Provider: "mock"}, Period: billing.Total, Limit: 1000, Blocks: true})
	if with := trips(); with > without+1 {
		t.Errorf("%g round trips a call under a budget, want %g at most", with, without+1)
	}
	if got := w.money(t, b.ID); got.Reserved == 0 {
		t.Error("nothing was reserved: the calls were not checked")
	}
	if err := billing.NewMoney(w.Store, "test").Remove(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
}

package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/sleep"
	"oneflow/jobs"
)

const (
	// leaderTTL and a round of somebody else's bound the time in which nobody leads after the
	// leader has died: less than 10 s.
	leaderTTL  = 7 * time.Second
	leaderRole = "reconciler"
	// renewAfter is the age at which a lease is renewed between two duties of a round.
	renewAfter = leaderTTL / 2
)

// duty is one thing that the leader does again and again. A new one is an entry in
// duties, and a file where it is more than a few lines.
type duty struct {
	name string
	// every is the time between two runs; 0 means each round.
	every time.Duration
	// again is the time to the next run where run reports that there is more to do.
	again time.Duration
	// redis reports whether the duty needs Redis. An error of such a duty keeps the
	// others of its kind, and nothing else, from running in this round; an error of
	// another duty, which Postgres refused, ends the round as failed.
	redis bool
	run   func(ctx context.Context) (more bool, err error)

	due time.Time
}

// duties lists what a leader does, once it has taken over dead workers, in the order of a round:
// first what living workers need, then deliveries, then what only people look at.
func (t *term) duties() []*duty {
	due := &duty{name: "dispatch due jobs", redis: true}
	due.run = func(ctx context.Context) (more bool, err error) {
		due.again, err = t.dispatchDue(ctx)
		return true, err
	}
	return []*duty{
		{name: "give up overdue calls", run: t.giveUpOverdue},
		{name: "expire jobs", run: t.expire},
		{name: "sweep cancelled batches", run: t.sweepCancelled},
		{name: "watch budgets", every: watchBudgetsEvery, run: t.watchBudgets},
		{name: "watch spending", every: watchSpendingEvery, run: t.watchSpending},
		{name: "check ledgers", every: checkLedgersEvery, run: t.checkLedgers},
		{name: "watch the fleet", every: watchFleetEvery, run: t.watchFleet},
		{name: "own Redis", redis: true, run: t.ownRedis},
		{name: "audit deliveries", redis: true, run: t.audit.round},
		due,
		{name: "top up queues", redis: true, again: topUpEvery, run: t.topUp},
		{name: "sum up ended jobs", every: compactEvery, run: t.compactEnds},
		{name: "sum up the figures of calls", every: foldEvery, again: foldPause, run: t.foldMetrics},
	}
}

// reconciler puts right what crashes and outages leave behind. One runs in every
// worker; one of them leads at a time.
type reconciler struct {
	cfg   Config
	redis redis.UniversalClient
	owner *jobs.Owner
	// duties makes the list of a new leader.
	duties func(*term) []*duty

	// term is nil while another worker leads.
	term *term
	// heartbeats are those of the fleet, as this round saw them.
	heartbeats []Heartbeat
	// next is the time at which the next round begins.
	next time.Time
	// background are the functions that run beside the rounds.
	background sync.WaitGroup
	// actions are those of all terms, and of the time between.
	actions actions
}

// actions counts what was put right and is not recorded yet, by what it was.
type actions map[string]int64

// term is the time in which this worker leads, without a break.
type term struct {
	cfg        Config
	owner      *jobs.Owner
	dispatcher *jobs.Dispatcher
	audit      *auditor
	list       []*duty
	// stop ends what runs beside the rounds; nil: it has not begun.
	stop context.CancelFunc
	// lookedForDue is until when it was looked for jobs that have become due, by
	// Postgres' clock.
	lookedForDue time.Time
	// fullUntil is until when a queue that was full is not topped up.
	fullUntil map[jobs.Queue]time.Time
	actions
	// renewed is the time at which the lease was taken or renewed.
	renewed time.Time
	// last is the time at which the last round began well; zero: the last one failed. uptime is
	// how long all of them have been well: as long as Postgres was there for living
	// workers to record what they know.
	last   time.Time
	uptime time.Duration
	// redisFailed is the last error of the duties that need Redis, and redisLogged the time at which
	// it was logged.
	redisFailed string
	redisLogged time.Time
}

func newReconciler(cfg Config) (*reconciler, error) {
	client, ok := cfg.Redis.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return nil, fmt.Errorf("reconciler: %T makes no Redis client that is known here", cfg.Redis)
	}
	return &reconciler{cfg: cfg, redis: client, owner: jobs.NewOwner(client, cfg.Store.Deliveries), duties: (*term).duties, actions: actions{}}, nil
}

// run makes rounds until ctx ends.
func (r *reconciler) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = sleep.For(ctx, time.Until(r.step(ctx)))
	}
	r.background.Wait()
	resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.cfg.Store.Leader.Resign(resign, leaderRole, r.cfg.ID); err != nil {
		r.cfg.Log.Debug().Err(err).Msg("resign")
	}
}

func (r *reconciler) close() {
	if err := r.redis.Close(); err != nil {
		r.cfg.Log.Warn().Err(err).Msg("close the reconciler's Redis client")
	}
}

// step begins a round where it is time, does what is due, and returns when it has to
// be called again.
func (r *reconciler) step(ctx context.Context) time.Time {
	now := time.Now()
	begins := !now.Before(r.next)
	var err error
	if begins {
		r.next = now.Add(r.cfg.pace.reconcile)
		if err = r.lead(ctx); err == nil {
			defer r.recordActions(ctx)
			err = r.takeOverDead(ctx)
		}
	}
	if err == nil && r.term != nil {
		r.startBackground(ctx)
		if begins {
			r.term.updateUptime(now)
		}
		err = r.work(ctx)
	}
	if err == nil && r.term != nil {
		return r.soonest()
	}
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn().Err(err).Msg("reconciler round failed")
	}
	if err != nil && r.term != nil {
		r.term.last = time.Time{}
	}
	return r.next
}

// lead takes or renews the lease, and looks at the fleet, which those who do not
// lead do too: so silence is counted whoever leads, and however briefly.
func (r *reconciler) lead(ctx context.Context) error {
	// A connection that has gone silent must not keep this worker from it for ever.
	ctx, cancel := context.WithTimeout(ctx, leaderTTL/2)
	defer cancel()
	asked := time.Now()
	leads, err := r.cfg.Store.Leader.Lead(ctx, leaderRole, r.cfg.ID, leaderTTL)
	if err != nil {
		return err
	}
	if r.heartbeats, err = r.cfg.Store.Leader.Heartbeats(ctx, 2*r.cfg.pace.reconcile, leads); err != nil {
		return err
	}
	if !leads {
		if r.term != nil && r.term.stop != nil {
			r.term.stop()
		}
		r.term = nil
		return nil
	}
	if r.term == nil {
		r.term = &term{
			cfg: r.cfg, owner: r.owner, audit: newAuditor(r.cfg, r.redis),
			dispatcher: jobs.NewDispatcher(r.redis, r.cfg.Store.Deliveries), actions: r.actions,
			fullUntil: map[jobs.Queue]time.Time{},
		}
		t := r.term
		t.audit.took = func(n int) { t.did("delivery_restored", n) }
		r.term.list = r.duties(r.term)
	}
	r.term.renewed = asked
	return nil
}

// work runs the duties that are due, and renews the lease when they take long.
func (r *reconciler) work(ctx context.Context) error {
	redisFailed := false
	for _, d := range r.term.list {
		if time.Now().Before(d.due) {
			continue
		}
		if time.Since(r.term.renewed) >= renewAfter {
			if err := r.lead(ctx); err != nil || r.term == nil {
				return err
			}
		}
		d.due = r.next
		if d.every > 0 {
			d.due = time.Now().Add(d.every)
		}
		if d.redis && redisFailed {
			continue
		}
		more, err := d.run(ctx)
		switch {
		case err == nil && more:
			d.due = time.Now().Add(d.again)
		case err == nil:
		case d.redis:
			redisFailed = true
			if ctx.Err() == nil {
				r.term.logRedis(d.name, err)
			}
		default:
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

// did counts something that was put right n times.
func (a actions) did(what string, n int) {
	if n > 0 {
		a[what] += int64(n)
	}
}

// recordActions records what was put right. What cannot be recorded now is with the next.
func (r *reconciler) recordActions(ctx context.Context) {
	if len(r.actions) == 0 {
		return
	}
	if err := r.cfg.Store.Leader.RecordActions(ctx, r.actions); err != nil {
		r.cfg.Log.Debug().Err(err).Msg("actions not recorded yet")
		return
	}
	clear(r.actions)
}

// ownRedis takes a Redis that nobody has, and keeps the duties after it from one
// that another fleet has.
func (t *term) ownRedis(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return false, t.owner.Check(ctx)
}

// logRedis logs what keeps deliveries from being looked after: at once, and then
// once a minute.
func (t *term) logRedis(duty string, err error) {
	now := time.Now()
	if err.Error() == t.redisFailed && now.Sub(t.redisLogged) < time.Minute {
		return
	}
	t.redisFailed, t.redisLogged = err.Error(), now
	t.cfg.Log.Warn().Err(err).Str("duty", duty).Msg("duty on Redis failed, and is tried again")
}

// soonest returns the time at which the next duty is due, or the next round.
func (r *reconciler) soonest() time.Time {
	at := r.next
	if r.term != nil {
		for _, d := range r.term.list {
			at = earlier(at, d.due)
		}
	}
	return at
}

// updateUptime counts how long all has been well.
func (t *term) updateUptime(now time.Time) {
	if t.last.IsZero() {
		t.uptime = 0
	} else {
		t.uptime += min(now.Sub(t.last), 2*t.cfg.pace.reconcile)
	}
	t.last = now
}

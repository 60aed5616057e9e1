package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/jobs"
)

const (
	// epochKey holds a random id that the leader sets where there is none: a
	// Redis that has lost its data has lost it too.
	epochKey = "oneflow:epoch"
	// auditRounds is the number of rounds of the reconciler between two audits. What
	// there is to compare is no more than the windows hold.
	auditRounds = 5
	// auditPage is the number of deliveries that are compared at once, and all that an
	// audit keeps in memory.
	auditPage = 2000
	// auditBudget is the time that an audit may go on in one round; the next one
	// continues it.
	auditBudget = 2 * time.Second
	// redisTimeout is the time that a page may take: a Redis that is silent must not
	// keep the leader from the rest of its duties.
	redisTimeout = 5 * time.Second
)

// What asynq calls its keys. It has no API that asks about many tasks at once.
const asynqQueues = "asynq:queues"

func asynqTask(queue, id string) string { return "asynq:{" + queue + "}:t:" + id }

func asynqLeases(queue string) string { return "asynq:{" + queue + "}:lease" }

// auditor compares what Postgres calls dispatched with what Redis holds, and
// takes back what is missing, for the reconciler to dispatch again.
//
// What it knows is in memory, for one term of a leader: the first round of any term
// finds an epoch it has not seen, and audits. So it does not matter
// what happened to Redis, or to the whole fleet, before.
type auditor struct {
	redis  redis.UniversalClient
	store  DeliveryStore
	log    zerolog.Logger
	served func() []any // the queues that are served now
	every  time.Duration
	page   int
	budget time.Duration
	// pushing is the time that whoever marked a delivery is thought to be pushing it. One
	// who takes longer pushes what is stale by then, and does no harm.
	pushing time.Duration
	// unclaimed is the time that a task may be active without a claim of its job.
	unclaimed time.Duration

	epoch    string // the last seen; empty: none
	due      time.Time
	underway bool
	after    jobs.Delivery // the last that was looked at
	lost     int           // in the audit under way
	took     func(n int)   // counts deliveries that were taken back
	// activeSince is since when each delivery has been active without a claim, as far as
	// the last audit and the one under way have seen.
	activeSince, nextActiveSince map[string]time.Time
}

func newAuditor(cfg Config, client redis.UniversalClient) *auditor {
	a := &auditor{
		redis: client, store: cfg.Store.Deliveries, log: cfg.Log,
		every: auditRounds * cfg.pace.reconcile, page: auditPage, budget: auditBudget, pushing: cfg.pace.pushing, unclaimed: cfg.pace.unclaimed,
		took: func(int) {},
	}
	a.served = func() (queues []any) {
		for _, p := range cfg.Providers {
			if cfg.Serves(p.Name) {
				for _, lane := range jobs.Lanes() {
					queues = append(queues, jobs.QueueName(p.Name, lane))
				}
			}
		}
		return queues
	}
	return a
}

// round goes on with the audit under way, or begins one that is due, and reports
// whether there is more of it. An error means that Redis or Postgres could not be
// asked; then nothing was changed that Redis did not deny having, and the next round
// goes on.
func (a *auditor) round(ctx context.Context) (more bool, err error) {
	began := time.Now()
	if err := a.watch(ctx); err != nil {
		return false, err
	}
	for a.underway {
		if err := a.compare(ctx); err != nil {
			return false, err
		}
		if time.Since(began) >= a.budget {
			break
		}
	}
	return a.underway, nil
}

// watch reads the epoch, sets one where there is none, and begins an audit where
// it is another one than before, or where it is time.
func (a *auditor) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	pipe := a.redis.Pipeline()
	pipe.SetNX(ctx, epochKey, jobs.NewID().String(), 0)
	got := pipe.Get(ctx, epochKey)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("read the epoch of Redis: %w", err)
	}
	now := time.Now()
	switch epoch := got.Val(); {
	case epoch != a.epoch:
		// Clients list a queue once in their lives; see asynq.Client.
		if queues := a.served(); len(queues) > 0 {
			if err := a.redis.SAdd(ctx, asynqQueues, queues...).Err(); err != nil {
				return fmt.Errorf("list the queues: %w", err)
			}
		}
		if a.epoch != "" {
			a.log.Warn().Msg("Redis has lost its data: comparing every delivery")
		}
		a.epoch = epoch
		a.begin()
		// Marked just before the loss: this audit passes it over, look again soon.
		a.due = now.Add(a.every / 3)
	case !a.underway && !now.Before(a.due):
		a.begin()
		a.due = now.Add(a.every)
	}
	return nil
}

func (a *auditor) begin() {
	a.underway, a.after, a.lost = true, jobs.Delivery{}, 0
	a.activeSince, a.nextActiveSince = a.nextActiveSince, map[string]time.Time{}
}

// compare looks at the next page.
//
// A waiting job that was dispatched some time ago has a live task until the job is
// claimed and ends; so the order matters: first the row, then the task, then the
// row again, which is left alone if anything has happened to it in between.
func (a *auditor) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	page, err := a.store.Dispatched(ctx, a.after, a.pushing, a.page)
	if err != nil {
		return err
	}
	if len(page) > 0 {
		lost, err := a.missing(ctx, page)
		if err != nil {
			return fmt.Errorf("compare deliveries with Redis: %w", err)
		}
		if len(lost) > 0 {
			n, err := a.store.Redispatch(ctx, lost)
			if err != nil {
				return err
			}
			a.lost += n
			a.took(n)
		}
		a.after = page[len(page)-1]
	}
	if len(page) == a.page {
		return nil
	}
	a.underway = false
	if a.lost > 0 {
		a.log.Warn().Int("jobs", a.lost).Msg("Redis has lost deliveries: they are dispatched again")
	}
	return nil
}

// missing returns the deliveries that will not arrive: those without a task, and
// those whose task asynq has put aside.
func (a *auditor) missing(ctx context.Context, page []jobs.Delivery) ([]jobs.Delivery, error) {
	pipe := a.redis.Pipeline()
	states := make([]*redis.StringCmd, len(page))
	tasks := map[string]*redis.StringCmd{} // one of a chunk carries many
	queues := map[string]bool{}
	for i, d := range page {
		queue := jobs.QueueName(d.Provider, d.Lane)
		queues[queue] = true
		key := asynqTask(queue, d.TaskID())
		if tasks[key] == nil {
			tasks[key] = pipe.HGet(ctx, key, "state")
		}
		states[i] = tasks[key]
	}
	names := make([]any, 0, len(queues))
	for q := range queues {
		names = append(names, q)
	}
	listed := pipe.SAdd(ctx, asynqQueues, names...)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	if err := listed.Err(); err != nil {
		return nil, err
	}
	var lost, active []jobs.Delivery
	for i, d := range page {
		state, err := states[i].Result()
		switch {
		case errors.Is(err, redis.Nil):
			lost = append(lost, d)
		case err != nil: // Exec tells only the first
			return nil, err
		case state == asynq.TaskStateActive.String():
			active = append(active, d)
		case state == asynq.TaskStateArchived.String(), state == asynq.TaskStateCompleted.String():
			lost = append(lost, d)
		}
	}
	orphans, err := a.orphans(ctx, active)
	return append(lost, orphans...), err
}

// orphans returns the deliveries whose task is active without a lease: asynq has
// lost sight of it, and nobody will take it up again. So is one that was active
// some time ago already, and still nobody has claimed its job: that takes
// milliseconds, unless its worker was killed in between, which asynq by itself
// notices after two minutes. If the worker lives, its claim finds the delivery
// stale, and no harm is done.
func (a *auditor) orphans(ctx context.Context, active []jobs.Delivery) ([]jobs.Delivery, error) {
	if len(active) == 0 {
		return nil, nil
	}
	// Both answers of one moment.
	tx := a.redis.TxPipeline()
	states, leases := map[string]*redis.StringCmd{}, map[string]*redis.FloatCmd{}
	for _, d := range active {
		queue, id := jobs.QueueName(d.Provider, d.Lane), d.TaskID()
		key := asynqTask(queue, id)
		if states[key] == nil {
			states[key] = tx.HGet(ctx, key, "state")
			leases[key] = tx.ZScore(ctx, asynqLeases(queue), id)
		}
	}
	if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var out []jobs.Delivery
	now := time.Now()
	for _, d := range active {
		id := asynqTask(jobs.QueueName(d.Provider, d.Lane), d.TaskID())
		if err := states[id].Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		since, seen := a.activeSince[id]
		if !seen {
			since = now
		}
		a.nextActiveSince[id] = since
		switch err := leases[id].Err(); {
		case err == nil:
			if seen && now.Sub(since) >= a.unclaimed {
				out = append(out, d)
			}
		case !errors.Is(err, redis.Nil):
			return nil, err
		case states[id].Val() == asynq.TaskStateActive.String():
			out = append(out, d)
		}
	}
	return out, nil
}

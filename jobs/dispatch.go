package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// pushers is the number of goroutines that push to Redis; asynq has no bulk enqueue, and
// 32 of them make four times the rate of one.
const pushers = 32

// The bounds of a queue's window, in tasks.
const (
	minWindow = 200
	maxWindow = 10_000
)

// Window returns the number of tasks that a queue may hold in Redis at a limit of so many
// requests a minute: about five minutes of work, from 200 to 10,000. 0 means
// that there is no limit.
func Window(rpm int64) int {
	if rpm <= 0 {
		return maxWindow
	}
	return int(min(max(5*min(rpm, maxWindow), minWindow), maxWindow))
}

// Dispatcher pushes accepted jobs to Redis: the one dispatch path, used by
// producers for what they just accepted and by the reconciler for the rest.
//
// A job is marked as dispatched in the statement that accepts it or picks it, and
// then pushed. Nothing confirms that: whoever dies in between leaves a job that
// Postgres calls dispatched and Redis has no task of, as a Redis does that has
// lost its memory, and the audit mends both.
type Dispatcher struct {
	client *asynq.Client
	owner  *Owner
	store  DispatchStore
}

// NewDispatcher makes a Dispatcher. The caller closes client.
func NewDispatcher(client redis.UniversalClient, store DispatchStore) *Dispatcher {
	return &Dispatcher{client: asynq.NewClientFromRedisClient(client), owner: NewOwner(client, store), store: store}
}

// unmarkWithin bounds the time for taking marks back.
const unmarkWithin = 5 * time.Second

// Push pushes marked deliveries, in turn. It returns how many arrived. The marks
// of the others are taken back, so that a worker's reconciler dispatches them
// again: an error here loses nothing. Nothing is pushed to a Redis of another fleet:
// that is a *ForeignRedisError.
func (d *Dispatcher) Push(ctx context.Context, marked []Delivery) (int, error) {
	slices.SortFunc(marked, func(a, b Delivery) int { return int(a.StartTag - b.StartTag) })
	pushed := make([]bool, len(marked))
	err := d.owner.Check(ctx)
	if err == nil {
		err = d.push(ctx, marked, pushed)
	}
	if err == nil {
		return len(marked), nil
	}
	var failed []Delivery
	for i, ok := range pushed {
		if !ok {
			failed = append(failed, marked[i])
		}
	}
	// Also where the caller was interrupted; and if it fails, the audit mends it.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkWithin)
	defer cancel()
	return len(marked) - len(failed), errors.Join(err, d.store.Undispatch(undo, failed))
}

// push pushes deliveries until one fails, and notes which arrived. Those of a chunk go
// together, in the place of its first.
func (d *Dispatcher) push(ctx context.Context, marked []Delivery, pushed []bool) error {
	tasks := chunks(marked)
	g, pushCtx := errgroup.WithContext(ctx)
	// Each takes the next, so that one who is slow keeps one task from its turn.
	var next atomic.Int64
	for range min(pushers, len(tasks)) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(tasks)); i = next.Add(1) - 1 {
				list := make([]Delivery, len(tasks[i]))
				for n, place := range tasks[i] {
					list[n] = marked[place]
				}
				task, err := EncodeTask(list...)
				if err != nil {
					return err
				}
				_, err = d.client.EnqueueContext(pushCtx, task)
				// The same delivery is there already: as good as pushed.
				if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
					return fmt.Errorf("push job %s to queue %s: %w", list[0].ID, QueueName(list[0].Provider, list[0].Lane), err)
				}
				for _, place := range tasks[i] {
					pushed[place] = true
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// chunks are the places of the deliveries of each task, in the order of their first.
func chunks(marked []Delivery) (tasks [][]int) {
	of := map[Queue]map[string]int{} // the task of a chunk
	for i, d := range marked {
		queue := Queue{Provider: d.Provider, Lane: d.Lane}
		if of[queue] == nil {
			of[queue] = map[string]int{}
		}
		n, begun := of[queue][d.DeliveryID]
		if d.DeliveryID == "" || !begun {
			of[queue][d.DeliveryID] = len(tasks)
			tasks = append(tasks, []int{i})
			continue
		}
		tasks[n] = append(tasks[n], i)
	}
	return tasks
}

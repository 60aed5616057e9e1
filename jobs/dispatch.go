package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"
)

// pushers is how many goroutines push to Redis; asynq has no bulk enqueue, and
// 32 of them make four times the rate of one.
const pushers = 32

// Dispatcher pushes accepted jobs to Redis: the one dispatch path, used by
// producers for what they just accepted and by the reconciler for the rest.
type Dispatcher struct {
	client *asynq.Client
	store  DispatchStore
}

// NewDispatcher makes a Dispatcher. The caller closes client.
func NewDispatcher(client *asynq.Client, store DispatchStore) *Dispatcher {
	return &Dispatcher{client: client, store: store}
}

// Push pushes marked deliveries and confirms those that arrived. It returns how
// many did. What did not arrive stays marked and is dispatched again by a
// worker's reconciler, so that an error here loses nothing.
func (d *Dispatcher) Push(ctx context.Context, marked []Delivery) (int, error) {
	pushed := make([]bool, len(marked))
	g, pushCtx := errgroup.WithContext(ctx)
	n := min(pushers, len(marked))
	for start := range n {
		g.Go(func() error {
			for i := start; i < len(marked); i += n {
				task, err := marked[i].task()
				if err != nil {
					return err
				}
				_, err = d.client.EnqueueContext(pushCtx, task)
				// The same delivery is there already: as good as pushed.
				if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
					return fmt.Errorf("push job %s to queue %s: %w", marked[i].ID, QueueName(marked[i].Provider, marked[i].Lane), err)
				}
				pushed[i] = true
			}
			return nil
		})
	}
	pushErr := g.Wait()
	confirmed := make([]Delivery, 0, len(marked))
	for i, ok := range pushed {
		if ok {
			confirmed = append(confirmed, marked[i])
		}
	}
	if len(confirmed) == 0 {
		return 0, pushErr
	}
	if err := d.store.ConfirmDispatched(ctx, confirmed); err != nil {
		return 0, errors.Join(pushErr, err)
	}
	return len(confirmed), pushErr
}

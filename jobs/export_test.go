package jobs

import (
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

// Hasten sets how fast a worker's clockwork goes. The queue tries again after a
// second.
func (c *WorkerConfig) Hasten(heartbeat, reconcile, silence time.Duration) {
	c.pace = &pace{heartbeat: heartbeat, reconcile: reconcile, silence: silence, backoff: func(int) time.Duration { return time.Second }, pause: time.Second}
}

// EncodeTask makes what is pushed to Redis.
func EncodeTask(d Delivery) (*asynq.Task, error) { return d.task() }

// DecodeTask reads a task.
func DecodeTask(t *asynq.Task) (id uuid.UUID, gen int, err error) {
	p, err := decodeTask(t)
	return p.Job, p.Gen, err
}

// Backoff is the wait before the queue tries again.
func Backoff(attempt int) time.Duration { return backoff(attempt) }

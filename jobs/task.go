package jobs

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/providers"
)

// payload is a job in Redis: ids, and what a person wants to see in
// asynqmon. Never the prompt.
type payload struct {
	Job   uuid.UUID      `json:"job"`
	Gen   int            `json:"gen"`
	Task  providers.Task `json:"task"`
	Model string         `json:"model,omitempty"`
	Batch string         `json:"batch,omitempty"`
}

const (
	// TaskTimeout is asynq's own limit on a handler, far beyond ours: the job's
	// deadline and the call's timeout decide.
	TaskTimeout = 7 * 24 * time.Hour
	// maxRetry keeps asynq from archiving: Postgres decides when to give up.
	maxRetry = math.MaxInt32
)

// QueueName is the asynq queue of a provider's lane.
func QueueName(provider string, lane Lane) string { return provider + "." + string(lane) }

// TaskID is the id of a delivery in asynq: a new one for each generation, since
// asynq may refuse an id for ever after a crash.
func TaskID(id uuid.UUID, gen int) string { return fmt.Sprintf("%s-%d", id, gen) }

// EncodeTask makes the task that carries a delivery.
func EncodeTask(d Delivery) (*asynq.Task, error) {
	body, err := json.Marshal(payload{Job: d.ID, Gen: d.Gen, Task: d.Task, Model: d.Model, Batch: d.BatchID})
	if err != nil {
		return nil, fmt.Errorf("job %s: encode its task: %w", d.ID, err)
	}
	opts := []asynq.Option{
		asynq.TaskID(TaskID(d.ID, d.Gen)),
		asynq.Queue(QueueName(d.Provider, d.Lane)),
		asynq.MaxRetry(maxRetry),
		asynq.Timeout(TaskTimeout),
	}
	if time.Until(d.At) > 0 {
		opts = append(opts, asynq.ProcessAt(d.At))
	}
	return asynq.NewTask("generate:"+string(d.Task), body, opts...), nil
}

// DecodeTask reads which job, and which generation of it, a task delivers. It fails
// for what is not ours.
func DecodeTask(t *asynq.Task) (id uuid.UUID, gen int, err error) {
	var p payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil || p.Job == uuid.Nil || p.Gen < 1 {
		return uuid.Nil, 0, fmt.Errorf("task %q: its payload names no job: something else writes to this queue", t.Type())
	}
	return p.Job, p.Gen, nil
}

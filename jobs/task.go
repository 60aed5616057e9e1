package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/providers"
)

// payload is a job in Redis: ids, and what a person wants to see in
// asynqmon. Never the prompt.
type payload struct {
	Job   uuid.UUID      `json:"job,omitzero"`
	Gen   int            `json:"gen,omitempty"`
	Task  providers.Task `json:"task"`
	Model string         `json:"model,omitempty"`
	Batch string         `json:"batch,omitempty"`
	// Jobs and Chunk are the number and the deliveries of a chunk, in place of Job and
	// Gen.
	Jobs int `json:"jobs,omitempty"`
	// Pack is the number of the chunk's jobs that a call may serve; 0: 1.
	Pack  int      `json:"pack,omitempty"`
	Chunk []string `json:"chunk,omitempty"`
}

const (
	// TaskTimeout is asynq's own limit on a handler, far beyond ours: the job's
	// deadline and the call's timeout decide.
	TaskTimeout = 7 * 24 * time.Hour
	// soon is the time for which a handler waits for a job that is not due yet: asynq would
	// keep it for half a second more.
	soon = 500 * time.Millisecond
	// maxRetry keeps asynq from archiving: Postgres decides when to give up.
	maxRetry = math.MaxInt32
)

// QueueName is the asynq queue of a provider's lane.
func QueueName(provider string, lane Lane) string { return provider + "." + string(lane) }

// QueueLane is the lane of an asynq queue; empty for what is none of ours.
func QueueLane(name string) Lane {
	lane := Lane(name[strings.LastIndexByte(name, '.')+1:])
	if !slices.Contains(Lanes(), lane) {
		return ""
	}
	return lane
}

// TaskID is the id of a delivery in asynq: a new one for each generation, since
// asynq may refuse an id for ever after a crash.
func TaskID(id uuid.UUID, gen int) string { return fmt.Sprintf("%s-%d", id, gen) }

// MaxChunk is the number of jobs that one task carries at most, and ChunkTime how much
// work of its queue that is at most: what a worker has in hand keeps nobody waiting.
const (
	MaxChunk  = 200
	ChunkTime = 250 * time.Millisecond
)

// EncodeTask makes the task that carries deliveries of one queue: one, or a chunk of
// those with the same DeliveryID. A chunk shows the task and model of its first, and
// their batch where that is the same for all.
func EncodeTask(list ...Delivery) (*asynq.Task, error) {
	if len(list) == 0 {
		return nil, errors.New("a task of no delivery")
	}
	d := list[0]
	p := payload{Job: d.ID, Gen: d.Gen, Task: d.Task, Model: d.Model, Batch: d.BatchID}
	if d.DeliveryID != "" {
		p.Job, p.Gen, p.Jobs, p.Chunk = uuid.Nil, 0, len(list), make([]string, len(list))
		if d.Pack > 1 {
			p.Pack = d.Pack
		}
		for i, one := range list {
			p.Chunk[i] = TaskID(one.ID, one.Gen)
			if one.BatchID != p.Batch {
				p.Batch = ""
			}
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("job %s: encode its task: %w", d.ID, err)
	}
	opts := []asynq.Option{
		asynq.TaskID(d.TaskID()),
		asynq.Queue(QueueName(d.Provider, d.Lane)),
		asynq.MaxRetry(maxRetry),
		asynq.Timeout(TaskTimeout),
	}
	if time.Until(d.At) > soon {
		opts = append(opts, asynq.ProcessAt(d.At))
	}
	return asynq.NewTask("generate:"+string(d.Task), body, opts...), nil
}

// DecodeTask reads which jobs, and which generations of them, a task delivers. chunk is 0 for
// a task of one job, else the number of its jobs that a call may serve. It fails for what is
// not ours.
func DecodeTask(t *asynq.Task) (claims []Claim, chunk int, err error) {
	var p payload
	err = json.Unmarshal(t.Payload(), &p)
	switch {
	case err == nil && len(p.Chunk) > 0 && len(p.Chunk) <= MaxChunk:
		claims = make([]Claim, len(p.Chunk))
		for i, text := range p.Chunk {
			if claims[i], err = parseTaskID(text); err != nil {
				return nil, 0, fmt.Errorf("task %q: %w: something else writes to this queue", t.Type(), err)
			}
		}
		return claims, min(max(p.Pack, 1), MaxChunk), nil
	case err == nil && p.Job != uuid.Nil && p.Gen > 0:
		return []Claim{{ID: p.Job, Gen: p.Gen}}, 0, nil
	}
	return nil, 0, fmt.Errorf("task %q: its payload names no job: something else writes to this queue", t.Type())
}

// TaskModel reads which model the jobs of a task ask for, or the first of them where their
// queue has those of all models, and how many calls they need at least. It is empty for the
// default model.
func TaskModel(t *asynq.Task) (model string, calls int) {
	var p struct {
		Model string `json:"model"`
		Jobs  int    `json:"jobs"`
		Pack  int    `json:"pack"`
	}
	_ = json.Unmarshal(t.Payload(), &p) // what is not ours has no model
	each := max(p.Pack, 1)
	return p.Model, max((p.Jobs+each-1)/each, 1)
}

// parseTaskID reads what TaskID makes.
func parseTaskID(text string) (c Claim, err error) {
	const idLength = 36
	if len(text) < idLength+2 || text[idLength] != '-' {
		return c, errors.New("its chunk holds what is no job")
	}
	if c.ID, err = uuid.Parse(text[:idLength]); err != nil {
		return c, errors.New("its chunk holds what is no job")
	}
	if c.Gen, err = strconv.Atoi(text[idLength+1:]); err != nil || c.Gen < 1 || c.ID == uuid.Nil {
		return c, errors.New("its chunk holds what is no job")
	}
	return c, nil
}

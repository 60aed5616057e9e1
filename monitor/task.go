package monitor

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/jobs"
)

// tasks looks tasks up in Redis.
type tasks interface {
	GetTaskInfo(queue, id string) (*asynq.TaskInfo, error)
}

// taskPage leads from a task in Redis to the job that it carries, or to a page of them.
type taskPage struct {
	At        time.Time
	Queue, ID string
	jobs.Lines
}

func (m *Monitor) taskPage(w http.ResponseWriter, r *http.Request) {
	queue, id := r.PathValue("queue"), r.PathValue("id")
	info, err := m.tasks.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) || len(queue) > 200 || len(id) > 200 {
		m.refuse(w, r, http.StatusNotFound, "Redis has no such task any more: its jobs go on by themselves")
		return
	}
	if err != nil {
		m.cfg.Log.Warn().Err(err).Msg("a task cannot be read")
		m.refuse(w, r, http.StatusServiceUnavailable, "Redis does not answer")
		return
	}
	claims, _, err := jobs.DecodeTask(asynq.NewTask(info.Type, info.Payload))
	if err != nil {
		m.refuse(w, r, http.StatusNotFound, "this task is not of OneFlow")
		return
	}
	if len(claims) == 1 {
		http.Redirect(w, r, m.cfg.BasePath+"/jobs/"+claims[0].ID.String(), http.StatusSeeOther)
		return
	}
	p := taskPage{At: time.Now(), Queue: queue, ID: id}
	ids := make([]uuid.UUID, len(claims))
	for i, c := range claims {
		ids[i] = c.ID
	}
	if p.Lines, err = m.cfg.Jobs.Jobs(r.Context(), jobs.Filter{IDs: ids, Limit: jobs.MaxChunk}); err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Task " + shorten(id), Here: "queues", At: p.At}, "task", p)
}

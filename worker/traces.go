package worker

import (
	"time"

	"oneflow/jobs"
	"oneflow/providers"
)

// Tracer is told of what has ended. Its methods must not wait. The request and the
// settlement hold what was asked and what the provider said: neither may leave with a trace.
type Tracer interface {
	// CallEnded tells of a call to a provider: which model answered ("" where none did),
	// when it began, and what came of it.
	CallEnded(job jobs.Job, provider string, req providers.Request, answered string, started time.Time, s jobs.Settlement)
	// JobEnded tells of a job that this worker has ended, in which state and class.
	JobEnded(job jobs.Job, state jobs.State, class string)
}

func (c *openCall) trace(s jobs.Settlement, answered string) {
	if t := c.journal.handler.cfg.Tracer; t != nil {
		t.CallEnded(c.journal.job, c.provider, c.req, answered, c.started, s)
	}
}

func (j *journal) trace(state jobs.State, class string) {
	if t := j.handler.cfg.Tracer; t != nil && state.Finished() {
		t.JobEnded(j.job, state, class)
	}
}

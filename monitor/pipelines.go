package monitor

import (
	"context"
	"net/http"
	"time"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/fleet"
	"oneflow/jobs"
)

// PipelineStore reads pipelines.
type PipelineStore interface {
	// Pipelines lists the newest ones, the newest first: of an account, or of all where it is
	// empty.
	Pipelines(ctx context.Context, account string, limit int) ([]batches.Pipeline, error)
	// Pipeline reads one. It fails with jobs.ErrNotFound.
	Pipeline(ctx context.Context, id string) (batches.Pipeline, error)
}

// pipelinesShown bounds a list of pipelines.
const pipelinesShown = 100

// pipelinesPage is the data of the page of pipelines.
type pipelinesPage struct {
	At        time.Time
	Pipelines []batches.Pipeline
}

func (m *Monitor) pipelines(r *http.Request) ([]batches.Pipeline, error) {
	return m.cfg.Pipelines.Pipelines(r.Context(), access.From(r.Context()).Account, pipelinesShown)
}

func (m *Monitor) pipelinesPage(w http.ResponseWriter, r *http.Request) {
	list, err := m.pipelines(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p := pipelinesPage{time.Now(), list}
	m.show(w, r, http.StatusOK, frame{Title: "Pipelines", Here: "pipelines", At: p.At}, "pipelines", p)
}

func (m *Monitor) pipelinesCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.pipelines(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"pipeline", "account", "source", "state", "steps", "jobs", "done", "failed", "cost_usd", "simulated_cost_usd", "unpriced_calls", "created_at"}}
	for _, p := range list {
		rows = append(rows, []string{
			p.ID, p.Account, p.Source, p.State, number(int64(len(p.Steps))), number(p.Total()), number(p.Done()), number(p.Failures()),
			p.Cost.String(), p.Simulated.String(), number(p.Unpriced), stampOr(p.CreatedAt),
		})
	}
	sendTable(w, "pipelines.csv", rows)
}

// pipelinePage is the data of a pipeline's page.
type pipelinePage struct {
	At time.Time
	batches.Pipeline
	// Waits say why jobs of its steps wait.
	Waits []stepWaits
	// May reports whether whoever looks may give orders.
	May bool
}

// stepWaits say why the jobs of a step wait.
type stepWaits struct {
	Step  string
	Waits []fleet.Wait
}

// stepWaits reads why the jobs of each step wait.
func (m *Monitor) stepWaits(ctx context.Context, p batches.Pipeline) (list []stepWaits, err error) {
	for _, s := range p.Steps {
		if s.Counts[jobs.Queued]+s.Counts[jobs.Scheduled]+s.Counts[jobs.Retrying] == 0 {
			continue
		}
		waits, err := fleet.Waits(ctx, m.cfg.Store, s.ID, "")
		if err != nil {
			return nil, err
		}
		if len(waits) > 0 {
			list = append(list, stepWaits{s.Name, waits})
		}
	}
	return list, nil
}

// pipeline reads the pipeline that a path names, if whoever asks may see it.
func (m *Monitor) pipeline(r *http.Request) (batches.Pipeline, error) {
	id := r.PathValue("id")
	if batches.CheckID(id) != nil {
		return batches.Pipeline{}, jobs.ErrNotFound
	}
	p, err := m.cfg.Pipelines.Pipeline(r.Context(), id)
	if err == nil {
		err = mine(r, p.Account)
	}
	if err != nil {
		return batches.Pipeline{}, err
	}
	return p, nil
}

func (m *Monitor) pipelinePage(w http.ResponseWriter, r *http.Request) {
	found, err := m.pipeline(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p := pipelinePage{At: time.Now(), Pipeline: found, May: access.From(r.Context()).Scope.Includes(access.Operate)}
	if p.Waits, err = m.stepWaits(r.Context(), found); err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Pipeline " + p.ID, Here: "pipelines", At: p.At}, "pipeline", p)
}

func (m *Monitor) stepsCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.pipeline(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"step", "batch", "state", "jobs", "done", "failed", "left_out", "cost_usd", "simulated_cost_usd", "unpriced_calls"}}
	for _, s := range p.Steps {
		rows = append(rows, []string{
			s.Name, s.ID, s.State, number(s.Total()), number(s.Done()), number(s.Failures()), number(s.LeftOut), s.Cost.String(), s.Simulated.String(), number(s.Unpriced),
		})
	}
	sendTable(w, "steps.csv", rows)
}

// ownPipeline names the pipeline of a path, if whoever asks may see it.
func (m *Monitor) ownPipeline(r *http.Request) (string, error) {
	p, err := m.pipeline(r)
	return p.ID, err
}

package frontdoor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
	"oneflow/providers"
)

// ownRoutes are those of our own API that bring jobs.
func (f *FrontDoor) ownRoutes() []access.Route {
	own := func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		access.Problem(w, status, message, nil)
	}
	return []access.Route{
		{Pattern: "POST /api/v1/jobs", Scope: access.Enqueue, Query: []string{}, Record: true, Body: maxCall, Refuse: own, Handle: http.HandlerFunc(f.bringJob)},
		{
			Pattern: "POST /api/v1/batches", Scope: access.Enqueue, Query: []string{"source", "tag", "task", "provider", "model", "lane"},
			Record: true, Slow: true, Body: maxUpload, Refuse: own, Handle: http.HandlerFunc(f.bringBatch),
		},
	}
}

// pathOf is the endpoint by which a model is looked for where a row names a task.
func pathOf(task providers.Task) string {
	for _, e := range endpoints() {
		if e.task == task {
			return e.path
		}
	}
	return ""
}

// addressed names the provider of a row that names none, by its model.
func (f *FrontDoor) addressed(fields, defaults map[string]json.RawMessage) error {
	field := func(name string) (s string) {
		raw := fields[name]
		if raw == nil {
			raw = defaults[name]
		}
		_ = json.Unmarshal(raw, &s) // what is no text is found by whoever reads the row
		return s
	}
	if field("provider") != "" || fields["chain"] != nil || fields["body"] != nil {
		return nil
	}
	task := providers.Task(field("task"))
	if task == "" {
		task = providers.Text
	}
	path, model := pathOf(task), field("model")
	if model == "" || path == "" {
		return errors.New("provider: is missing, and so is a model that says whose it is")
	}
	provider, name, err := f.cfg.Providers(path, model)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	fields["provider"], fields["model"] = encoded(provider), encoded(name)
	return nil
}

// bringJob makes a job of a row, as `enqueue` does of a line.
func (f *FrontDoor) bringJob(w http.ResponseWriter, r *http.Request) {
	id, err := f.takeJob(r)
	if err != nil {
		f.notTaken(w, r, endpoint{refuse: func(w http.ResponseWriter, _ *http.Request, status int, message string) {
			access.Problem(w, status, message, nil)
		}}, err)
		return
	}
	w.Header().Set("Location", "/api/v1/jobs/"+id.String())
	answer(w, http.StatusAccepted, object{"id": id})
}

func (f *FrontDoor) takeJob(r *http.Request) (uuid.UUID, error) {
	account, ok := accountOf(r)
	if !ok {
		return uuid.Nil, &refusal{status: http.StatusForbidden, reason: "X-OneFlow-Account: the token is for another account"}
	}
	body, err := io.ReadAll(r.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return uuid.Nil, &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("the job is larger than %d MB", maxCall>>20)}
	}
	if err != nil {
		return uuid.Nil, &refusal{status: http.StatusBadRequest, reason: "the body cannot be read to its end"}
	}
	fields, err := rows.Object(body)
	if err != nil {
		return uuid.Nil, &refusal{status: http.StatusBadRequest, reason: "the body must be a JSON object: " + rows.Printable(err)}
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || !storable(key) {
		return uuid.Nil, &refusal{status: http.StatusBadRequest, reason: badKey}
	}
	var ask asking
	if err := ask.batchHeaders(r); err != nil {
		return uuid.Nil, err
	}
	c := Call{Caller: callerOf(r, account), SHA256: sha256.Sum256(append([]byte("/api/v1/jobs\n"), body...)), Idempotency: key}
	again := uuid.Nil
	if key != "" {
		id, ok, err := f.cfg.Stores.Calls.JoinCall(r.Context(), c)
		if err != nil {
			return id, otherBody(err)
		}
		if ok {
			again = id
		}
	}
	job, err := f.ownJob(r.Context(), fields, account)
	if err != nil {
		return uuid.Nil, err
	}
	if again != uuid.Nil {
		// Whoever remembered it may have died before it was a job.
		job.ID = again
		if _, err := f.cfg.Stores.Jobs.Progress(r.Context(), again.String()); !errors.Is(err, jobs.ErrNotFound) {
			return again, err
		}
		return again, f.enqueue(r.Context(), ask, job)
	}
	if err := f.affords(r.Context(), &job); err != nil {
		return uuid.Nil, err
	}
	c.JobID = job.ID
	id, err := f.cfg.Stores.Calls.RememberCall(r.Context(), c)
	if err != nil || id != job.ID {
		return id, otherBody(err)
	}
	return id, f.enqueue(r.Context(), ask, job)
}

// callerOf is the name of a caller for idempotency keys: nobody else's key is the same.
func callerOf(r *http.Request, account string) string {
	return hexOf(sha256.Sum256([]byte(access.From(r.Context()).Name + "\n" + account)))
}

func (f *FrontDoor) ownJob(ctx context.Context, fields map[string]json.RawMessage, account string) (jobs.New, error) {
	if err := f.first(ctx, fields); err != nil {
		return jobs.New{}, err
	}
	if err := f.addressed(fields, nil); err != nil {
		return jobs.New{}, &refusal{status: http.StatusBadRequest, reason: rows.Printable(err)}
	}
	in := f.cfg.Input
	in.Account = account
	job, err := in.One(fields)
	if err != nil {
		return job, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	return job, nil
}

// first names the provider of a single job that names neither one nor a model, or wants the best.
// Rows of a batch say themselves whom they ask: a repetition has to make the same jobs.
func (f *FrontDoor) first(ctx context.Context, fields batches.Fields) error {
	best := batches.WantsBest(fields)
	if f.cfg.First == nil || !best && (fields["provider"] != nil || fields["model"] != nil || fields["chain"] != nil || fields["body"] != nil) {
		return nil
	}
	if best && fields["model"] != nil {
		return &refusal{status: http.StatusBadRequest, reason: "model: the best provider is chosen among those that have different models: leave one of them out"}
	}
	task := providers.Text
	if raw := fields["task"]; raw != nil && json.Unmarshal(raw, &task) != nil {
		return &refusal{status: http.StatusBadRequest, reason: "task: must be a text"}
	}
	name, why, err := f.cfg.First(ctx, task, best)
	if err != nil {
		return err
	}
	if name == "" {
		return &refusal{status: http.StatusBadRequest, reason: "provider: " + why}
	}
	fields["provider"] = encoded(name)
	return nil
}

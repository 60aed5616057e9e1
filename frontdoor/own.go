package frontdoor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/billing"
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
			Record: true, Patient: true, Body: maxUpload, Refuse: own, Handle: http.HandlerFunc(f.bringBatch),
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

// fault is something wrong with a line of a batch that a program brings.
type fault struct {
	Line   int64  `json:"line"`
	Detail string `json:"detail"`
}

// bringing is a batch that a program brings, whose rows lie on this machine's disk.
type bringing struct {
	batch jobs.Batch
	in    batches.Input
	rows  io.ReadSeeker
	// own are the columns of the rows' own, which come back with the results.
	own []string
	// key is its idempotency key, and sum the hash of what it asks for.
	key string
	sum [sha256.Size]byte
}

// bringBatch makes a batch of JSON lines: of all of them, or of none where one has a fault.
func (f *FrontDoor) bringBatch(w http.ResponseWriter, r *http.Request) {
	b, err := f.ownBatch(r)
	if err == nil {
		var release func()
		if release, err = f.room.forUpload(r.Context()); err == nil {
			defer release()
		}
	}
	if err == nil {
		sum := sha256.New()
		fmt.Fprintln(sum, "/api/v1/batches", r.URL.RawQuery)
		kept, _, spooled := spool(io.TeeReader(r.Body, sum))
		b.sum = [sha256.Size]byte(sum.Sum(nil))
		if kept != nil {
			defer func() { _ = kept.Close() }()
		}
		b.rows, err = kept, spooled
	}
	var faults []fault
	if err == nil {
		b.own = []string{}
		b.in.OnColumn = func(name string, option bool) {
			if !option {
				b.own = append(b.own, name)
			}
		}
		faults, err = f.check(r, b)
		b.in.OnColumn = nil
	}
	if len(faults) > 0 && err == nil {
		access.Problem(w, http.StatusUnprocessableEntity, "lines of the batch have faults: nothing of it was taken", map[string]any{"faults": faults})
		return
	}
	if err == nil && b.key != "" {
		// The id of the batch is the key's; that it is for the same stands here.
		_, err = f.cfg.Stores.Calls.RememberCall(r.Context(), Call{JobID: jobs.NewID(), Caller: callerOf(r, b.batch.Account), SHA256: b.sum, Idempotency: "batch " + b.key})
		err = otherBody(err)
	}
	var rep batches.Report
	if err == nil {
		rep, err = f.takeBatch(r, b)
	}
	if err != nil {
		f.batchRefused(w, r, err)
		return
	}
	w.Header().Set("Location", "/api/v1/batches/"+b.batch.ID)
	answer(w, http.StatusAccepted, object{"id": b.batch.ID, "accepted": rep.Accepted, "duplicates": rep.Duplicates, "own_columns": b.own})
}

func (f *FrontDoor) batchRefused(w http.ResponseWriter, r *http.Request, err error) {
	if bad, ok := errors.AsType[*formError](err); ok {
		access.Problem(w, bad.status, strings.TrimPrefix(bad.reason, "file: "), nil)
		return
	}
	if other, ok := errors.AsType[*jobs.OtherBatchError](err); ok {
		err = &refusal{status: http.StatusUnprocessableEntity, reason: fmt.Sprintf("the batch of this idempotency key has %s already, and this says %s", other.Is, other.Given)}
	}
	switch {
	case errors.Is(err, jobs.ErrOtherSource):
		err = &refusal{status: http.StatusUnprocessableEntity, reason: ErrOtherBody.Error()}
	case errors.Is(err, jobs.ErrBatchCancelled), errors.Is(err, jobs.ErrBatchRemoved):
		err = &refusal{status: http.StatusConflict, reason: "the batch of this idempotency key was cancelled or removed"}
	}
	f.notTaken(w, r, endpoint{refuse: func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		access.Problem(w, status, message, nil)
	}}, err)
}

// ownBatch reads what address and headers say of a batch.
func (f *FrontDoor) ownBatch(r *http.Request) (b bringing, err error) {
	account, ok := accountOf(r)
	if !ok {
		return b, &refusal{status: http.StatusForbidden, reason: "X-OneFlow-Account: the token is for another account"}
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || !storable(key) {
		return b, &refusal{status: http.StatusBadRequest, reason: badKey}
	}
	q := r.URL.Query()
	source := q.Get("source")
	if source == "" {
		source = "the API"
	}
	b.batch = jobs.Batch{ID: newID("api-"), Account: account, Source: fileName(source)}
	b.key = key
	if key != "" {
		b.batch.ID = "api-" + hexOf(sha256.Sum256([]byte("batch\n" + access.From(r.Context()).Name + "\n" + account + "\n" + key)))[:32]
	}
	if b.batch.Tags, err = tagsOf("tag", q["tag"]); err != nil {
		return b, err
	}
	b.in = f.cfg.Input
	b.in.Account, b.in.Defaults = account, map[string]json.RawMessage{}
	for name, values := range q {
		if name != "source" && name != "tag" {
			b.in.Defaults[name] = encoded(values[0])
		}
	}
	return b, nil
}

// tagsOf reads tags, each NAME=VALUE; from says where they stand.
func tagsOf(from string, list []string) (map[string]string, error) {
	const most, longest = 16, 500
	if len(list) > most {
		return nil, &refusal{status: http.StatusBadRequest, reason: fmt.Sprintf("%s: may be given %d times", from, most)}
	}
	tags := map[string]string{}
	for _, tag := range list {
		name, value, ok := strings.Cut(strings.TrimSpace(tag), "=")
		if !ok || name == "" || len(tag) > longest || !storable(tag) {
			return nil, &refusal{status: http.StatusBadRequest, reason: from + ": must be NAME=VALUE"}
		}
		tags[name] = value
	}
	return tags, nil
}

// ownRows is a source whose rows are given a provider by their models.
type ownRows struct {
	rows.Source
	f        *FrontDoor
	defaults map[string]json.RawMessage
}

// Next implements rows.Source.
func (s *ownRows) Next() (rows.Row, error) {
	row, err := s.Source.Next()
	if err != nil {
		return row, err
	}
	if err := s.f.addressed(row.Fields, s.defaults); err != nil {
		return row, s.At(row.Place, rows.Printable(err))
	}
	return row, nil
}

func (f *FrontDoor) rowsOf(b bringing) (rows.Source, error) {
	_, err := b.rows.Seek(0, io.SeekStart)
	return &ownRows{rows.JSONLines("", io.NopCloser(b.rows)), f, b.in.Defaults}, err
}

// check reads the rows once without making anything of them.
func (f *FrontDoor) check(r *http.Request, b bringing) (faults []fault, err error) {
	has, least, err := f.funds(r.Context(), b.batch.Account)
	if err != nil {
		return nil, err
	}
	b.in.Least = least
	source, err := f.rowsOf(b)
	if err != nil {
		return nil, err
	}
	n, needs := 0, billing.NanoUSD(0)
	err = b.in.Read(source, func(job jobs.New) error { n++; needs += job.Least; return r.Context().Err() }, func(e *rows.LineError) {
		if len(faults) < maxFaults {
			faults = append(faults, fault{e.Line, e.Reason})
		}
	})
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, reason: rows.Printable(err)}
	}
	if n == 0 && len(faults) == 0 {
		return nil, &refusal{status: http.StatusBadRequest, reason: "the body has no line"}
	}
	if least != nil {
		// What was taken before is not asked for its money again.
		if _, err := f.cfg.Stores.Jobs.Progress(r.Context(), b.batch.ID); errors.Is(err, jobs.ErrNotFound) {
			if short := has.Check(needs); short != nil {
				return nil, &refusal{status: http.StatusPaymentRequired, reason: short.Error()}
			}
		}
	}
	return faults, nil
}

// takeBatch makes jobs of the rows. It may be repeated: rows that are jobs already are not
// made again.
func (f *FrontDoor) takeBatch(r *http.Request, b bringing) (batches.Report, error) {
	_, least, err := f.funds(r.Context(), b.batch.Account)
	if err != nil {
		return batches.Report{}, err
	}
	b.in.Least = least
	source, err := f.rowsOf(b)
	if err != nil {
		return batches.Report{}, err
	}
	rep, err := batches.Intake{Input: b.in, Store: f.cfg.Stores.Jobs, Producer: f.cfg.Producer, Batch: b.batch}.Take(r.Context(), source)
	if rep.Undelivered != nil {
		f.cfg.Log.Warn().Err(rep.Undelivered).Str("batch", b.batch.ID).Msg("Redis did not take a delivery: a worker sees to it")
	}
	return rep, err
}

package frontdoor

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/jobs"
)

// batchObject is a batch as OpenAI has it.
type batchObject struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"`
	Endpoint         string            `json:"endpoint"`
	Errors           *list[Fault]      `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status"`
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     *int64            `json:"in_progress_at"`
	ExpiresAt        int64             `json:"expires_at"`
	FinalizingAt     *int64            `json:"finalizing_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"`
	ExpiredAt        *int64            `json:"expired_at"`
	CancellingAt     *int64            `json:"cancelling_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    requestCounts     `json:"request_counts"`
	Metadata         map[string]string `json:"metadata"`
}

type requestCounts struct {
	Total     int64 `json:"total"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
}

// unix is a time as OpenAI has it; null for the zero time.
func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// object returns the batch in OpenAI's words. p is where its jobs stand; taken reports
// whether it has any.
func (b Batch) object(p jobs.Progress, taken bool) batchObject {
	o := batchObject{
		ID: b.ID, Object: "batch", Endpoint: b.Endpoint, InputFileID: b.InputFileID, CompletionWindow: window, Status: b.status(p, taken),
		CreatedAt: b.CreatedAt.Unix(), ExpiresAt: b.ExpiresAt.Unix(), InProgressAt: unix(b.TakenAt), FailedAt: unix(b.FailedAt), CancellingAt: unix(b.CancelledAt),
		RequestCounts: requestCounts{Total: p.Total(), Completed: p.Counts[jobs.Succeeded], Failed: p.Failures()},
		Metadata:      b.Metadata,
	}
	if len(b.Faults) > 0 {
		o.Errors = &list[Fault]{Object: "list", Data: b.Faults}
	}
	ended := unix(p.FinishedAt)
	switch o.Status {
	case "completed":
		o.FinalizingAt, o.CompletedAt = ended, ended
	case "expired":
		o.FinalizingAt, o.ExpiredAt = ended, ended
	case "cancelled":
		if o.CancelledAt = ended; ended == nil {
			o.CancelledAt = unix(b.CancelledAt)
		}
	default:
		return o
	}
	if p.Counts[jobs.Succeeded] > 0 {
		id := "file-" + b.ID + outputs
		o.OutputFileID = &id
	}
	if p.Failures() > 0 {
		id := "file-" + b.ID + failures
		o.ErrorFileID = &id
	}
	return o
}

// status is OpenAI's word for where a batch stands.
func (b Batch) status(p jobs.Progress, taken bool) string {
	ended := taken && p.Done() == p.Total()
	switch {
	case !b.FailedAt.IsZero():
		return "failed"
	case !b.CancelledAt.IsZero() && !b.TakenAt.IsZero() && (ended || !taken):
		return "cancelled"
	case !b.CancelledAt.IsZero():
		return "cancelling"
	case b.TakenAt.IsZero():
		return "validating"
	case ended && p.State == jobs.BatchCancelled: // by a command
		return "cancelled"
	case ended && p.Counts[jobs.Expired] > 0:
		return "expired"
	case ended:
		return "completed"
	}
	return "in_progress"
}

// window is the one completion window that there is.
const window = "24h"

// batchRequest asks for a batch.
type batchRequest struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata"`
}

// check returns the field that is wrong, and what is wrong with it.
func (q batchRequest) check() (param, reason string) {
	if _, err := taskOf(q.Endpoint); err != nil {
		var paths []string
		for _, e := range endpoints() {
			if e.batch {
				paths = append(paths, e.path)
			}
		}
		return "endpoint", "endpoint: must be one of " + strings.Join(paths, ", ")
	}
	if q.CompletionWindow != window {
		return "completion_window", "completion_window: must be " + window
	}
	if len(q.Metadata) > 16 {
		return "metadata", "metadata: may have 16 names"
	}
	for name, value := range q.Metadata {
		if len(name) > 64 || len(value) > 512 || strings.ContainsRune(name+value, 0) {
			return "metadata", "metadata: a name may have 64 bytes and a value 512, without NUL"
		}
	}
	return "", ""
}

func (f *FrontDoor) createBatch(w http.ResponseWriter, r *http.Request) {
	var q batchRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		fail(w, http.StatusBadRequest, "", "", "the body must be a JSON object with input_file_id, endpoint and completion_window")
		return
	}
	if param, reason := q.check(); reason != "" {
		fail(w, http.StatusBadRequest, "", param, reason)
		return
	}
	account, ok := accountOf(r)
	if !ok {
		fail(w, http.StatusForbidden, "", "", "the token is for another account")
		return
	}
	file, err := f.file(r, q.InputFileID)
	if errors.Is(err, ErrNoFile) {
		fail(w, http.StatusBadRequest, "", "input_file_id", "input_file_id: there is no such file")
		return
	}
	if err == nil && file.Purpose != "batch" {
		fail(w, http.StatusBadRequest, "", "input_file_id", fmt.Sprintf("input_file_id: the file's purpose must be batch, got %s", file.Purpose))
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || !storable(key) {
		fail(w, http.StatusBadRequest, "", "", badKey)
		return
	}
	now := time.Now().Truncate(time.Second)
	b := Batch{
		ID: batchID(access.From(r.Context()), account, key), Account: account, Endpoint: q.Endpoint, InputFileID: q.InputFileID, Metadata: q.Metadata,
		CreatedAt: now, ExpiresAt: now.Add(jobs.DefaultDeadline),
	}
	if b.Metadata == nil {
		b.Metadata = map[string]string{}
	}
	if err == nil {
		b, err = f.cfg.Stores.Batches.AddAPIBatch(r.Context(), b, isRetry(r))
	}
	if errors.Is(err, ErrOtherBody) {
		fail(w, http.StatusUnprocessableEntity, "", "", ErrOtherBody.Error())
		return
	}
	if err != nil {
		f.broken(w, r, err)
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	f.showBatch(w, r, b)
}

// batchID is the id of a new batch: the same for the same idempotency key of a caller.
func batchID(p access.Principal, account, key string) string {
	if key == "" {
		return newID("batch_")
	}
	return "batch_" + hexOf(sha256.Sum256([]byte(p.Name + "\n" + account + "\n" + key)))[:32]
}

// isRetry reports whether a vendor's client says that it has sent this before.
func isRetry(r *http.Request) bool {
	n := r.Header.Get("X-Stainless-Retry-Count")
	return n != "" && n != "0"
}

// batch reads the batch of an id, if whoever asks may see it.
func (f *FrontDoor) batch(r *http.Request, id string) (Batch, error) {
	if batches.CheckID(id) != nil {
		return Batch{}, ErrNoBatch
	}
	b, err := f.cfg.Stores.Batches.APIBatch(r.Context(), id)
	if err == nil && !access.From(r.Context()).Sees(b.Account) {
		err = ErrNoBatch
	}
	return b, err
}

// showBatch answers with a batch.
func (f *FrontDoor) showBatch(w http.ResponseWriter, r *http.Request, b Batch) {
	o, err := f.standing(r, b)
	answerOr(f, w, r, err, o)
}

// standing is a batch with where its jobs stand.
func (f *FrontDoor) standing(r *http.Request, b Batch) (batchObject, error) {
	p, err := f.cfg.Stores.Jobs.Progress(r.Context(), b.ID)
	if errors.Is(err, jobs.ErrNotFound) {
		return b.object(jobs.Progress{}, false), nil
	}
	return b.object(p, true), err
}

func (f *FrontDoor) getBatch(w http.ResponseWriter, r *http.Request) {
	b, err := f.fileBatch(r)
	if err != nil {
		f.broken(w, r, err)
		return
	}
	f.showBatch(w, r, b)
}

func (f *FrontDoor) listBatches(w http.ResponseWriter, r *http.Request) {
	p, ok := asked(r)
	if !ok {
		fail(w, http.StatusBadRequest, "", "limit", "limit: must be from 1 to 10000; after: must be a batch's id")
		return
	}
	limit := p.Limit
	p.Limit++
	all, err := f.cfg.Stores.Batches.APIBatches(r.Context(), p)
	var objects []batchObject
	for _, b := range all {
		if err != nil {
			break
		}
		var o batchObject
		o, err = f.standing(r, b)
		objects = append(objects, o)
	}
	answerOr(f, w, r, err, page(objects, limit, func(o batchObject) string { return o.ID }))
}

// fileBatch reads the batch that a path names, if it is none of messages.
func (f *FrontDoor) fileBatch(r *http.Request) (Batch, error) {
	b, err := f.batch(r, r.PathValue("id"))
	if err == nil && b.Endpoint == messagesPath {
		err = ErrNoBatch
	}
	return b, err
}

func (f *FrontDoor) cancelBatch(w http.ResponseWriter, r *http.Request) {
	b, err := f.fileBatch(r)
	if err == nil {
		var o batchObject
		if o, err = f.standing(r, b); err == nil && (o.Status == "completed" || o.Status == "failed" || o.Status == "expired" || o.Status == "cancelled") {
			fail(w, http.StatusConflict, "", "", "Cannot cancel a batch with status '"+o.Status+"'.")
			return
		}
	}
	if err == nil {
		b, err = f.stop(r, b)
	}
	if err != nil {
		f.broken(w, r, err)
		return
	}
	f.showBatch(w, r, b)
}

// stop cancels a batch. The mark first: whoever takes its rows in just now looks for it before
// each chunk.
func (f *FrontDoor) stop(r *http.Request, b Batch) (Batch, error) {
	if err := f.cfg.Stores.Batches.CancelAPIBatch(r.Context(), b.ID); err != nil {
		return b, err
	}
	if err := f.cfg.Stores.Jobs.StopJobs(r.Context(), b.ID); err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return b, err
	}
	return f.batch(r, b.ID)
}

func (f *FrontDoor) listModels(w http.ResponseWriter, _ *http.Request) {
	l := list[modelObject]{Object: "list", Data: []modelObject{}}
	for _, m := range f.cfg.Models() {
		l.Data = append(l.Data, modelObject{m.Name, "model", 0, m.Owner})
	}
	answer(w, http.StatusOK, l)
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (f *FrontDoor) getModel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("id")
	provider, _, err := f.cfg.Providers("", name)
	if err != nil || !utf8.ValidString(name) {
		fail(w, http.StatusNotFound, "model_not_found", "model", "there is no such model")
		return
	}
	answer(w, http.StatusOK, modelObject{name, "model", 0, provider})
}

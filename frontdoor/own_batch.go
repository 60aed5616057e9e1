package frontdoor

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/billing"
	"oneflow/jobs"
)

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
		if release, err = f.receiving.forUpload(r.Context()); err == nil {
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

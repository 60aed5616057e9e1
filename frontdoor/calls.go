package frontdoor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
)

const (
	// defaultTimeout is the time for which a client waits that names none, a minute less than the
	// vendors' own clients do.
	defaultTimeout         = 9 * time.Minute
	minTimeout, maxTimeout = time.Second, time.Hour
	// keepAlive is the time between two signs of life of a stream that waits.
	keepAlive = 10 * time.Second
	// maxWaiting bounds what is counted of a queue.
	maxWaiting = 100_000
)

// asking is a call as it came.
type asking struct {
	endpoint endpoint
	body     json.RawMessage // without what asks for a stream
	sum      [sha256.Size]byte
	streams  bool
	options  streamOptions
	account  string
	lane     jobs.Lane
	timeout  time.Duration
	keep     bool
	again    bool
	key      string // idempotency
	// batch is the one that the call is put into, with its tags; empty: none.
	batch string
	tags  map[string]string
	// row is a call that has no body of JSON, as a row has it; plain asks for its text alone.
	row   map[string]json.RawMessage
	plain bool
}

// refusal is a call that is not taken.
type refusal struct {
	status int
	reason string
	after  time.Duration // when to try again; 0: nothing is known
}

func (e *refusal) Error() string { return e.reason }

// call takes a call in as a job, waits for its end and answers with it.
func (f *FrontDoor) call(w http.ResponseWriter, r *http.Request, e endpoint) {
	ask, id, err := f.accept(r, e)
	if err != nil {
		f.notTaken(w, r, e, err)
		return
	}
	w.Header().Set("X-Oneflow-Job", id.String())
	w.Header().Set("X-Request-Id", id.String())
	if ask.streams {
		f.answerStream(w, r, ask, id)
		return
	}
	if !f.wait(r.Context(), ask, id) {
		e.refuse(w, r, http.StatusGatewayTimeout, "the job was not done in time")
		return
	}
	res, err := f.result(r.Context(), id)
	res.plain = ask.plain
	switch {
	case err != nil:
		f.notTaken(w, r, e, err)
	case res.failed():
		// The job has had all its tries: the client's own would buy nothing, or buy twice.
		// One that was stopped as the client left, while its retry came, is made anew by the next.
		if !ask.again || res.State != jobs.Cancelled {
			w.Header().Set("X-Should-Retry", "false")
		}
		status, message := res.problem()
		e.refuse(w, r, status, message)
	default:
		e.write(f, w, r, res)
	}
}

// accept reads a call and makes a job of it. What it asks for is not kept: who waits needs it no
// more.
func (f *FrontDoor) accept(r *http.Request, e endpoint) (ask asking, id uuid.UUID, err error) {
	release, err := f.receiving.forBody(r)
	if err != nil {
		return ask, id, err
	}
	defer release()
	reads := read
	if e.form {
		reads = readSound
	}
	if ask, err = reads(r, e); err == nil {
		id, err = f.admit(r.Context(), access.From(r.Context()), ask)
	}
	ask.body, ask.row = nil, nil
	return ask, id, err
}

// notTaken answers a call that is not taken.
func (f *FrontDoor) notTaken(w http.ResponseWriter, r *http.Request, e endpoint, err error) {
	if no, ok := errors.AsType[*refusal](err); ok {
		if no.after > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.after.Seconds()))))
		}
		e.refuse(w, r, no.status, no.reason)
		return
	}
	if r.Context().Err() != nil {
		return
	}
	f.cfg.Log.Warn().Err(err).Str("path", r.URL.Path).Msg("call of a program failed")
	e.refuse(w, r, http.StatusServiceUnavailable, "the database does not answer")
}

// read reads a call.
func read(r *http.Request, e endpoint) (ask asking, err error) {
	body, err := io.ReadAll(r.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return ask, &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("the request is larger than %d MB", maxCall>>20)}
	}
	if err != nil {
		return ask, &refusal{status: http.StatusBadRequest, reason: "the body cannot be read to its end"}
	}
	// Names that stand twice, halves of characters and what nests without end are refused
	// here: what comes after would take them in its own way.
	fields, err := rows.Object(body)
	if err != nil {
		return ask, &refusal{status: http.StatusBadRequest, reason: "the body must be a JSON object: " + rows.Printable(err)}
	}
	ask = asking{endpoint: e, body: body, lane: jobs.High, timeout: defaultTimeout, again: isRetry(r), keep: r.Header.Get("X-Oneflow-Keep") != ""}
	ask.sum = sha256.Sum256(append([]byte(e.path+"\n"), body...))
	if raw := fields["stream"]; raw != nil {
		ask.streams = string(raw) == "true"
		_ = json.Unmarshal(fields["stream_options"], &ask.options) // what is not there is false
		delete(fields, "stream")
		delete(fields, "stream_options")
		ask.body = encoded(fields)
	}
	if ask.streams && e.stream == nil {
		return ask, &refusal{status: http.StatusBadRequest, reason: "stream: this endpoint answers as a whole"}
	}
	return ask, ask.headers(r)
}

// headers reads what the headers say.
func (a *asking) headers(r *http.Request) error {
	var ok bool
	if a.account, ok = accountOf(r); !ok {
		return &refusal{status: http.StatusForbidden, reason: "X-OneFlow-Account: the token is for another account"}
	}
	a.key = cmp.Or(r.Header.Get("Idempotency-Key"), r.Header.Get("X-Oneflow-Idempotency"))
	if len(a.key) > maxKey || !storable(a.key) {
		return &refusal{status: http.StatusBadRequest, reason: badKey}
	}
	// The vendors' clients say how long they wait.
	for _, name := range []string{"X-Stainless-Timeout", "X-Oneflow-Deadline"} {
		s := r.Header.Get(name)
		if s == "" {
			continue
		}
		d, err := time.ParseDuration(s)
		if seconds, bad := strconv.ParseFloat(s, 64); bad == nil && seconds > 0 && seconds < maxTimeout.Seconds()*24 {
			d, err = time.Duration(seconds*float64(time.Second)), nil
		}
		if err != nil || d <= 0 {
			return &refusal{status: http.StatusBadRequest, reason: name + ": must be seconds, such as 600"}
		}
		a.timeout = min(max(d, minTimeout), maxTimeout)
	}
	if lane := jobs.Lane(r.Header.Get("X-Oneflow-Priority")); lane != "" {
		if lane != jobs.High && lane != jobs.Default && lane != jobs.Bulk {
			return &refusal{status: http.StatusBadRequest, reason: "X-OneFlow-Priority: must be high, default or bulk"}
		}
		a.lane = lane
	}
	return a.batchHeaders(r)
}

// batchHeaders reads which batch a call is put into, and the batch's tags.
func (a *asking) batchHeaders(r *http.Request) (err error) {
	a.batch = r.Header.Get("X-Oneflow-Batch")
	if a.batch != "" && batches.CheckID(a.batch) != nil {
		return &refusal{status: http.StatusBadRequest, reason: "X-OneFlow-Batch: must be letters, digits, '.', '_' and '-', 64 at most"}
	}
	var list []string
	for _, value := range r.Header.Values("X-Oneflow-Tags") {
		list = append(list, strings.Split(value, ",")...)
	}
	if len(list) > 0 && a.batch == "" {
		return &refusal{status: http.StatusBadRequest, reason: "X-OneFlow-Tags: are those of a batch, which X-OneFlow-Batch names"}
	}
	a.tags, err = tagsOf("X-OneFlow-Tags", list)
	return err
}

// job makes the job of a call.
func (f *FrontDoor) job(ask asking) (jobs.New, error) {
	if ask.row != nil {
		return f.soundJob(ask)
	}
	provider, body, err := route(f.cfg.Providers, ask.endpoint.path, ask.body)
	if err != nil {
		return jobs.New{}, &refusal{status: http.StatusNotFound, reason: err.Error()}
	}
	in := f.input(ask)
	in.Shape = batches.ShapeOpenAI
	job, err := in.One(map[string]json.RawMessage{
		"url": encoded(ask.endpoint.path), "body": body, "provider": encoded(provider), "lane": encoded(ask.lane),
	})
	if err != nil {
		return job, &refusal{status: http.StatusBadRequest, reason: strings.TrimPrefix(err.Error(), "body.")}
	}
	return job, nil
}

// input says how a call becomes a job.
func (f *FrontDoor) input(ask asking) batches.Input {
	in := f.cfg.Input
	in.Account, in.Deadline = ask.account, time.Now().Add(ask.timeout)
	return in
}

// wait waits for a job's end; ok is false where it did not come in time. The job of a
// client that has gone away is stopped, unless its call was sent or it is to be kept.
func (f *FrontDoor) wait(ctx context.Context, ask asking, id uuid.UUID) (ok bool) {
	ended, leave := f.ended.wait(id)
	defer leave()
	// Its own deadline ends the job; this is for a database that does not say so.
	late := time.NewTimer(ask.timeout + time.Minute)
	defer late.Stop()
	select {
	case <-ended:
		return true
	case <-late.C:
		return false
	case <-ctx.Done():
		f.abandoned(context.WithoutCancel(ctx), ask, id)
		return false
	}
}

// abandoned stops the job of a client that has gone away.
func (f *FrontDoor) abandoned(ctx context.Context, ask asking, id uuid.UUID) {
	if ask.keep || ask.key != "" || ask.again {
		return // somebody may come for it
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if joined, err := f.cfg.Stores.Calls.CallJoined(ctx, id); joined && err == nil {
		return // its retry waits for it
	}
	if err := f.cfg.Stores.Jobs.StopJobs(ctx, id.String()); err != nil {
		f.cfg.Log.Warn().Err(err).Stringer("job", id).Msg("job of a client that has gone away was not stopped")
	}
}

// result reads what came of a job.
func (f *FrontDoor) result(ctx context.Context, id uuid.UUID) (result, error) {
	var res result
	err := f.cfg.Stores.Jobs.Export(ctx, id.String(), func(r batches.Record) error {
		res = result{Record: r}
		return nil
	})
	if errors.Is(err, jobs.ErrNotFound) {
		return res, &refusal{status: http.StatusGone, reason: "the job was removed"}
	}
	return res, err
}

func hexOf(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

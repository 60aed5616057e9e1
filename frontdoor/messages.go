package frontdoor

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
	"unicode/utf8"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/jobs"
)

const (
	messageBatchesPath = messagesPath + "/batches"
	// maxMessages and maxMessagesBody bound a batch of messages, as the vendor does.
	maxMessages     = 100_000
	maxMessagesBody = 256 << 20
)

// messageRoutes are those of batches of messages, as Anthropic has them.
func (f *FrontDoor) messageRoutes() []access.Route {
	route := func(pattern string, scope access.Scope, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: scope, Record: scope != access.Read, Slow: scope == access.Read, Refuse: refuseAnthropic, Handle: h}
	}
	create := route("POST "+messageBatchesPath, access.Enqueue, f.createMessageBatch)
	create.Body, create.Slow = maxMessagesBody, true
	return []access.Route{
		create,
		route("GET "+messageBatchesPath, access.Read, f.listMessageBatches),
		route("GET "+messageBatchesPath+"/{id}", access.Read, f.getMessageBatch),
		route("POST "+messageBatchesPath+"/{id}/cancel", access.Enqueue, f.cancelMessageBatch),
		route("GET "+messageBatchesPath+"/{id}/results", access.Read, f.messageResults),
	}
}

// messageBatch is a batch of messages as Anthropic has it.
type messageBatch struct {
	ID                string        `json:"id"`
	Type              string        `json:"type"`
	ProcessingStatus  string        `json:"processing_status"`
	RequestCounts     messageCounts `json:"request_counts"`
	CreatedAt         time.Time     `json:"created_at"`
	ExpiresAt         time.Time     `json:"expires_at"`
	EndedAt           *time.Time    `json:"ended_at"`
	CancelInitiatedAt *time.Time    `json:"cancel_initiated_at"`
	ArchivedAt        *time.Time    `json:"archived_at"`
	// ResultsURL is a path: clients put their base before it, whatever proxies are between.
	ResultsURL *string `json:"results_url"`
}

type messageCounts struct {
	Processing int64 `json:"processing"`
	Succeeded  int64 `json:"succeeded"`
	Errored    int64 `json:"errored"`
	Canceled   int64 `json:"canceled"`
	Expired    int64 `json:"expired"`
}

// messages returns the batch in Anthropic's words.
func (b Batch) messages(p jobs.Progress, taken bool) messageBatch {
	o := messageBatch{
		ID: b.ID, Type: "message_batch", ProcessingStatus: "in_progress", CreatedAt: b.CreatedAt.UTC(), ExpiresAt: b.ExpiresAt.UTC(),
		RequestCounts: messageCounts{
			Processing: p.Total() - p.Done(), Succeeded: p.Counts[jobs.Succeeded], Errored: p.Counts[jobs.Failed] + p.Counts[jobs.Unknown],
			Canceled: p.Counts[jobs.Cancelled], Expired: p.Counts[jobs.Expired],
		},
	}
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	o.CancelInitiatedAt = at(b.CancelledAt)
	switch b.status(p, taken) {
	case "completed", "expired", "cancelled", "failed":
		o.ProcessingStatus, o.EndedAt = "ended", at(p.FinishedAt)
		if o.EndedAt == nil {
			o.EndedAt = at(b.CancelledAt)
		}
		url := messageBatchesPath + "/" + b.ID + "/results"
		o.ResultsURL = &url
	case "cancelling":
		o.ProcessingStatus = "canceling"
	}
	return o
}

// createMessageBatch takes a batch: its requests are lines of a file, as those of the other
// vendor's batches are.
func (f *FrontDoor) createMessageBatch(w http.ResponseWriter, r *http.Request) {
	b, n, err := f.newMessageBatch(r)
	if err != nil {
		if bad, ok := errors.AsType[*formError](err); ok {
			err = &refusal{status: bad.status, reason: bad.reason}
		}
		f.notTaken(w, r, endpoint{refuse: refuseAnthropic}, err)
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	o := b.messages(jobs.Progress{}, false)
	o.RequestCounts.Processing = n
	answer(w, http.StatusOK, o)
}

func (f *FrontDoor) newMessageBatch(r *http.Request) (b Batch, n int64, err error) {
	account, ok := accountOf(r)
	if !ok {
		return b, 0, &refusal{status: http.StatusForbidden, reason: "the token is for another account"}
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || !storable(key) {
		return b, 0, &refusal{status: http.StatusBadRequest, reason: badKey}
	}
	release, err := f.receiving.forUpload(r.Context())
	if err != nil {
		return b, 0, err
	}
	defer release()
	kept, err := os.CreateTemp("", "oneflow-upload-*")
	if err != nil {
		return b, 0, err
	}
	defer func() { _ = kept.Close() }()
	if err := os.Remove(kept.Name()); err != nil {
		return b, 0, err
	}
	sum := sha256.New()
	size, n, err := messageLines(r.Body, io.MultiWriter(kept, sum))
	if err != nil {
		return b, n, err
	}
	file := File{
		ID: "file-" + hexOf(sha256.Sum256(append([]byte(account+"\n"), sum.Sum(nil)...)))[:32], Account: account, Filename: "messages.jsonl", Purpose: "batch", Bytes: size,
		CreatedAt: time.Now().Truncate(time.Second),
	}
	file.ExpiresAt = file.CreatedAt.Add(keptFor)
	b = Batch{
		ID: batchID(access.From(r.Context()), account, key), Account: account, Endpoint: messagesPath, InputFileID: file.ID, Metadata: map[string]string{},
		CreatedAt: file.CreatedAt, ExpiresAt: file.CreatedAt.Add(jobs.DefaultDeadline),
	}
	b.ID = "msg" + b.ID
	if err := f.keepMessages(r, b, file, kept); err != nil {
		return b, n, err
	}
	made, err := f.cfg.Stores.Batches.AddAPIBatch(r.Context(), b, isRetry(r))
	return made, n, otherBody(err)
}

// keepMessages checks the lines, and keeps them for whoever takes them in.
func (f *FrontDoor) keepMessages(r *http.Request, b Batch, file File, kept io.ReadSeeker) error {
	ctx := r.Context()
	if _, err := f.cfg.Stores.Files.File(ctx, file.ID); !errors.Is(err, ErrNoFile) {
		return err // it was brought before
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return err
	}
	faults, err := f.faultsIn(ctx, b, func(do func(batches.Input, rows.Source) error) error {
		return f.readRows(ctx, b, file.Filename, kept, do)
	})
	switch {
	case err != nil:
		return err
	case len(faults) > 0 && faults[0].Line != nil:
		return &refusal{status: http.StatusBadRequest, reason: fmt.Sprintf("requests.%d: %s", *faults[0].Line-1, faults[0].Message)}
	case len(faults) > 0:
		return &refusal{status: http.StatusBadRequest, reason: "requests: " + faults[0].Message}
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if file.URL, err = f.cfg.Objects.Keep(ctx, "uploads/"+file.ID, kept, file.Bytes, "application/octet-stream"); err != nil {
		return err
	}
	return f.cfg.Stores.Files.AddFile(ctx, file)
}

// messageLines writes each request of a body as a line, one after the other: the body may
// be larger than what is to be in memory.
func messageLines(body io.Reader, to io.Writer) (size, n int64, err error) {
	d := json.NewDecoder(body)
	bad := func(reason string) error { return &refusal{status: http.StatusBadRequest, reason: reason} }
	expect := func(want json.Token) bool {
		var got json.Token
		got, err = d.Token()
		return err == nil && got == want
	}
	// A body that ends early, or is too long, says so itself.
	ended := func(reason string) error {
		if err != nil {
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				return &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("a batch may have %d MB", maxMessagesBody>>20)}
			}
		}
		return bad(reason)
	}
	const form = "the body must be a JSON object with requests, a list of objects with custom_id and params"
	if !expect(json.Delim('{')) || !expect("requests") || !expect(json.Delim('[')) {
		return 0, 0, ended(form)
	}
	lines := bufio.NewWriter(to)
	for ; d.More(); n++ {
		var raw json.RawMessage
		if err = d.Decode(&raw); err != nil || len(raw) > maxCall {
			return size, n, ended(form)
		}
		if n == maxMessages {
			return size, n, bad(fmt.Sprintf("requests: a batch may have %d", maxMessages))
		}
		line, err := messageLine(raw)
		if err != nil {
			return size, n, bad(fmt.Sprintf("requests.%d: %s", n, rows.Printable(err)))
		}
		size += int64(len(line))
		if _, err := lines.Write(line); err != nil {
			return size, n, err
		}
	}
	if !expect(json.Delim(']')) || !expect(json.Delim('}')) {
		return size, n, ended(form)
	}
	if n == 0 {
		return size, n, bad("requests: must have at least one")
	}
	return size, n, lines.Flush()
}

// messageLine is a request as a line of a batch's file has it.
func messageLine(raw json.RawMessage) ([]byte, error) {
	fields, err := rows.Object(raw)
	if err != nil {
		return nil, err
	}
	for name := range fields {
		if name != "custom_id" && name != "params" {
			return nil, fmt.Errorf("%.40q: there is no such field; a request has custom_id and params", name)
		}
	}
	if fields["custom_id"] == nil || fields["params"] == nil {
		return nil, errors.New("custom_id and params are needed")
	}
	var line bytes.Buffer
	err = json.Compact(&line, encoded(map[string]json.RawMessage{
		"custom_id": fields["custom_id"], "method": encoded(http.MethodPost), "url": encoded(messagesPath), "body": fields["params"],
	}))
	line.WriteByte('\n')
	return line.Bytes(), err
}

// messageBatchOf reads the batch that a path names, if it is one of messages and whoever
// asks may see it.
func (f *FrontDoor) messageBatchOf(r *http.Request) (Batch, error) {
	b, err := f.batch(r, r.PathValue("id"))
	if err == nil && b.Endpoint != messagesPath {
		err = ErrNoBatch
	}
	return b, err
}

// progressOf counts a batch's jobs by state; taken reports whether it has any.
func (f *FrontDoor) progressOf(r *http.Request, b Batch) (p jobs.Progress, taken bool, err error) {
	p, err = f.cfg.Stores.Jobs.Progress(r.Context(), b.ID)
	if errors.Is(err, jobs.ErrNotFound) {
		return jobs.Progress{}, false, nil
	}
	return p, true, err
}

// showMessages answers with a batch, or with the error.
func (f *FrontDoor) showMessages(w http.ResponseWriter, r *http.Request, b Batch, err error) {
	var p jobs.Progress
	taken := false
	if err == nil {
		p, taken, err = f.progressOf(r, b)
	}
	if err != nil {
		f.messagesBroken(w, r, err)
		return
	}
	answer(w, http.StatusOK, b.messages(p, taken))
}

func (f *FrontDoor) messagesBroken(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrNoBatch) {
		refuseAnthropic(w, r, http.StatusNotFound, "there is no such message batch")
		return
	}
	f.notTaken(w, r, endpoint{refuse: refuseAnthropic}, err)
}

func (f *FrontDoor) getMessageBatch(w http.ResponseWriter, r *http.Request) {
	b, err := f.messageBatchOf(r)
	f.showMessages(w, r, b, err)
}

func (f *FrontDoor) cancelMessageBatch(w http.ResponseWriter, r *http.Request) {
	b, err := f.messageBatchOf(r)
	if err == nil {
		b, err = f.stop(r, b)
	}
	f.showMessages(w, r, b, err)
}

func (f *FrontDoor) listMessageBatches(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := asked(r)
	p.After, p.Endpoint = q.Get("after_id"), messagesPath
	if !ok || len(p.After) > 100 || !utf8.ValidString(p.After) || !storable(p.After) || q.Get("before_id") != "" {
		refuseAnthropic(w, r, http.StatusBadRequest, "limit: must be from 1 to 1000; after_id: must be a batch's id; before_id is not known here")
		return
	}
	limit := p.Limit
	p.Limit++
	all, err := f.cfg.Stores.Batches.APIBatches(r.Context(), p)
	var objects []messageBatch
	for _, b := range all {
		if err != nil {
			break
		}
		var where jobs.Progress
		var taken bool
		where, taken, err = f.progressOf(r, b)
		objects = append(objects, b.messages(where, taken))
	}
	if err != nil {
		f.messagesBroken(w, r, err)
		return
	}
	answer(w, http.StatusOK, page(objects, limit, func(o messageBatch) string { return o.ID }))
}

// messageResults sends what came of a batch that has ended, a line a request.
func (f *FrontDoor) messageResults(w http.ResponseWriter, r *http.Request) {
	b, err := f.messageBatchOf(r)
	var p jobs.Progress
	taken := false
	if err == nil {
		p, taken, err = f.progressOf(r, b)
	}
	if err == nil && b.messages(p, taken).ResultsURL == nil {
		err = &refusal{status: http.StatusConflict, reason: "the batch has not ended: its results are not there yet"}
	}
	if err != nil {
		f.messagesBroken(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-jsonl")
	if !taken {
		return // it was cancelled before it had any
	}
	e := batches.Export{Format: batches.FormatAnthropic}
	if _, err := e.Write(r.Context(), f.cfg.Stores.Jobs, b.ID, w); err != nil {
		f.cfg.Log.Warn().Err(err).Str("batch", b.ID).Msg("batch output broke off")
		panic(http.ErrAbortHandler) // a whole file was promised
	}
}

package store_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"oneflow/jobs"
	"oneflow/store"
	"oneflow/webhooks"
)

// told are the events about a batch, and of its jobs, by type.
func (w *database) told(t *testing.T) map[string]int {
	t.Helper()
	list, err := w.Webhooks(t.Context(), store.WebhookFilter{Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, e := range list {
		n[e.Type]++
	}
	return n
}

func (w *database) tellsOf(t *testing.T, id string, perJob bool) {
	t.Helper()
	if err := w.OpenBatch(t.Context(), jobs.Batch{ID: id, Account: "default", Webhook: "https://example.com/" + id + "?token=geheim", PerJob: perJob}); err != nil {
		t.Fatal(err)
	}
}

func (w *database) endBatches(t *testing.T) int {
	t.Helper()
	n, err := w.EndBatches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fails ends a job's claim as failed.
func (w *database) fails(t *testing.T, j *jobs.Job) {
	t.Helper()
	if _, err := w.Complete(t.Context(), jobs.Completion{JobID: j.ID, LeaseToken: j.LeaseToken, State: jobs.Failed, Class: "moderated", Message: "no"}); err != nil {
		t.Fatal(err)
	}
}

func (w *database) succeeds(t *testing.T, j *jobs.Job) {
	t.Helper()
	if err := w.Succeed(t.Context(), success(j, w.sent(t, j, nano(10)), nano(10))); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndOfABatchAndOfEachOfItsJobsIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.tellsOf(t, "b", true)
	w.tellsOf(t, "quiet", false)
	list, quiet := w.batch(t, "b", 3), w.batch(t, "quiet", 1)
	w.succeeds(t, w.mustClaim(t, quiet[0]))
	w.succeeds(t, w.mustClaim(t, list[0]))
	w.fails(t, w.mustClaim(t, list[1]))
	running := w.mustClaim(t, list[2])
	if diff := cmp.Diff(map[string]int{"job.succeeded": 1, "job.failed": 1}, w.told(t)); diff != "" {
		t.Error(diff)
	}
	if n := w.endBatches(t); n != 0 {
		t.Errorf("%d batches have ended, none is sealed", n)
	}
	for _, id := range []string{"b", "quiet"} {
		if err := w.SealBatch(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.endBatches(t); n != 1 {
		t.Errorf("%d batches have ended, want the quiet one", n)
	}
	w.succeeds(t, running)
	var ended atomic.Int64
	together(8, func(int) {
		n, err := w.EndBatches(ctx)
		if err != nil {
			t.Error(err)
		}
		ended.Add(int64(n))
	})
	if ended.Load() != 1 {
		t.Errorf("the end of one batch was noted %d times", ended.Load())
	}
	if diff := cmp.Diff(map[string]int{"job.succeeded": 2, "job.failed": 1, "batch.partial": 1, "batch.finished": 1}, w.told(t)); diff != "" {
		t.Error(diff)
	}
	var body struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			BatchID string           `json:"batch_id"`
			State   string           `json:"state"`
			Jobs    int64            `json:"jobs"`
			Counts  map[string]int64 `json:"counts"`
			Cost    string           `json:"cost_usd"`
		} `json:"data"`
	}
	var payload string
	if err := w.sql.QueryRow(ctx, `SELECT payload FROM webhook_events WHERE type = 'batch.partial'`).Scan(&payload); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(payload), &body); err != nil || body.Data.Jobs != 3 || body.Data.Counts["failed"] != 1 || body.Data.Cost != "0.00000002" || body.Timestamp.IsZero() {
		t.Errorf("%s: %+v, %v", payload, body, err)
	}
	if err := w.sql.QueryRow(ctx, `SELECT payload FROM webhook_events WHERE type = 'job.failed'`).Scan(&payload); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(payload, `"error": "moderated"`) || !strings.Contains(payload, list[1].ID.String()) || strings.Contains(payload, "prompt") {
		t.Error(payload)
	}
	w.holds(t)
}

// Whoever brings jobs back lets the batch end anew, which is told anew: so do new rows and
// an answer that comes late.
func TestABatchThatGoesOnIsToldOfAgain(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.tellsOf(t, "b", false)
	list := w.batch(t, "b", 2)
	w.fails(t, w.mustClaim(t, list[0]))
	late := w.mustClaim(t, list[1])
	call := w.sent(t, late, nano(10))
	if _, err := w.Complete(ctx, jobs.Completion{JobID: late.ID, LeaseToken: late.LeaseToken, State: jobs.Unknown, Class: "unknown", Message: "?"}); err != nil {
		t.Fatal(err)
	}
	if err := w.SealBatch(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	w.endBatches(t)
	w.endBatches(t)
	if diff := cmp.Diff(map[string]int{"batch.partial": 1}, w.told(t)); diff != "" {
		t.Error(diff)
	}

	if err := w.Succeed(ctx, success(late, call, nano(10))); err != nil {
		t.Fatal(err)
	}
	w.endBatches(t)
	if diff := cmp.Diff(map[string]int{"batch.partial": 2}, w.told(t)); diff != "" {
		t.Errorf("after an answer that came late: %s", diff)
	}

	if _, err := w.Retry(ctx, "b", []jobs.State{jobs.Failed}, ""); err != nil {
		t.Fatal(err)
	}
	if n := w.endBatches(t); n != 0 {
		t.Error("a batch with a job that was brought back has ended")
	}
	again := list[0]
	again.Gen = 2
	w.succeeds(t, w.mustClaim(t, again))
	w.endBatches(t)
	if diff := cmp.Diff(map[string]int{"batch.partial": 2, "batch.finished": 1}, w.told(t)); diff != "" {
		t.Errorf("after a retry: %s", diff)
	}

	more := rows(t, 3, nil)[2:]
	if _, err := w.AcceptJobs(ctx, "b", more, true); err != nil {
		t.Fatal(err)
	}
	if n := w.endBatches(t); n != 0 {
		t.Error("a batch that takes rows again has ended")
	}
	if _, err := w.Cancel(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	w.endBatches(t)
	if diff := cmp.Diff(map[string]int{"batch.partial": 2, "batch.finished": 1, "batch.cancelled": 1}, w.told(t)); diff != "" {
		t.Errorf("after a cancellation: %s", diff)
	}
	w.holds(t)
}

// Whatever retries and ends do at the same time, the last end is told of.
func TestNoEndOfABatchIsLostBesideRetries(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.tellsOf(t, "b", true)
	d := w.batch(t, "b", 1)[0]
	if err := w.SealBatch(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	for gen := 1; gen <= 20; gen++ {
		d.Gen = gen
		w.fails(t, w.mustClaim(t, d))
		together(2, func(i int) {
			var err error
			if i == 0 {
				_, err = w.EndBatches(ctx)
			} else {
				_, err = w.Retry(ctx, "b", []jobs.State{jobs.Failed}, "")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	d.Gen = 21
	w.succeeds(t, w.mustClaim(t, d))
	w.endBatches(t)
	if told := w.told(t); told["batch.finished"] != 1 || told["job.failed"] != 20 || told["job.succeeded"] != 1 {
		t.Error(told)
	}
}

func TestAnEventIsSomebodysAloneForItsLeaseAndEndsOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	for _, url := range []string{"https://a", "https://b", "https://c"} {
		w.exec(t, `SELECT add_webhook($1, 'test', 'x' || n, '{}') FROM generate_series(1, 30) n`, url)
	}
	var had atomic.Int64
	seen := map[uuid.UUID]bool{}
	together(4, func(int) {
		list, err := w.DueWebhooks(ctx, []string{"https://b"}, 100, 10, time.Minute)
		if err != nil {
			t.Error(err)
		}
		had.Add(int64(len(list)))
	})
	if had.Load() != 60 {
		t.Errorf("%d events of a and c were had, want each once", had.Load())
	}
	list, err := w.DueWebhooks(ctx, []string{}, 20, 10, time.Minute)
	if err != nil || len(list) != 20 {
		t.Fatalf("%d, %v", len(list), err)
	}
	for _, e := range list {
		seen[e.ID] = true
	}
	if len(seen) != 20 || list[0].URL != "https://b" {
		t.Errorf("%d of %s", len(seen), list[0].URL)
	}
	id := list[0].ID
	for _, try := range []webhooks.Try{{Status: 500, Error: "no", Again: time.Hour}, {Delivered: true, Status: 204}, {Status: 500, Error: "late", Again: time.Hour}} {
		if err := w.EndWebhookTry(ctx, id, try); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.Webhooks(ctx, store.WebhookFilter{ID: list[0].Subject, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.ID == id && (e.State() != "delivered" || e.Tries != 2 || e.Status != 204) {
			t.Errorf("%+v", e)
		}
	}
	if err := w.ResendWebhook(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := w.ResendWebhook(ctx, uuid.New()); !errors.Is(err, jobs.ErrNotFound) {
		t.Error(err)
	}
	if n, err := w.HoldWebhooks(ctx, "no secret"); n != 90 || err != nil {
		t.Error(n, err)
	}
	w.exec(t, `UPDATE webhook_events SET created_at = now() - interval '40 days' WHERE url = 'https://c'`)
	w.exec(t, `UPDATE webhook_events SET ended_at = now() - interval '40 days' WHERE url = 'https://a'`)
	if err := w.ForgetWebhooks(ctx, 30*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if a, c := w.count(t, `SELECT count(*) FROM webhook_events WHERE url = 'https://a'`), w.count(t, `SELECT count(*) FROM webhook_events WHERE url = 'https://c' AND ended_at IS NOT NULL`); a != 0 || c != 30 {
		t.Error(a, c)
	}
}

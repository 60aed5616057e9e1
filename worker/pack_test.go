package worker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

// embeds makes a row a text to embed, in the bulk lane.
func embeds(r *jobs.New) {
	r.Lane = jobs.Bulk
	r.Request.Task = providers.Embedding
}

// vectorFor is the vector of a prompt here: its last word, a number.
func vectorFor(prompt string) []float32 {
	var n int
	_, _ = fmt.Sscan(prompt[strings.LastIndexByte(prompt, ' ')+1:], &n)
	return []float32{float32(n), 1}
}

// embedded answers a packed call.
func embedded(req providers.Request) providers.Response {
	res := providers.Response{Provider: "svc", Model: "m", Vector: vectorFor(req.Prompt), Status: 200, FinishReason: "stop"}
	for _, prompt := range req.With {
		res.With = append(res.With, vectorFor(prompt))
	}
	res.Usage.InputTokens = int64(10 * (1 + len(req.With)))
	return res
}

// prompts are all that a call embeds.
func prompts(req providers.Request) []string { return append([]string{req.Prompt}, req.With...) }

// packs has the worker take its provider for the mock, which takes many texts in one call.
func packs(c *worker.Config) { c.Providers[0].Kind = "mock" }

// ownVector checks that a job has the vector of its own prompt.
func (f *fleet) ownVector(t *testing.T, id uuid.UUID, prompt string) {
	t.Helper()
	var stored []byte
	if err := f.sql.QueryRow(t.Context(), `SELECT vector FROM results WHERE job_id = $1`, id).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	want, _ := binary.Append(nil, binary.LittleEndian, vectorFor(prompt))
	if !slices.Equal(want, stored) {
		t.Errorf("%s has the vector %v", prompt, stored)
	}
}

func TestEmbeddingsShareCallsAndEachRowGetsItsOwnVector(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	var mu sync.Mutex
	var sizes []int
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(prompts(req)))
		return embedded(req), nil
	})
	ids := f.enqueue(t, 450, func(r *jobs.New) {
		embeds(r)
		switch {
		case r.Seq > 440: // other options
			r.Request.Dimensions = 2
		case r.Seq > 430: // another account
			r.Account = "other"
		case r.Seq > 420:
			r.OnUnknown = jobs.FailUnknown
		case r.Seq > 410: // looks into the cache, on its own
			r.Request.CacheSeconds = 60
		}
	})
	f.worker(t, s, packs)
	f.awaitAll(t, jobs.Succeeded)
	f.bulkDrained(t)
	for i, id := range ids {
		f.ownVector(t, id, fmt.Sprint("secret prompt ", i))
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(sizes)
	if n := len(sizes); n < 16 || n > 20 || sizes[n-1] != 200 {
		t.Errorf("calls of %v, want two of 200, one of each other sort, and ten alone", sizes)
	}
	if n := f.count(t, `SELECT count(DISTINCT (j.account, j.on_unknown, j.request ->> 'dimensions')) FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id GROUP BY cj.call_id ORDER BY 1 DESC LIMIT 1`); n != 1 {
		t.Errorf("a call serves jobs of %d sorts", n)
	}
	if n := f.count(t, `SELECT count(*) FROM results WHERE coalesce((usage ->> 'input_tokens')::int, 0) NOT BETWEEN 1 AND 20`); n != 0 {
		t.Errorf("%d rows have more than their part of the tokens", n)
	}
}

func TestOneRefusedTextFailsAloneInAPackedCall(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		if slices.Contains(prompts(req), "secret prompt 37") {
			return providers.Response{}, &providers.Error{Provider: "svc", Kind: providers.InvalidRequest, Billing: providers.Unbilled, Status: 400, Sent: true}
		}
		return embedded(req), nil
	})
	ids := f.enqueue(t, 100, embeds)
	f.worker(t, s, packs)
	f.await(t, ids[37], jobs.Failed)
	for i, id := range ids {
		if i != 37 {
			f.await(t, id, jobs.Succeeded)
			f.ownVector(t, id, fmt.Sprint("secret prompt ", i))
		}
	}
	f.bulkDrained(t)
	if n := len(s.made()); n > 16 {
		t.Errorf("%d calls to find one of 100", n)
	}
}

func TestPackedCallsThatFailAreTriedAgainTogether(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	var failed atomic.Int64
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		if failed.Add(1) <= 6 { // beyond the retries within one claim
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		}
		return embedded(req), nil
	})
	ids := f.enqueue(t, 60, embeds)
	f.worker(t, s, packs)
	f.awaitAll(t, jobs.Succeeded)
	f.bulkDrained(t)
	if n := len(s.made()); n > 8 {
		t.Errorf("%d calls, want 7: the jobs came back alone", n)
	}
	for i, id := range ids {
		f.ownVector(t, id, fmt.Sprint("secret prompt ", i))
	}
}

func TestAnUnknownPackedCallIsRepeatedOnceOrNotAtAllAsEachJobSays(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	var lost sync.Map
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		if _, again := lost.LoadOrStore(req.Prompt, true); !again {
			return providers.Response{}, failure(providers.Timeout, providers.BillingUnknown)
		}
		return embedded(req), nil
	})
	ids := f.enqueue(t, 40, func(r *jobs.New) {
		if embeds(r); r.Seq > 20 {
			r.OnUnknown = jobs.FailUnknown
		}
	})
	f.worker(t, s, packs)
	for i, id := range ids {
		if i < 20 {
			if got := f.await(t, id, jobs.Succeeded); fmt.Sprint(got.Outcomes) != "[unknown succeeded]" {
				t.Errorf("%+v", got)
			}
			f.ownVector(t, id, fmt.Sprint("secret prompt ", i))
		} else if got := f.await(t, id, jobs.Unknown); fmt.Sprint(got.Outcomes) != "[unknown]" {
			t.Errorf("%+v", got)
		}
	}
	storetest.Invariants(t, f.sql)
}

func TestJobsThatAreCancelledBeforeThePackedCallAreLeftOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		if slices.Contains(prompts(req), "secret prompt 3") {
			return providers.Response{}, failure(providers.Unknown, providers.Billed)
		}
		return embedded(req), nil
	})
	ids := f.enqueue(t, 10, embeds)
	stop := fmt.Sprintf(`
		CREATE FUNCTION cancels() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.state = 'running' AND NEW.job_id = '%s' THEN NEW.cancel_requested_at := now(); END IF; RETURN NEW;
		END $$;
		CREATE TRIGGER cancels BEFORE UPDATE ON job_states FOR EACH ROW EXECUTE FUNCTION cancels()`, ids[3])
	f.exec(t, stop)
	f.worker(t, s, packs)
	for i, id := range ids {
		if i == 3 {
			f.await(t, id, jobs.Cancelled)
		} else {
			f.await(t, id, jobs.Succeeded)
		}
	}
	f.bulkDrained(t)
	if n := len(s.made()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestCombinedPromptsAreAnsweredTogetherAndTheRestAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 20)
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		res := providers.Response{Provider: "svc", Model: "m", Status: 200, FinishReason: "stop", Usage: providers.Usage{InputTokens: 50, OutputTokens: 50}}
		number := 0
		for line := range strings.Lines(req.Prompt) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "[["):
				number++
			case strings.HasSuffix(line, " 7") && number > 0: // forgotten, and so the one before is not certain
			case strings.HasPrefix(line, "secret") && number > 0:
				res.Text += fmt.Sprintf("[[%d]]\nanswer to %s\n", number, line)
			}
		}
		if number == 0 {
			res.Text = "alone: answer to " + req.Prompt
		}
		return res, nil
	})
	ids := f.enqueue(t, 20, func(r *jobs.New) { inBulk(r); r.Request.Combine = 5 })
	f.worker(t, s, nil)
	alone := 0
	for i, id := range ids {
		got := f.await(t, id, jobs.Succeeded)
		text := strings.TrimPrefix(got.Text, "alone: ")
		if text != got.Text {
			alone++
			if fmt.Sprint(got.Outcomes) != "[succeeded succeeded]" || got.Cost <= 10 {
				t.Errorf("row %d went alone: %+v", i, got)
			}
		}
		if text != fmt.Sprint("answer to secret prompt ", i) {
			t.Errorf("row %d: %q", i, got.Text)
		}
	}
	if n := len(s.made()); alone < 1 || alone > 2 || n != 4+alone {
		t.Errorf("%d calls, %d rows went alone", n, alone)
	}
	f.bulkDrained(t)
}

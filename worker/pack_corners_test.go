package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"oneflow/jobs"
	"oneflow/policy"
	"oneflow/providers"
	"oneflow/worker"
)

// another is a service of another name.
type another struct{ *service }

func (another) Name() string { return "other" }

// sizes notes how many texts each call of a service has.
type sizes struct {
	mu  sync.Mutex
	all []int
}

func (s *sizes) note(req providers.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, len(prompts(req)))
}

func (s *sizes) most() (most, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.all {
		most = max(most, n)
	}
	return most, len(s.all)
}

// beside has the worker fall back to other, a server of OpenAI's protocol, which takes 32 texts
// and 16,000 tokens in a call.
func beside(t *testing.T, first, other providers.Provider) func(*worker.Config) {
	t.Helper()
	return func(c *worker.Config) {
		packs(c)
		c.Providers = append(c.Providers, worker.Served{Name: "other", Kind: "openai-compatible", Concurrency: 8})
		guarded, err := policy.New(policy.Config{
			Providers: []providers.Provider{first, other}, CallTimeout: time.Minute, Calls: context.WithoutCancel(t.Context()),
			Backoff: func(int) time.Duration { return time.Millisecond },
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Generator = guarded
	}
}

func TestAPackedCallFallsBackAsOneAndIsNoLargerThanAnyOfItsChainTakes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	var tried, answered sizes
	first := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		tried.note(req)
		return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
	})
	other := another{serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		answered.note(req)
		res := embedded(req)
		res.Provider = "other"
		return res, nil
	})}
	ids := f.enqueue(t, 100, func(r *jobs.New) {
		embeds(r)
		r.Chain = []string{"svc", "other"}
	})
	f.worker(t, first, beside(t, first, other))
	f.awaitAll(t, jobs.Succeeded)
	f.bulkDrained(t)
	for i, id := range ids {
		f.ownVector(t, id, fmt.Sprint("secret prompt ", i))
	}
	for what, s := range map[string]*sizes{"tried": &tried, "answered": &answered} {
		if most, calls := s.most(); most != 32 || calls > 40 {
			t.Errorf("%s in %d calls of at most %d texts, want 32", what, calls, most)
		}
	}
	// Each call has all of its rows, that which failed and that which answered.
	if n := f.count(t, `SELECT count(*) FROM (SELECT cj.job_id FROM call_jobs cj JOIN calls c ON c.id = cj.call_id GROUP BY 1
		HAVING count(*) FILTER (WHERE c.provider = 'svc') = 0 OR count(*) FILTER (WHERE c.provider = 'other') <> 1) left_out`); n != 0 {
		t.Errorf("%d jobs do not show the call that failed and the one that did not", n)
	}
	if n := f.count(t, `SELECT count(*) FROM calls c WHERE c.cost_nano > 0 AND c.provider <> 'other'`); n != 0 {
		t.Errorf("%d calls that failed unbilled cost something", n)
	}
}

func TestAPackedCallHasNoMoreTokensThanAnyOfItsChainTakes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	var answered sizes
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		answered.note(req)
		return embedded(req), nil
	})
	long := strings.Repeat("word ", 1000) // some 1,000 tokens, and less than 3,000
	f.enqueue(t, 40, func(r *jobs.New) {
		embeds(r)
		r.Chain = []string{"svc", "other"}
		r.Request.Prompt = fmt.Sprint(long, r.Seq)
	})
	f.worker(t, s, beside(t, s, another{s}))
	f.awaitAll(t, jobs.Succeeded)
	f.bulkDrained(t)
	if most, calls := answered.most(); most < 5 || most > 16 || calls < 3 {
		t.Errorf("%d calls of at most %d texts, want as many as have 16,000 tokens", calls, most)
	}
}

func TestEachRowOfAPackedCallHasItsNextStep(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.chunked(t, 1)
	if err := f.store.OpenBatch(t.Context(), jobs.Batch{ID: "p", Account: "default", Append: true, First: "x", Steps: []jobs.Step{
		{Batch: "p", Name: "first", Definition: []byte("{}")}, {Batch: "p.2.next", Name: "next", Definition: []byte("{}")},
	}}); err != nil {
		t.Fatal(err)
	}
	s := serve(func(_ context.Context, _ int, req providers.Request) (providers.Response, error) {
		return embedded(req), nil
	})
	in := rows(t, 30, embeds)
	if acc, dispatchErr, err := f.producer.Enqueue(t.Context(), "p", in); err != nil || dispatchErr != nil || acc.New != 30 {
		t.Fatalf("%+v, %v, %v", acc, dispatchErr, err)
	}
	f.worker(t, s, func(c *worker.Config) {
		packs(c)
		c.Follow = func(_ context.Context, j jobs.Job) (func(context.Context, providers.Response, []jobs.Artifact) *jobs.Child, error) {
			if j.BatchID != "p" {
				return nil, nil //nolint:nilnil // the last step has no next
			}
			return func(_ context.Context, res providers.Response, _ []jobs.Artifact) *jobs.Child {
				row := jobs.New{
					ID: jobs.NewID(), Provider: "svc", Lane: jobs.Default,
					Request: providers.Request{Task: providers.Embedding, Model: "m", Prompt: fmt.Sprint("after ", int(res.Vector[0]))},
				}
				c := &jobs.Child{Batch: "p.2.next", New: &row}
				if err := jobs.NewKeys().Assign(&row); err != nil {
					c.Class, c.Message = "refused", err.Error()
				}
				row.Key = jobs.ChildKey(j.ID, "")
				return c
			}, nil
		}
	})
	eventually(t, "all steps are done", func() bool {
		return f.count(t, `SELECT count(*) FROM job_states WHERE state = 'succeeded'`) == 60
	})
	f.bulkDrained(t)
	if n := f.count(t, `SELECT count(*) FROM step_links l JOIN jobs p ON p.id = l.parent_id JOIN jobs c ON c.id = l.child_id
		WHERE p.batch_id = 'p' AND c.batch_id = 'p.2.next' AND c.request ->> 'prompt' = 'after ' || split_part(p.request ->> 'prompt', ' ', 3)`); n != len(in) {
		t.Errorf("%d of %d rows have a next step of their own answer", n, len(in))
	}
	if n := f.count(t, `SELECT count(DISTINCT cj.call_id) FROM call_jobs cj JOIN jobs j ON j.id = cj.job_id WHERE j.batch_id = 'p'`); n > 5 {
		t.Errorf("%d calls for 30 rows", n)
	}
}

package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"oneflow/jobs"
	"oneflow/policy"
	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/store"
	"oneflow/worker"
)

func TestAJobSucceedsAndItsTaskIsGone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(answers)
	ids := f.enqueue(t, 20, func(r *jobs.New) { r.Lane = jobs.Lanes()[r.Seq%3] })
	for _, key := range f.redis.Keys(t.Context(), "asynq:{*}:t:*").Val() {
		if body := f.redis.HGet(t.Context(), key, "msg").Val(); body == "" || strings.Contains(body, "secret") {
			t.Errorf("%s holds %q", key, body)
		}
	}
	f.worker(t, s, nil)
	for i, id := range ids {
		want := row{State: jobs.Succeeded, Gen: 1, Attempt: 1, Cost: 10, Outcomes: []string{"succeeded"}, Text: fmt.Sprint("answer to secret prompt ", i)}
		if diff := cmp.Diff(want, f.await(t, id, jobs.Succeeded)); diff != "" {
			t.Error(diff)
		}
	}
	f.drained(t)
	if got := len(s.made()); got != len(ids) {
		t.Errorf("%d calls for %d jobs", got, len(ids))
	}
}

func TestAFailureThatPassesIsTriedAgainByTheQueue(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if n <= 5 { // the four tries of the first attempt, and the first of the second
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	id := f.enqueue(t, 1, nil)[0]
	got := f.await(t, id, jobs.Succeeded)
	if got.Attempt != 2 || got.Cost != 10 || len(got.Outcomes) != 6 || got.Class != "" {
		t.Errorf("%+v, want two attempts of six calls in all, of which one is charged", got)
	}
	f.drained(t)
}

func TestAJobThatKeepsFailingFailsAndIsArchived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind  providers.Kind
		class string
		calls int
	}{
		"refused":         {providers.InvalidRequest, "invalid_request", 1},
		"out of attempts": {providers.Overloaded, "overloaded", 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			s := serve(func(context.Context, int, providers.Request) (providers.Response, error) {
				return providers.Response{}, failure(c.kind, providers.Unbilled)
			})
			f.worker(t, s, nil)
			id := f.enqueue(t, 1, func(r *jobs.New) { r.MaxAttempts = 2 })[0]
			got := f.await(t, id, jobs.Failed)
			if got.Class != c.class || got.Message == "" || got.Cost != 0 || len(got.Outcomes) != c.calls {
				t.Errorf("%+v, want %s after %d calls", got, c.class, c.calls)
			}
			eventually(t, "its task is archived", func() bool {
				live, archived := f.tasks(t)
				return live == 0 && archived == 1
			})
			list, err := f.inspector.ListArchivedTasks(jobs.QueueName("svc", jobs.Default))
			if err != nil || len(list) != 1 || list[0].ID != jobs.TaskID(id, 1) || !strings.Contains(list[0].LastErr, c.class) {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
}

func TestAPanicFailsItsJobAndNothingElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		if req.Prompt == "secret prompt 1" {
			panic(req.Prompt)
		}
		return answers(ctx, n, req)
	})
	f.worker(t, s, nil)
	ids := f.enqueue(t, 4, nil)
	got := f.await(t, ids[1], jobs.Failed)
	if got.Class != "panic" || strings.Contains(got.Message, "secret") || !slices.Equal(got.Outcomes, []string{"unknown"}) || got.Cost != 100 {
		t.Errorf("%+v", got)
	}
	for _, i := range []int{0, 2, 3} {
		f.await(t, ids[i], jobs.Succeeded)
	}
}

func TestAnUnknownOutcomeIsRepeatedOnceByDefaultAndNeverWhereForbidden(t *testing.T) {
	t.Parallel()
	for policy, want := range map[jobs.OnUnknown]row{
		jobs.RetryUnknown: {State: jobs.Unknown, Gen: 1, Attempt: 1, Class: "timeout", Cost: 200, Outcomes: []string{"unknown", "unknown"}},
		jobs.FailUnknown:  {State: jobs.Unknown, Gen: 1, Attempt: 1, Class: "timeout", Cost: 100, Outcomes: []string{"unknown"}},
	} {
		for name, billing := range map[string]providers.Billing{"said so": providers.BillingUnknown, "said nothing": ""} {
			t.Run(fmt.Sprint(policy, ", the client ", name), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				f.worker(t, serve(func(context.Context, int, providers.Request) (providers.Response, error) {
					return providers.Response{}, failure(providers.Timeout, billing)
				}), nil)
				got := f.await(t, f.enqueue(t, 1, func(r *jobs.New) { r.OnUnknown = policy })[0], jobs.Unknown)
				got.Message = ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestAnAnswerThatCannotBeKeptIsPaidForAtMostTwice(t *testing.T) {
	t.Parallel()
	picture := func(data string) func(context.Context, int, providers.Request) (providers.Response, error) {
		return func(context.Context, int, providers.Request) (providers.Response, error) {
			return providers.Response{Provider: "svc", Model: "m", Blobs: []providers.Blob{{MIME: "image/png", Data: []byte(data)}}}, nil
		}
	}
	for name, c := range map[string]struct {
		shelf shelf
		data  string
	}{
		"the shelf is full":         {shelf{errors.New("no space left")}, "png"},
		"Postgres refuses the file": {shelf{}, ""},
	} {
		for policy, calls := range map[jobs.OnUnknown]int{jobs.RetryUnknown: 2, jobs.FailUnknown: 1} {
			t.Run(fmt.Sprint(name, ", on_unknown ", policy), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				f.worker(t, serve(picture(c.data)), func(cfg *worker.Config) { cfg.Artifacts = c.shelf })
				got := f.await(t, f.enqueue(t, 1, func(r *jobs.New) { r.OnUnknown = policy })[0], jobs.Failed)
				if len(got.Outcomes) != calls || got.Cost != int64(10*calls) || got.Class == "" {
					t.Errorf("%+v, want %d calls, each on the bill", got, calls)
				}
				for _, outcome := range got.Outcomes {
					if outcome != "failed_billed" {
						t.Errorf("a call is %s", outcome)
					}
				}
			})
		}
	}
}

func TestABilledFailureIsNeverBoughtAgainAndCostsWhatWasCountedOrReserved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		usage providers.Usage
		cost  int64
	}{
		"counted":     {providers.Usage{OutputTokens: 5}, 10},
		"not counted": {providers.Usage{}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.worker(t, serve(func(context.Context, int, providers.Request) (providers.Response, error) {
				return providers.Response{}, &providers.Error{
					Provider: "svc", Kind: providers.MalformedResponse, Billing: providers.Billed, Sent: true, Usage: c.usage, Body: []byte("{}"),
				}
			}), nil)
			got := f.await(t, f.enqueue(t, 1, nil)[0], jobs.Failed)
			if got.Cost != c.cost || !slices.Equal(got.Outcomes, []string{"failed_billed"}) || got.Class != string(providers.MalformedResponse) {
				t.Errorf("%+v, want one call for %d", got, c.cost)
			}
		})
	}
}

func TestEachAnswerThatARowAsksForCountsForTheLengthOfAnswers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		res, err := answers(ctx, n, req)
		res.Usage.OutputTokens = 30 * int64(max(1, kinds.Named("", req).N))
		return res, err
	}), nil)
	for _, change := range []func(*jobs.New){
		nil,
		func(j *jobs.New) { j.Request.N = 3 },
		func(j *jobs.New) {
			j.Request = providers.Request{Task: providers.Text, Model: "m", Endpoint: "/v1/chat/completions", Body: []byte(`{"model":"m","n":4,"messages":[{"role":"user","content":"hello"}]}`)}
		},
	} {
		f.await(t, f.enqueue(t, 1, change)[0], jobs.Succeeded)
	}
	known, err := f.store.AnswerLengths(t.Context())
	for model, of := range known {
		if model.Model != "m" || of.Count != 1+3+4 || of.OutputTokens != 30 {
			t.Errorf("%v: %+v", model, of)
		}
	}
	if err != nil || len(known) != 1 {
		t.Errorf("%v %v", known, err)
	}
}

// spare is a second provider, which a chain may fall back to.
type spare struct{ *service }

func (spare) Name() string { return "spare" }

func TestABilledAnswerThatCannotBeReadIsBoughtNowhereElseWhateverTheJobAllows(t *testing.T) {
	t.Parallel()
	for _, kind := range []providers.Kind{providers.Unreadable, providers.MalformedResponse} {
		for _, fallback := range []providers.Fallback{"", providers.FallbackNever, providers.FallbackAlways} {
			t.Run(fmt.Sprintf("%s, fallback %q", kind, fallback), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t)
				bad := serve(func(context.Context, int, providers.Request) (providers.Response, error) {
					return providers.Response{}, &providers.Error{Provider: "svc", Kind: kind, Billing: providers.Billed, Sent: true, Body: []byte(`{"picture": "?"}`)}
				})
				other := serve(answers)
				f.worker(t, bad, func(cfg *worker.Config) {
					chains, err := policy.New(policy.Config{
						Providers: []providers.Provider{bad, spare{other}}, CallTimeout: time.Minute, Calls: context.WithoutCancel(t.Context()),
						Backoff: func(int) time.Duration { return time.Millisecond },
						Chain:   func(providers.Task) []string { return []string{"svc", "spare"} },
					})
					if err != nil {
						t.Fatal(err)
					}
					cfg.Generator = chains
				})
				id := f.enqueue(t, 1, func(j *jobs.New) {
					j.Chain, j.Fallback, j.OnUnknown = []string{"svc", "spare"}, fallback, jobs.RetryUnknown
				})[0]
				got := f.await(t, id, jobs.Failed)
				if !slices.Equal(got.Outcomes, []string{"failed_billed"}) || got.Class != string(kind) || got.Cost != 100 {
					t.Errorf("%+v, want one billed call and no other", got)
				}
				if len(other.perPrompt()) != 0 {
					t.Error("it was bought of the next provider too")
				}
				if n := f.count(t, `SELECT count(*) FROM calls WHERE convert_from(error_body, 'UTF8') = '{"picture": "?"}'`); n != 1 {
					t.Errorf("%d calls keep what was paid for, want 1", n)
				}
			})
		}
	}
}

func TestEveryJobOfAFlakyServiceEndsOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(func(ctx context.Context, n int, req providers.Request) (providers.Response, error) {
		switch n % 7 {
		case 1:
			return providers.Response{}, failure(providers.Overloaded, providers.Unbilled)
		case 3:
			return providers.Response{}, failure(providers.Timeout, providers.BillingUnknown)
		case 5:
			if n%3 == 0 {
				panic("now and then")
			}
		}
		return answers(ctx, n, req)
	})
	const n = 150
	f.enqueue(t, n, nil)
	for range 3 {
		f.worker(t, s, nil)
	}
	eventually(t, "all jobs have ended", func() bool { return f.count(t, `SELECT count(*) FROM job_states WHERE finished_at IS NULL`) == 0 })
	f.drained(t)
	for what, sql := range map[string]string{
		"jobs":                                  `SELECT count(*) - 150 FROM jobs`,
		"succeeded jobs without a result":       `SELECT count(*) FROM job_states s WHERE state = 'succeeded' AND NOT EXISTS (SELECT FROM results r WHERE r.job_id = s.job_id)`,
		"results without a succeeded job":       `SELECT count(*) FROM results r JOIN job_states USING (job_id) WHERE state <> 'succeeded'`,
		"calls that nobody settled":             `SELECT count(*) FROM calls WHERE state = 'running'`,
		"jobs with a wrong bill":                `SELECT count(*) FROM job_states s WHERE cost_nano <> (SELECT coalesce(sum(coalesce(cj.share_nano, c.cost_nano)), 0) FROM call_jobs cj JOIN calls c ON c.id = cj.call_id WHERE cj.job_id = s.job_id)`,
		"jobs with more than two unknown calls": `SELECT count(*) FROM jobs j WHERE (SELECT count(*) FROM call_jobs cj JOIN calls c ON c.id = cj.call_id WHERE cj.job_id = j.id AND c.state = 'unknown') > 2`,
	} {
		if n := f.count(t, sql); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	if sent, noted := len(s.made()), f.count(t, `SELECT count(*) FROM calls`); sent != noted {
		t.Errorf("%d calls were sent and %d stand in the ledger", sent, noted)
	}
}

func TestAWorkerSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*worker.Config){
		"ID":          func(c *worker.Config) { c.ID = uuid.Nil },
		"Providers":   func(c *worker.Config) { c.Providers = nil },
		"CallTimeout": func(c *worker.Config) { c.CallTimeout = 0 },
		"Drain":       func(c *worker.Config) { c.Drain = -1 },
		"Concurrency": func(c *worker.Config) { c.Providers = []worker.Served{{Name: "x", Concurrency: -1}} },
		"CutOff":      func(c *worker.Config) { c.CutOff = nil },
	} {
		cfg := worker.Config{
			ID: jobs.NewID(), Providers: []worker.Served{{Name: "x", Concurrency: 1}}, Redis: asynq.RedisClientOpt{}, Store: parts(&store.Store{}),
			Generator: generator{}, Artifacts: shelf{}, Prices: prices{}, CallTimeout: time.Second, CutOff: func() {},
		}
		if _, err := worker.New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := worker.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error that names %s", err, want)
		}
	}
}

type generator struct{}

func (generator) Resume(context.Context, string, providers.Request, string, providers.Call) error {
	return nil
}

func (generator) Generate(context.Context, providers.Route, providers.Request, providers.Journal) (providers.Response, error) {
	return providers.Response{}, nil
}

func TestTheQueueTriesAgainEverLaterUpToALimit(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for attempt := 1; attempt < 100; attempt++ {
		want := 10 * time.Minute
		if attempt < 7 {
			want = min(want, 15*time.Second<<(attempt-1))
		}
		for range 20 {
			got := worker.Backoff(attempt)
			if got < want || got >= want+want/4 {
				t.Fatalf("after %d attempts %s, want %s and up to a quarter", attempt, got, want)
			}
		}
		if want < last {
			t.Errorf("attempt %d: sooner than before", attempt)
		}
		last = want
	}
}

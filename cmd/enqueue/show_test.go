package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/providers"
)

func TestStatusTellsTheRouteTheCallsAndWhoAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	in := `{"prompt":"a","provider":"openai","model":"gpt-4o-mini"}
{"prompt":"b","provider":"openai","model":"gpt-4o-mini","chain":["openai","anthropic"],"fallback":"always"}
{"prompt":"c","provider":"openai","model":"gpt-4o-mini","fallback":"never"}
`
	if r := s.run(t.Context(), strings.NewReader(in), "batch", "-", "--batch-id", "b1"); r.code != cli.OK {
		t.Fatalf("%+v", r)
	}
	id := one[string](s, `SELECT id::text FROM jobs WHERE seq = 2`)
	s.finish(id, "one", "")
	// As if the first had failed and another had answered.
	if _, err := s.pool.Exec(t.Context(), `
		UPDATE calls SET provider = 'anthropic', model = 'claude-haiku-4-5', latency_ms = 1234;
		WITH failed AS (
			INSERT INTO calls (id, worker_id, provider, model, state, cost_nano, started_at, deadline, finished_at,
				latency_ms, http_status, error_kind, error_message)
			SELECT gen_random_uuid(), worker_id, 'openai', 'gpt-4o-mini', 'failed_unbilled', 0, started_at - interval '1 second', deadline, finished_at,
				42, 500, 'server', 'try later'
			FROM calls
			RETURNING id
		)
		INSERT INTO call_jobs (call_id, job_id, gen, attempt, lease_token, share_nano)
		SELECT failed.id, job_id, gen, attempt, lease_token, 0 FROM failed, call_jobs;
		UPDATE results SET provider = 'anthropic', model = 'claude-haiku-4-5'`); err != nil {
		t.Fatal(err)
	}
	r := s.enqueue("status", id)
	want := "job       " + id + `
state     succeeded
cost      $0.0015
asked     openai gpt-4o-mini, chain openai → anthropic, fallback always
answered  anthropic claude-haiku-4-5

CALL  PROVIDER   MODEL             OUTCOME          TOOK  COST     ERROR
1     openai     gpt-4o-mini       failed_unbilled  42ms  $0.00    server: try later
2     anthropic  claude-haiku-4-5  succeeded        1.2s  $0.0015  -
`
	if diff := cmp.Diff(want, r.out); diff != "" || r.code != cli.OK {
		t.Errorf("%+v\n%s", r, diff)
	}
	job := decoded[jobStatus](t, s.enqueue("status", id, "-o", "json").out)
	if job.Provider != "anthropic" || job.Model != "claude-haiku-4-5" || job.RequestedProvider != "openai" || job.RequestedModel != "gpt-4o-mini" ||
		!slices.Equal(job.Chain, []string{"openai", "anthropic"}) || job.Fallback != providers.FallbackAlways || len(job.Calls) != 2 ||
		job.Calls[0].Error != "server" || job.Calls[0].Status != 500 || *job.Calls[1].Cost != 1_500_000 || *job.Calls[1].LatencyMS != 1234 {
		t.Errorf("%+v", job)
	}
	r = s.enqueue("status", "b1")
	want = `batch        b1
state        running
  queued     2
  succeeded  1
cost         $0.0015
estimate     $0.0005 expected, <$0.0001 to $0.0295
asked        openai gpt-4o-mini, chain openai → anthropic, fallback always: 1
asked        openai gpt-4o-mini: 1
asked        openai gpt-4o-mini, fallback never: 1
answered     anthropic claude-haiku-4-5: 1
waits        2 jobs: no worker is running: start one with ` + "`worker run`" + `
`
	if diff := cmp.Diff(want, r.out); diff != "" || r.code != cli.OK {
		t.Errorf("%+v\n%s", r, diff)
	}
	batch := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out)
	if e := batch.Estimate; e == nil || e.Jobs != 3 || e.Low <= 0 || e.Expected <= e.Low || e.High <= e.Expected {
		t.Errorf("the estimate is %+v", e)
	}
	if job.Estimate != nil {
		t.Errorf("a job has none of its own: %+v", job.Estimate)
	}
	if len(batch.Asked) != 3 || !cmp.Equal(batch.Answered, []batches.Answered{{Provider: "anthropic", Model: "claude-haiku-4-5", Jobs: 1}}) {
		t.Errorf("%+v", batch)
	}
}

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
		INSERT INTO attempts (id, job_id, gen, attempt, call, lease_token, worker_id, provider, model, state, cost_nano, deadline, finished_at,
			latency_ms, http_status, error_kind, error_message)
		SELECT gen_random_uuid(), job_id, gen, attempt, 2, lease_token, worker_id, 'anthropic', 'claude-haiku-4-5', 'succeeded', 1500000, deadline, finished_at,
			1234, 200, '', ''
		FROM attempts;
		UPDATE attempts SET provider = 'openai', model = 'gpt-4o-mini', state = 'failed_unbilled', cost_nano = 0, http_status = 500,
			error_kind = 'server', error_message = 'try later' WHERE call = 1;
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
asked        openai gpt-4o-mini, chain openai → anthropic, fallback always: 1
asked        openai gpt-4o-mini: 1
asked        openai gpt-4o-mini, fallback never: 1
answered     anthropic claude-haiku-4-5: 1
`
	if diff := cmp.Diff(want, r.out); diff != "" || r.code != cli.OK {
		t.Errorf("%+v\n%s", r, diff)
	}
	batch := decoded[batchStatus](t, s.enqueue("status", "b1", "-o", "json").out)
	if len(batch.Asked) != 3 || !cmp.Equal(batch.Answered, []batches.Answered{{Provider: "anthropic", Model: "claude-haiku-4-5", Jobs: 1}}) {
		t.Errorf("%+v", batch)
	}
}

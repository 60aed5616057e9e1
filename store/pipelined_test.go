package store_test

import (
	"context"
	"encoding/json"
	"testing"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
)

// pipelined is a pipeline of steps over the mock, and what a worker makes children with.
type pipelined struct {
	*database
	steps *batches.Steps
	ids   []string
}

// pipeline opens a pipeline that is called p, with a first step and these.
func (w *database) pipeline(t *testing.T, steps ...batches.Step) *pipelined {
	t.Helper()
	l := &pipelined{database: w, ids: []string{"p"}}
	list := []jobs.Step{{Batch: "p", Name: "first", Definition: []byte("{}")}}
	for i, s := range steps {
		if s.Defaults == nil {
			s.Defaults = map[string]json.RawMessage{"provider": []byte(`"mock"`), "lane": []byte(`"default"`)}
		}
		if _, err := s.Compile(); err != nil {
			t.Fatal(err)
		}
		definition, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		id := batches.StepBatchID("p", i+2, s.Name)
		list, l.ids = append(list, jobs.Step{Batch: id, Name: s.Name, Definition: definition}), append(l.ids, id)
	}
	if err := w.OpenBatch(t.Context(), jobs.Batch{ID: "p", Account: "default", Steps: list, Append: true, First: "x"}); err != nil {
		t.Fatal(err)
	}
	l.steps = &batches.Steps{
		Store: w.Store, Input: batches.Input{Kind: func(name string) (string, bool) { return name, name == "mock" }},
		Funds: w.funds,
	}
	return l
}

// funds takes a cent for each job, where a wallet limits the account.
func (w *database) funds(ctx context.Context, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error) {
	has, limited, err := w.Funds(ctx, account)
	if err != nil || !limited {
		return has, nil, err
	}
	return has, func(jobs.New) billing.NanoUSD { return billing.USD / 100 }, nil
}

// answered is the success of a job with an answer, with what it leads to.
func (l *pipelined) answered(t *testing.T, j *jobs.Job, call jobs.Call, text string) jobs.Success {
	t.Helper()
	done := success(j, call, nano(10))
	done.Response.Text = text
	follow, err := l.steps.After(t.Context(), *j)
	if err != nil {
		t.Fatal(err)
	}
	if follow != nil {
		done.Child = follow(t.Context(), done.Response, nil)
	}
	return done
}

// answers claims a job and ends it with an answer.
func (l *pipelined) answers(t *testing.T, d jobs.Delivery, text string) {
	t.Helper()
	j := l.mustClaim(t, d)
	if err := l.Succeed(t.Context(), l.answered(t, j, l.sent(t, j, nano(10)), text)); err != nil {
		t.Fatal(err)
	}
}

// stepRow is a job of a step, for comparisons.
type stepRow struct {
	Seq    int64      `json:"seq"`
	Key    string     `json:"key"`
	State  jobs.State `json:"state"`
	Prompt string     `json:"prompt"`
	Class  string     `json:"class"`
	Why    string     `json:"why"`
}

func (l *pipelined) rowsOf(t *testing.T, step int) []stepRow {
	t.Helper()
	out := []stepRow{}
	l.one(t, &out, `
		SELECT coalesce(jsonb_agg(jsonb_build_object('seq', seq, 'key', key, 'state', state, 'prompt', CASE WHEN request::text LIKE '%\\u0000%' THEN 'NUL' ELSE coalesce(request->>'prompt', '') END, 'class', error_class,
			'why', error_message) ORDER BY seq), '[]')
		FROM jobs j JOIN job_states s ON s.job_id = j.id
		WHERE j.batch_id = $1`, l.ids[step])
	return out
}

// deliveriesOf are the waiting jobs of a step, as a worker is given them.
func (l *pipelined) deliveriesOf(t *testing.T, step int) (list []jobs.Delivery) {
	t.Helper()
	for _, d := range l.topUp(t, 1000) {
		if d.BatchID == l.ids[step] {
			list = append(list, d)
		}
	}
	return list
}

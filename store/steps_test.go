package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/store"
)

func TestEachSuccessMakesTheNextStepsRowOfItsAnswer(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	l := w.pipeline(t,
		batches.Step{Name: "rate", Template: "Rate: {{answer}} of {{question}}"},
		batches.Step{Name: "tell", Template: "{{rate.score}} for {{first}}, {{row.answer}}", Filter: []string{"answer.score >= 7"}})
	prices, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	l.steps.Estimates = &batches.Estimates{Prices: prices, Kind: func(name string) string { return name }, Lengths: w.AnswerLengths}
	in := rows(t, 3, func(n *jobs.New) {
		n.Own = fmt.Appendf(nil, `{"question":"q%d","answer":"a%d"}`, n.Seq, n.Seq)
		if n.Seq == 2 {
			n.CustomID = "two"
		}
	})
	if _, err := w.AcceptJobs(ctx, "p", in, true); err != nil {
		t.Fatal(err)
	}
	if err := w.SealBatch(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	first := deliveries(in, "p")
	l.answers(t, first[0], "one")
	l.answers(t, first[1], "two {{question}}") // an answer is no template
	p, err := w.Progress(ctx, "p")
	if err != nil || p.Total() != 5 || p.Done() != 2 || p.State != jobs.BatchOpen {
		t.Errorf("%+v, %v", p, err)
	}
	if p.Estimate.Jobs != 2 || p.Estimate.Expected == 0 {
		t.Errorf("the steps' jobs are expected to cost %+v", p.Estimate)
	}
	if d, err := w.Detail(ctx, p); err != nil || len(d.Asked) != 2 || d.Asked[0].Jobs+d.Asked[1].Jobs != 5 || len(d.Answered) != 1 || d.Answered[0].Jobs != 2 {
		t.Errorf("what all steps have asked for: %+v, %v", d, err)
	}
	w.fails(t, w.mustClaim(t, first[2]))
	want := []stepRow{
		{1, "p:" + in[0].ID.String(), jobs.Queued, "Rate: one of q1", "", ""},
		{2, "c:two", jobs.Queued, "Rate: two {{question}} of q2", "", ""},
	}
	if diff := cmp.Diff(want, l.rowsOf(t, 1)); diff != "" {
		t.Error(diff)
	}
	if n := w.endBatches(t); n != 1 {
		t.Errorf("%d steps have ended", n)
	}
	second := l.deliveriesOf(t, 1)
	if len(second) != 2 {
		t.Fatal(second)
	}
	l.answers(t, second[0], `{"score": 9}`)
	l.answers(t, second[1], `{"score": 3}`)
	w.endBatches(t)
	want = []stepRow{{1, "p:" + second[0].ID.String(), jobs.Queued, "9 for one, a1", "", ""}}
	if diff := cmp.Diff(want, l.rowsOf(t, 2)); diff != "" {
		t.Error(diff)
	}
	for _, d := range l.deliveriesOf(t, 2) {
		l.answers(t, d, "told")
	}
	w.endBatches(t)
	p, err = w.Progress(ctx, "p")
	if err != nil || p.State != jobs.BatchPartial || p.Counts[jobs.Succeeded] != 5 || p.Counts[jobs.Failed] != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	steps, err := w.Steps(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, s := range steps {
		shown = append(shown, fmt.Sprint(s.Name, " ", s.State, " ", s.Total(), " ", s.LeftOut))
	}
	if diff := cmp.Diff([]string{"first partial 3 0", "rate finished 2 0", "tell finished 1 1"}, shown); diff != "" {
		t.Error(diff)
	}
	w.holds(t)
}

// What is wrong with one row's child is that child's failure.
func TestABrokenTemplateFailsAChildAndNeitherItsParentNorANeighbour(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer.text}}", Filter: []string{"answer.ok == yes"}})
	list := w.batch(t, "p", 5)
	texts := []string{`{"text": "fine", "ok": "yes"}`, "no JSON", `{"ok": "yes"}`, `{"text": "", "ok": "yes"}`, `{"text": "\u0000 x", "ok": "yes"}`}
	held := make([]*jobs.Job, len(list))
	calls := make([]jobs.Call, len(list))
	for i, d := range list {
		held[i] = w.mustClaim(t, d)
		calls[i] = w.sent(t, held[i], nano(10))
	}
	together(len(list), func(i int) { // one group
		if err := w.Succeed(t.Context(), l.answered(t, held[i], calls[i], texts[i])); err != nil {
			t.Error(err)
		}
	})
	if p, err := w.Steps(t.Context(), "p"); err != nil || p[0].Counts[jobs.Succeeded] != 5 {
		t.Errorf("%+v, %v", p, err)
	}
	got := l.rowsOf(t, 1)
	states := make([]string, len(got))
	for i, r := range got {
		states[i] = fmt.Sprint(r.Seq, " ", r.State, " ", r.Class)
		if r.Class != "" && r.Why == "" {
			t.Errorf("row %d says no reason", r.Seq)
		}
	}
	if diff := cmp.Diff([]string{"1 queued ", "2 failed refused", "3 failed refused", "4 failed refused", "5 queued "}, states); diff != "" {
		t.Error(diff, got)
	}
	// Those have no request to send: nobody brings them back.
	if r, err := w.Retry(t.Context(), "p", []jobs.State{jobs.Failed}, ""); err != nil || r.Jobs != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	w.holds(t)
}

func TestAChildIsOneAlsoForLateAnswersRepeatedWritesAndRetriedParents(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"})
	list := w.batch(t, "p", 3)
	if err := w.SealBatch(ctx, "p"); err != nil {
		t.Fatal(err)
	}

	// An answer that is written twice, by somebody who did not hear of the commit.
	j := w.mustClaim(t, list[0])
	done := l.answered(t, j, w.sent(t, j, nano(10)), "once")
	together(4, func(int) {
		if err := w.Succeed(ctx, done); err != nil {
			t.Error(err)
		}
	})
	again := l.answered(t, j, jobs.Call{CallID: done.Settlement.CallID}, "once") // with a child of another id
	if err := w.Succeed(ctx, again); err != nil {
		t.Error(err)
	}

	// Two answers of one job, of a holder and of the one it was taken from.
	late := w.mustClaim(t, list[1])
	lateCall := w.sent(t, late, nano(10))
	if _, err := w.TakeOver(ctx, w.worker); err != nil {
		t.Fatal(err)
	}
	w.register(t, w.worker)
	next := list[1]
	next.Gen = 2
	holder := w.mustClaim(t, next)
	holderCall := w.sent(t, holder, nano(10))
	if err := w.Succeed(ctx, l.answered(t, late, lateCall, "late")); err != nil {
		t.Fatal(err)
	}
	if err := w.Succeed(ctx, l.answered(t, holder, holderCall, "too late")); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("%v", err)
	}

	// A parent that failed and is brought back when the next step is sealed already.
	w.fails(t, w.mustClaim(t, list[2]))
	w.endBatches(t)
	if p, _ := w.Steps(ctx, "p"); p[1].State == jobs.BatchOpen {
		t.Error("the next step is open though its last parent has ended")
	}
	if _, err := w.Retry(ctx, "p", []jobs.State{jobs.Failed}, ""); err != nil {
		t.Fatal(err)
	}
	back := list[2]
	back.Gen = 2
	l.answers(t, back, "retried")
	if p, _ := w.Steps(ctx, "p"); p[1].State != jobs.BatchOpen {
		t.Errorf("the next step is %s, with a parent whose end nobody has noted", p[1].State)
	}
	w.endBatches(t)
	var prompts []string
	for _, r := range l.rowsOf(t, 1) {
		prompts = append(prompts, r.Prompt)
	}
	if diff := cmp.Diff([]string{"once", "late", "retried"}, prompts); diff != "" {
		t.Error(diff)
	}
	if p, _ := w.Steps(ctx, "p"); p[1].State != jobs.BatchRunning {
		t.Errorf("the next step is %s after its last parent", p[1].State)
	}
	if _, err := w.sql.Exec(ctx, `UPDATE results SET text = 'another' WHERE job_id = $1`, list[0].ID); err == nil {
		t.Error("a result that was used has changed")
	}
	w.holds(t)
}

func TestACancelledPipelineMakesNothingMoreAndItsCountsAddUp(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"}, batches.Step{Name: "more", Template: "{{answer}}"})
	list := w.batch(t, "p", 4)
	l.answers(t, list[0], "a")
	running := w.mustClaim(t, list[1])
	call := w.sent(t, running, nano(10))
	c, err := w.Cancel(ctx, "p")
	if err != nil || c.Jobs != 3 || c.Running != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := w.Succeed(ctx, l.answered(t, running, call, "b")); err != nil {
		t.Fatal(err)
	}
	w.endBatches(t)
	p, err := w.Progress(ctx, "p")
	if err != nil || !p.Finished() || p.State != jobs.BatchCancelled || p.Counts[jobs.Cancelled] != 4 || p.Counts[jobs.Succeeded] != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	w.holds(t)
}

// A wallet that does not reach fails the child, which is brought back once it does.
func TestAWalletThatDoesNotReachFailsTheChild(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"})
	list := w.batch(t, "p", 2)
	// Of a wallet that came later: the calls of before are none of its.
	for _, d := range list {
		j := w.mustClaim(t, d)
		call := w.sent(t, j, nano(0))
		if d.ID == list[0].ID {
			if _, err := w.Deposit(ctx, "default", billing.USD/100+1, "", "test"); err != nil {
				t.Fatal(err)
			}
		}
		done := l.answered(t, j, call, "a")
		done.Settlement.Cost = nano(0)
		if err := w.Succeed(ctx, done); err != nil {
			t.Fatal(err)
		}
	}
	got := l.rowsOf(t, 1)
	if len(got) != 2 || got[0].State != jobs.Queued || got[1].State != jobs.Failed || got[1].Class != "out_of_funds" {
		t.Fatalf("%+v", got)
	}
	if r, err := w.Retry(ctx, "p", []jobs.State{jobs.Failed}, ""); err != nil || r.Jobs != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	w.holds(t)
}

func TestTheSameIdWithOtherStepsIsRefused(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"})
	w.batch(t, "p", 1)
	w.batch(t, "plain", 1)
	step := func(batch, name, definition string) []jobs.Step {
		return []jobs.Step{{Batch: batch, Name: "first", Definition: []byte("{}")}, {Batch: batch + ".2." + name, Name: name, Definition: []byte(definition)}}
	}
	for _, b := range []jobs.Batch{
		{ID: "p", Steps: step("p", "tell", `{"name":"tell"}`)}, {ID: "p", Steps: step("p", "other", `{}`)}, {ID: "plain", Steps: step("plain", "tell", `{}`)},
	} {
		b.Account, b.Append = "default", true
		if err := w.OpenBatch(ctx, b); !errors.Is(err, jobs.ErrOtherSource) {
			t.Errorf("%s: %v", b.ID, err)
		}
	}
	w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"}) // the same
}

// The links say what led to what when the jobs are gone, and no step goes while others
// still take rows.
func TestLinksOutliveTheJobsOfAStep(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer}}"})
	d := w.batch(t, "p", 1)[0]
	if err := w.SealBatch(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	l.answers(t, d, "a")
	w.exec(t, `UPDATE batches SET created_at = now() - interval '40 days'`)
	w.exec(t, `UPDATE batch_counts SET last_finished_at = now() - interval '35 days'`)
	if old, err := w.Outdated(ctx, 30*24*time.Hour, 10); err != nil || len(old) != 0 {
		t.Errorf("%v, %v", old, err)
	}
	w.endBatches(t)
	if old, err := w.Outdated(ctx, 30*24*time.Hour, 10); err != nil || cmp.Diff([]string{"p"}, old) != "" {
		t.Errorf("%v, %v", old, err)
	}
	if err := w.MarkRemoved(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if n, err := w.RemoveJobs(ctx, "p"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := w.count(t, `SELECT count(*) FROM step_links WHERE parent_id = $1 AND child_id IN (SELECT id FROM jobs)`, d.ID); n != 1 {
		t.Errorf("%d links", n)
	}
	for _, d := range l.deliveriesOf(t, 1) {
		l.answers(t, d, "b")
	}
	w.holds(t)
}

func TestFailedChildrenAreToldOf(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	l := w.pipeline(t, batches.Step{Name: "tell", Template: "{{answer.text}}"})
	w.exec(t, `UPDATE batch_ends SET webhook = 'https://example.com', per_job = true`)
	l.answers(t, w.batch(t, "p", 1)[0], "no JSON")
	list, err := w.Webhooks(t.Context(), store.WebhookFilter{ID: l.ids[1], Limit: 10})
	if err != nil || len(list) != 1 || list[0].Type != "job.failed" {
		t.Errorf("%+v, %v", list, err)
	}
}

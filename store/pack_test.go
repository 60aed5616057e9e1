package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// packedCall claims n jobs and returns a call for all of them, with the success that gives
// each a vector of its place and its weight.
func (w *database) packedCall(t *testing.T, n int, change func(*jobs.New), reserved, cost *billing.NanoUSD) ([]*jobs.Job, jobs.Call, jobs.Success) {
	t.Helper()
	var all []*jobs.Job
	for _, d := range w.accept(t, n, change) {
		all = append(all, w.mustClaim(t, d))
	}
	c, done := packOf(all, reserved, cost, func(i int) int { return i + 1 })
	return all, c, done
}

func packOf(all []*jobs.Job, reserved, cost *billing.NanoUSD, weight func(i int) int) (jobs.Call, jobs.Success) {
	c := callOf(all[0], reserved)
	c.Weight = weight(0)
	done := success(all[0], c, cost)
	done.Settlement.Packed, done.Settlement.Latency = true, time.Second
	for i, j := range all {
		if i > 0 {
			c.With = append(c.With, jobs.Served{JobID: j.ID, LeaseToken: j.LeaseToken, Weight: weight(i)})
		}
		part := jobs.Part{JobID: j.ID, LeaseToken: j.LeaseToken, Response: providers.Response{Vector: []float32{float32(i), 0.5}}}
		part.Response.Usage.InputTokens = int64(weight(i))
		done.Parts = append(done.Parts, part)
	}
	return c, done
}

func TestEachJobOfAPackedCallGetsItsVectorAndItsShare(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, done := w.packedCall(t, 3, nil, nano(600), nano(100))
	must(t, w.BeginCall(t.Context(), w.worker, c))
	must(t, w.BeginCall(t.Context(), w.worker, c)) // its commit was not heard of
	must(t, w.Succeed(t.Context(), done))
	w.unchanged(t, "said again", func() { must(t, w.Succeed(t.Context(), done)) })
	for i, j := range all {
		var stored []byte
		err := w.sql.QueryRow(t.Context(), `SELECT vector FROM results WHERE job_id = $1`, j.ID).Scan(&stored)
		want, _ := binary.Append(nil, binary.LittleEndian, []float32{float32(i), 0.5})
		if diff := cmp.Diff(want, stored); err != nil || diff != "" {
			t.Errorf("job %d: %v\n%s", i, err, diff)
		}
		if got := w.job(t, j.ID); got.State != jobs.Succeeded {
			t.Errorf("job %d is %s", i, got.State)
		}
	}
	if diff := cmp.Diff([]int{17, 33, 50}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Error(diff)
	}
	if n := w.count(t, `SELECT count(*) FROM calls`); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	w.holds(t)
	bought, err := w.Bought(t.Context(), all[1].ID.String(), time.Time{}, 10)
	must(t, err)
	if len(bought) != 1 || bought[0].Cost != 33 || bought[0].Shared != 3 || bought[0].Usage.InputTokens != done.Parts[1].Response.Usage.InputTokens {
		t.Errorf("bought is its part of the call: %+v", bought)
	}
}

// A call that brings three answers tells of three, each a third as long: of three jobs, or of one
// that asked for three.
func TestEachAnswerOfACallCountsForTheirLength(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, done := w.packedCall(t, 3, nil, nano(600), nano(100))
	done.Settlement.Usage = providers.Usage{InputTokens: 60, OutputTokens: 90}
	must(t, w.BeginCall(t.Context(), w.worker, c))
	must(t, w.Succeed(t.Context(), done))
	alone := w.mustClaim(t, w.accept(t, 1, nil)[0])
	one := success(alone, w.sent(t, alone, nano(600)), nano(100))
	one.Settlement.Usage = providers.Usage{InputTokens: 20, OutputTokens: 50}
	must(t, w.Succeed(t.Context(), one))
	choice := w.mustClaim(t, w.accept(t, 1, nil)[0])
	three := success(choice, w.sent(t, choice, nano(600)), nano(100))
	three.Settlement.Usage = providers.Usage{InputTokens: 20, OutputTokens: 105, Answers: 3}
	must(t, w.Succeed(t.Context(), three))
	want := map[batches.ModelKey]batches.Answers{{Provider: c.Provider, Model: c.Model}: {Count: int64(len(all)) + 1 + 3, OutputTokens: 35}}
	for _, ago := range []string{"0", "3 hours"} { // and summed up
		w.exec(t, `UPDATE provider_metrics SET minute = minute - interval '`+ago+`'`)
		w.foldAll(t)
		if got, err := w.AnswerLengths(t.Context()); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s ago: %v %s", ago, err, cmp.Diff(want, got))
		}
	}
}

func TestSharesAreExactForAnyWeights(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	draw := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		weights := make([]int64, 1+draw.IntN(40))
		total := int64(0)
		for i := range weights {
			weights[i] = 1 + draw.Int64N(1<<draw.IntN(31))
			total += weights[i]
		}
		amount := draw.Int64N(1 << draw.IntN(57))
		var wrong int
		err := w.sql.QueryRow(t.Context(), `
			WITH w AS (
				SELECT weight, sum(weight) OVER (ORDER BY place) AS upto, sum(weight) OVER () AS total
				FROM unnest($2::bigint[]) WITH ORDINALITY AS w (weight, place)
			), s AS (
				SELECT share_of($1, weight, upto::bigint, total::bigint) AS share, weight, total FROM w
			)
			SELECT count(*) FILTER (WHERE abs(share::numeric * total - $1::numeric * weight) >= total OR share < 0) + (sum(share) <> $1)::int FROM s`, amount, weights).Scan(&wrong)
		if err != nil || wrong != 0 {
			t.Fatalf("%d wrong shares of %d by %v: %v", wrong, amount, weights, err)
		}
		sum := int64(0)
		for i, share := range providers.Shares(amount, weights) {
			sum += share
			if exact := float64(amount) * float64(weights[i]) / float64(total); float64(share) < exact-1.001-exact*1e-9 || float64(share) > exact+1.001+exact*1e-9 {
				t.Fatalf("share %d of %d by %v: %d, want about %f", i, amount, weights, share, exact)
			}
		}
		if sum != amount {
			t.Fatalf("the shares of %d sum up to %d", amount, sum)
		}
	}
}

func TestAPackedCallIsBegunForAllOfItsJobsOrForNone(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	for what, refuse := range map[string]struct {
		sql  string
		want error
	}{
		"cancelled":      {`UPDATE job_states SET cancel_requested_at = now() WHERE job_id = $1`, jobs.ErrCancelled},
		"paused":         {`UPDATE job_states SET paused_at = now() WHERE job_id = $1`, jobs.ErrPaused},
		"expired":        {`UPDATE job_states SET deadline = now() WHERE job_id = $1`, jobs.ErrExpired},
		"taken over":     {`UPDATE job_states SET lease_token = gen_random_uuid() WHERE job_id = $1`, jobs.ErrLeaseLost},
		"too many calls": {`UPDATE jobs SET max_provider_calls = 1 WHERE id = $1`, jobs.ErrTooManyCalls},
	} {
		all, c, _ := w.packedCall(t, 3, nil, nano(10), nano(10))
		if errors.Is(refuse.want, jobs.ErrTooManyCalls) {
			one := callOf(all[1], nano(1))
			must(t, w.BeginCall(t.Context(), w.worker, one))
			must(t, w.SettleCall(t.Context(), jobs.Settlement{CallID: one.CallID, Outcome: jobs.CallFailedUnbilled, Cost: nano(0), Kind: providers.Overloaded}))
		}
		w.exec(t, refuse.sql, all[1].ID)
		err := w.BeginCall(t.Context(), w.worker, c)
		failed, ok := errors.AsType[*jobs.PackError](err)
		if !ok || len(failed.Refused) != 1 || !errors.Is(failed.Refused[all[1].ID], refuse.want) {
			t.Errorf("%s: %v, %+v", what, err, failed)
		}
		if n := w.count(t, `SELECT count(*) FROM calls WHERE id = $1`, c.CallID) + w.count(t, `SELECT count(*) FROM call_jobs WHERE call_id = $1`, c.CallID); n != 0 {
			t.Errorf("%s: %d rows in the ledger", what, n)
		}
	}
}

func TestAPackedCallReservesTheSumInItsBudgets(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	b := w.budget(t, billing.Budget{Scope: billing.Scope{Account: "default"}, Period: billing.Total, Limit: 100, Blocks: true})
	_, c, done := w.packedCall(t, 3, nil, nano(80), nano(61))
	must(t, w.BeginCall(t.Context(), w.worker, c))
	if got := w.money(t, b.ID); got.Reserved != 80 {
		t.Errorf("reserved %d, want 80", got.Reserved)
	}
	_, second, _ := w.packedCall(t, 2, nil, nano(21), nano(1))
	refused, ok := errors.AsType[*jobs.BudgetError](w.BeginCall(t.Context(), w.worker, second))
	if !ok || refused.Needs != 21 {
		t.Errorf("%+v", refused)
	}
	must(t, w.Succeed(t.Context(), done))
	if got := w.money(t, b.ID); got.Reserved != 0 || got.Spent != 61 {
		t.Errorf("reserved %d, spent %d, want 0 and 61", got.Reserved, got.Spent)
	}
	w.holds(t)
}

func TestAnUnknownPackedCallIsUnknownForEachOfItsJobs(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, done := w.packedCall(t, 3, func(n *jobs.New) { n.OnUnknown = jobs.FailUnknown }, nano(600), nano(6))
	must(t, w.BeginCall(t.Context(), w.worker, c))
	if n := w.takeOver(t); n != 3 {
		t.Fatalf("took %d jobs over, want 3", n)
	}
	for _, j := range all {
		if got := w.job(t, j.ID); got.State != jobs.Unknown {
			t.Errorf("%s, want unknown", got.State)
		}
	}
	if diff := cmp.Diff([]int{100, 200, 300}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Errorf("each at its share of the reserve:\n%s", diff)
	}
	w.holds(t)
	must(t, w.Succeed(t.Context(), done))
	for i, j := range all {
		if got := w.job(t, j.ID); got.State != jobs.Succeeded {
			t.Errorf("after the late answer job %d is %s", i, got.State)
		}
	}
	if diff := cmp.Diff([]int{1, 2, 3}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Errorf("after the late answer:\n%s", diff)
	}
	w.holds(t)
}

func TestAPersonResolvesAPackedCallOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, _ := w.packedCall(t, 3, func(n *jobs.New) { n.OnUnknown = jobs.FailUnknown }, nano(600), nano(6))
	must(t, w.BeginCall(t.Context(), w.worker, c))
	w.takeOver(t)
	must(t, w.SettleUnknown(t.Context(), all[1].ID.String(), false, false))
	if diff := cmp.Diff([]int{0, 0, 0}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Error(diff)
	}
	w.holds(t)
}

func TestAJobThatIsCancelledAfterTheSendOfAPackedCallStillSettles(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, done := w.packedCall(t, 2, nil, nano(30), nano(30))
	must(t, w.BeginCall(t.Context(), w.worker, c))
	if _, err := w.Cancel(t.Context(), all[1].ID.String()); err != nil {
		t.Fatal(err)
	}
	must(t, w.Succeed(t.Context(), done))
	if diff := cmp.Diff([]int{10, 20}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Error(diff)
	}
	for _, j := range all {
		if got := w.job(t, j.ID); got.State != jobs.Succeeded {
			t.Errorf("%s", got.State)
		}
	}
	w.holds(t)
}

func TestAJobWithoutAPartOfThePackedAnswerGoesOn(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, done := w.packedCall(t, 3, nil, nano(60), nano(60))
	done.Parts = done.Parts[1:]
	must(t, w.BeginCall(t.Context(), w.worker, c))
	must(t, w.Succeed(t.Context(), done))
	if got := w.job(t, all[0].ID); got.State != jobs.Running {
		t.Fatalf("%s", got.State)
	}
	alone := w.sent(t, all[0], nano(5))
	must(t, w.Succeed(t.Context(), success(all[0], alone, nano(5))))
	if diff := cmp.Diff([]int{15, 20, 30}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Error(diff)
	}
	bill, err := w.Expenses(t.Context(), all[0].ID.String())
	if got := fmt.Sprint(bill); err != nil || len(bill) != 2 {
		t.Errorf("%s, %v", got, err)
	}
	w.holds(t)
}

// A call is counted once, whatever it was to each of its jobs.
func TestTheExpensesOfABatchCountSharedCallsOnce(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	var all []*jobs.Job
	for _, d := range w.batch(t, "b", 4) {
		all = append(all, w.mustClaim(t, d))
	}
	each := func(int) int { return 1 }
	failed, _ := packOf(all, nano(60), nil, each)
	must(t, w.BeginCall(t.Context(), w.worker, failed))
	must(t, w.SettleCall(t.Context(), jobs.Settlement{CallID: failed.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(7), Kind: providers.Unreadable, Packed: true}))
	c, done := packOf(all, nano(60), nano(61), each)
	done.Parts = done.Parts[1:]
	must(t, w.BeginCall(t.Context(), w.worker, c))
	must(t, w.Succeed(t.Context(), done))
	must(t, w.Succeed(t.Context(), success(all[0], w.sent(t, all[0], nano(5)), nano(5))))
	want := []store.Expense{
		{Sort: "answer", Provider: "mock", Calls: 2, Jobs: 4, Cost: 66, Charge: 66},
		{Sort: "first", Provider: "mock", Calls: 1, Cost: 7, Charge: 7},
	}
	if bill, err := w.Expenses(t.Context(), "b"); err != nil || !cmp.Equal(bill, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, bill))
	}
	spent, err := w.Spending(t.Context(), billing.SpendingQuery{Batch: "b"})
	if err != nil || len(spent) != 1 || spent[0].Calls != 3 || spent[0].Cost != 73 {
		t.Errorf("%+v, %v", spent, err)
	}
	w.holds(t)
}

func TestAFailedPackedCallIsSettledOnceForAll(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	all, c, _ := w.packedCall(t, 3, nil, nano(60), nil)
	must(t, w.BeginCall(t.Context(), w.worker, c))
	failed := jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallFailedBilled, Cost: nano(7), Kind: providers.Unreadable, Latency: time.Second, Packed: true}
	must(t, w.SettleCall(t.Context(), failed))
	must(t, w.SettleCall(t.Context(), failed))
	if diff := cmp.Diff([]int{2, 2, 3}, w.costs(t, "cost_nano", all)); diff != "" {
		t.Error(diff)
	}
	w.holds(t)
}

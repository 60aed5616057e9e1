package store_test

import (
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

func TestSimulatedMoneyIsInNoTotalOfRealMoney(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const price = 3 * billing.USD
	for i, d := range w.batch(t, "b", 2) {
		j := w.mustClaim(t, d)
		c := callOf(j, nano(int64(price)))
		c.Simulated = i == 0
		must(t, w.BeginCall(ctx, w.worker, c))
		must(t, w.Succeed(ctx, success(j, c, nano(int64(price)))))
	}
	want := jobs.Money{Cost: price, Simulated: price}

	detail, err := w.BatchDetail(ctx, "b", true)
	if err != nil || detail.Money != want || len(detail.Models) != 1 || detail.Models[0].Money != want {
		t.Errorf("the batch's page: %+v, %v", detail, err)
	}
	tallies, err := w.Tallies(ctx, []string{"b"})
	if err != nil || tallies["b"].Money != want {
		t.Errorf("the list: %+v, %v", tallies, err)
	}
	f, err := w.Fleet(ctx)
	if err != nil || f.Totals.Day.Money != want || f.Providers[0].Traffic.Money != want {
		t.Errorf("the overview: %+v, %v", f, err)
	}
	health, err := w.Health(ctx, time.Hour)
	if err != nil || health[0].Models[0].Money != want {
		t.Errorf("providers: %+v, %v", health, err)
	}
	figures, err := w.TaskFigures(ctx, providers.Text, time.Hour)
	if err != nil || figures["mock"].Money != want {
		t.Errorf("a task: %+v, %v", figures, err)
	}
}

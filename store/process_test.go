package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// TestARequestIsProcessedStepByStep goes the way of the 2025 guide's process_request: the
// price is estimated, a budget refuses with its reason and the balance, funds do not
// reach, the charge is deducted, the spending recorded, and the analytics tell of it.
func TestARequestIsProcessedStepByStep(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	money := billing.NewMoney(w.Store, "operator")
	prices, err := billing.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	card := &billing.Card{Name: "credits of 2025", CreditUSD: "0.001", Credits: map[providers.Task]string{providers.Text: "1.0", providers.Image: "10"}}
	request := jobs.New{
		ID: jobs.NewID(), Seq: 1, Account: "customer", Provider: "openai", Lane: jobs.Default,
		Request: providers.Request{Task: providers.Text, Model: "gpt-6-luna", Prompt: "Write a haiku about autumn.", MaxTokens: 50},
	}

	// 1. The price is estimated, as what the provider charges and what the account is.
	estimate := &batches.Forecast{Prices: prices, At: time.Now(), Card: card, Kind: func(provider string) string { return provider }}
	estimate.Add(request)
	line := estimate.Lines()[0]
	if line.Unpriced != 0 || line.High <= 0 || line.Low > line.Expected || line.Expected > line.High {
		t.Fatalf("the provider's price: %+v", line)
	}
	if line.HighCharge != billing.USD/20 || line.LowCharge <= 0 || line.ExpectedCharge > line.HighCharge { // 50 words at a tenth of a cent
		t.Fatalf("the charge: %+v", line)
	}

	// 2. Without funds it is refused, with its need and the balance.
	if _, err := money.Deposit(ctx, "customer", 1, "opened"); err != nil {
		t.Fatal(err)
	}
	if _, err := money.SetCard(ctx, "customer", card); err != nil {
		t.Fatal(err)
	}
	has, limited, err := w.Funds(ctx, "customer")
	if err != nil || !limited || has.Card == nil {
		t.Fatalf("%+v, %t, %v", has, limited, err)
	}
	short, refused := errors.AsType[*billing.FundsError](has.Check(estimate.Least(request)))
	if !refused || short.Balance != 1 || short.Needs != estimate.Least(request) || !strings.Contains(short.Error(), "insufficient funds") {
		t.Fatalf("%+v", short)
	}
	if _, err := money.Deposit(ctx, "customer", billing.USD, "invoice 1042"); err != nil {
		t.Fatal(err)
	}

	// 3. A budget refuses, and says which, why, and what is left of it.
	kinds := &billing.Prices{List: prices, Kinds: map[string]string{"openai": "openai"}}
	reserved, units, priced := kinds.Reserve("openai", request.Request, time.Now())
	if !priced {
		t.Fatal("the model has no price")
	}
	daily := w.budget(t, billing.Budget{Scope: billing.Scope{Account: "customer"}, Period: billing.Day, Limit: reserved - 1, Blocks: true})
	job := w.running(t, func(r *jobs.New) { *r = request })
	call := jobs.Call{
		CallID: jobs.NewID(), JobID: job.ID, LeaseToken: job.LeaseToken, Provider: "openai", Model: "gpt-6-luna", Task: providers.Text,
		Reserved: &reserved, Units: units, Timeout: time.Minute,
	}
	refusal := budgetOf(w.BeginCall(ctx, w.worker, call))
	if refusal == nil || refusal.Budget.ID != daily.ID || refusal.Needs != reserved || refusal.Budget.Left() != reserved-1 {
		t.Fatalf("%+v", refusal)
	}
	for _, part := range []string{"daily budget of", "account customer", "has " + (reserved - 1).Human() + " left"} {
		if !strings.Contains(refusal.Error(), part) {
			t.Errorf("%q does not say %q", refusal.Error(), part)
		}
	}
	if got := w.wallet(t, "customer"); got.Reserved != 0 || got.Spent != 0 {
		t.Fatalf("a refused call has taken of the wallet: %+v", got)
	}

	// 4. Raised, it lets the call through: cost and charge are reserved, then deducted.
	w.budget(t, billing.Budget{Scope: billing.Scope{Account: "customer"}, Period: billing.Day, Limit: billing.USD, Blocks: true})
	if err := w.BeginCall(ctx, w.worker, call); err != nil {
		t.Fatal(err)
	}
	if got, capped := w.wallet(t, "customer"), w.money(t, daily.ID); got.Reserved != billing.USD/20 || capped.Reserved != reserved {
		t.Errorf("%s and %s are reserved", got.Reserved, capped.Reserved)
	}
	answer := providers.Response{
		Provider: "openai", Model: "gpt-6-luna", Text: "Leaves drift on still ponds\nA cold wind counts what is left\nThe heron looks up", Status: 200,
		Usage: providers.Usage{InputTokens: 14, OutputTokens: 21},
	}
	cost, rows, priced := kinds.Cost("openai", "gpt-6-luna", answer.Usage, time.Now())
	if !priced {
		t.Fatal("the answer has no price")
	}
	err = w.Succeed(ctx, jobs.Success{
		JobID: job.ID, LeaseToken: job.LeaseToken, Response: answer,
		Settlement: jobs.Settlement{
			CallID: call.CallID, Outcome: jobs.CallSucceeded, Cost: &cost, PriceIDs: rows, Usage: answer.Usage, Status: 200,
			Units: billing.Units(providers.Text, answer),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const words = 16 * billing.USD / 1000
	wallet, budget := w.wallet(t, "customer"), w.money(t, daily.ID)
	if wallet.Spent != words || wallet.Reserved != 0 || wallet.Left() != billing.USD+1-words || budget.Spent != cost || budget.Reserved != 0 {
		t.Errorf("wallet %+v, budget %+v", wallet, budget)
	}

	// 5. The spending is recorded, in the statement and in the job's row.
	statement, err := w.Statement(ctx, "customer", 1)
	if err != nil || len(statement) != 1 || statement[0].Amount != -words || *statement[0].Cost != cost || statement[0].Balance != wallet.Left() {
		t.Errorf("%+v, %v", statement, err)
	}
	if p, err := w.Progress(ctx, job.ID.String()); err != nil || p.State != string(jobs.Succeeded) || p.Cost != cost || p.Charge != words {
		t.Errorf("%+v, %v", p, err)
	}

	// 6. The analytics know of both.
	sums, err := w.Spending(ctx, billing.SpendingQuery{By: []billing.Dimension{billing.ByAccount, billing.ByProvider, billing.ByModel}})
	if err != nil || len(sums) != 1 || strings.Join(sums[0].Of, " ") != "customer openai gpt-6-luna" || sums[0].Cost != cost || sums[0].Charge != words || sums[0].Calls != 1 {
		t.Errorf("%+v, %v", sums, err)
	}
	w.holds(t)
}

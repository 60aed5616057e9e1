package monitor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"oneflow/access"
	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/worker"
)

func TestMoneyIsPaidInOnceAndEachSeesItsOwn(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	admin, mine := h.token(t, access.Admin, ""), h.token(t, access.Operate, "mine")
	paid := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"50","note":"january"}`, "Idempotency-Key", "k")
	again := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"50","note":"january"}`, "Idempotency-Key", "k")
	if paid.field(t, "balance_usd") != "50" || again.body != paid.body {
		t.Errorf("%s, then %s", paid.body, again.body)
	}
	h.expect(t, 422, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"60"}`, "Idempotency-Key", "k")
	h.expect(t, 409, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-60"}`)
	out := h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-40"}`, "Idempotency-Key", "out")
	// What is left would not do for it once more: it is the same one.
	if h.expect(t, 200, "POST", "/api/v1/accounts/mine/deposits", admin, `{"amount_usd":"-40"}`, "Idempotency-Key", "out").body != out.body {
		t.Error("taken out twice")
	}
	h.expect(t, 200, "POST", "/api/v1/accounts/theirs/deposits", admin, `{"amount_usd":"777"}`)
	for _, wrong := range []string{``, `{"amount_usd":"0"}`, `{"amount_usd":"a lot"}`, `{"amount_usd":5}`, `{"amount_usd":"1e9"}`} {
		h.expect(t, 400, "POST", "/api/v1/accounts/mine/deposits", admin, wrong)
	}
	// More than any sum may hold is refused, and not an error of the database.
	for range 90 {
		h.expect(t, 200, "POST", "/api/v1/accounts/rich/deposits", admin, `{"amount_usd":"100000000"}`)
	}
	h.expect(t, 400, "POST", "/api/v1/accounts/rich/deposits", admin, `{"amount_usd":"0.000000001"}`)
	h.expect(t, 400, "POST", "/api/v1/accounts/rich/deposits", admin, `{"amount_usd":"-100000000.000000001"}`)
	h.expect(t, 403, "POST", "/api/v1/accounts/mine/deposits", mine, `{"amount_usd":"50"}`)
	first := h.expect(t, 200, "GET", "/api/v1/accounts/mine/statement?limit=1", mine, "")
	rest := h.expect(t, 200, "GET", "/api/v1/accounts/mine/statement?limit=1&cursor="+fmt.Sprint(first.field(t, "next")), mine, "")
	if first.field(t, "data", 0, "amount") != "-40" || rest.field(t, "data", 0, "amount") != "50" || rest.field(t, "next") != nil {
		t.Errorf("%s then %s", first.body, rest.body)
	}
	if list := h.expect(t, 200, "GET", "/api/v1/accounts", mine, ""); list.field(t, "data", 0, "name") != "mine" || list.field(t, "data", 1) != nil {
		t.Errorf("%s", list.body)
	}
	h.expect(t, 404, "GET", "/api/v1/accounts/theirs", mine, "")
	h.expect(t, 404, "GET", "/api/v1/accounts/theirs/statement", mine, "")

	set := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"day","limit":"5","account":"mine"}`)
	if same := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"day","limit":"5","account":"mine"}`); same.field(t, "id") != set.field(t, "id") {
		t.Errorf("%s, then %s", set.body, same.body)
	}
	theirs := h.expect(t, 200, "POST", "/api/v1/budgets", admin, `{"period":"total","limit":"777","blocks":false}`)
	if set.field(t, "blocks") != true || theirs.field(t, "blocks") != false {
		t.Errorf("one that blocks unless it says otherwise, and one that does not: %s, %s", set.body, theirs.body)
	}
	if list := h.expect(t, 200, "GET", "/api/v1/budgets", mine, ""); list.field(t, "data", 0, "account") != "mine" || list.field(t, "data", 1) != nil {
		t.Errorf("%s", list.body)
	}
	for _, wrong := range []string{
		`{}`, `{"period":"day"}`, `{"period":"year","limit":"1"}`, `{"period":"day","limit":"-1"}`, `{"period":"day","limit":"1","timezone":"Mars"}`,
		`{"period":"day","limit":"1","model":"a\u0000b"}`, `{"period":"day","limit":"1","tag":"a=\u0000"}`, `{"period":"day","limit":"1","batch":"\n"}`,
		`{"period":"day","limit":"1","provider":"` + strings.Repeat("p", 500) + `"}`,
	} {
		h.expect(t, 400, "POST", "/api/v1/budgets", admin, wrong)
	}
	h.expect(t, 204, "DELETE", fmt.Sprintf("/api/v1/budgets/%v", theirs.field(t, "id")), admin, "")
	h.expect(t, 404, "DELETE", "/api/v1/budgets/999999", admin, "")
	h.expect(t, 404, "DELETE", "/api/v1/budgets/none", admin, "")
}

// ended makes a job of an account that cost a dollar.
func (h *program) ended(t *testing.T, account string) {
	t.Helper()
	id := jobs.NewID()
	must(t, h.db.Register(t.Context(), worker.Presence{ID: id, Host: "beta", PID: 8}))
	row := jobs.New{ID: jobs.NewID(), Provider: "mock", Account: account, Request: providers.Request{Task: providers.Text, Model: "m", Prompt: "x"}}
	must(t, jobs.NewKeys().Assign(&row))
	acc, err := h.db.AcceptJobs(t.Context(), "", []jobs.New{row}, true)
	must(t, err)
	d := acc.Deliveries[0]
	got, err := h.db.Claim(t.Context(), id, jobs.Claim{ID: d.ID, Gen: d.Gen, LeaseToken: jobs.NewID()})
	must(t, err)
	cost := billing.USD
	c := jobs.Call{CallID: jobs.NewID(), JobID: d.ID, LeaseToken: got.Job.LeaseToken, Provider: "mock", Model: "m", Reserved: &cost, Timeout: time.Minute}
	must(t, h.db.BeginCall(t.Context(), id, c))
	must(t, h.db.Succeed(t.Context(), jobs.Success{
		JobID: d.ID, LeaseToken: got.Job.LeaseToken, Settlement: jobs.Settlement{CallID: c.CallID, Outcome: jobs.CallSucceeded, Cost: &cost, Status: 200},
		Response: providers.Response{Provider: "mock", Model: "m", Text: "x", Raw: []byte("x"), Status: 200},
	}))
}

func TestCostsAreSummedUpForWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	h := openProgram(t)
	for _, account := range []string{"mine", "theirs", "theirs"} {
		h.ended(t, account)
	}
	all, mine := h.token(t, access.Read, ""), h.token(t, access.Read, "mine")
	if r := h.expect(t, 200, "GET", "/api/v1/cost", all, ""); r.field(t, "data", 0, "cost_usd") != "3" || r.field(t, "data", 0, "charge_usd") != "3" || r.field(t, "data", 0, "saved_usd") != "0" {
		t.Errorf("%s", r.body)
	}
	if r := h.expect(t, 200, "GET", "/api/v1/cost?by=account,model&since=1h", all, ""); r.field(t, "data", 0, "by", "account") != "theirs" || r.field(t, "data", 1, "cost_usd") != "1" {
		t.Errorf("%s", r.body)
	}
	for _, query := range []string{"", "?account=theirs", "?by=account"} {
		if r := h.expect(t, 200, "GET", "/api/v1/cost"+query, mine, ""); r.field(t, "data", 0, "cost_usd") != "1" || strings.Contains(r.body, "theirs") {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	for _, wrong := range []string{"?by=colour", "?since=never", "?timezone=Mars", "?by=hour,day,model,provider,account", "?batch=%00"} {
		h.expect(t, 400, "GET", "/api/v1/cost"+wrong, all, "")
	}
}

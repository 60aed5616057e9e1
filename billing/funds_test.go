package billing_test

import (
	"math"
	"strings"
	"testing"

	"oneflow/billing"
)

func TestABudgetNamesTheCommandThatRaisesIt(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]billing.Budget{
		"monitor budget set --daily AMOUNT --provider openai":                                      {Scope: billing.Scope{Provider: "openai"}, Period: billing.Day, Zone: "UTC", Blocks: true},
		"monitor budget set --total AMOUNT --batch b --tag team=search --simulated":                {Scope: billing.Scope{Batch: "b", Tag: "team=search", Simulated: true}, Period: billing.Total, Blocks: true},
		"monitor budget set --monthly AMOUNT --account a --model m --timezone Europe/Paris --warn": {Scope: billing.Scope{Account: "a", Model: "m"}, Period: billing.Month, Zone: "Europe/Paris"},
		`monitor budget set --total AMOUNT --tag 'team=it'\''s; "us" 50 %'`:                        {Scope: billing.Scope{Tag: `team=it's; "us" 50 %`}, Period: billing.Total, Blocks: true},
		"monitor wallet deposit alpha AMOUNT":                                                      {Scope: billing.Scope{Account: "alpha"}, Wallet: true, Period: billing.Total},
	} {
		if got := b.Command(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestABudgetTellsWhatIsLeftAndNeededOnlyWhereACallDidNotFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		budget billing.Budget
		want   string
	}{
		{billing.Budget{Limit: 50_000_000, Stopped: true, Needs: 64_000_000}, "$0.05 is left, and the next call may cost $0.064"},
		{billing.Budget{Limit: 100, Spent: 5, Reserved: 5, Stopped: true, Needs: 91}, "$0.00000009 is left, and the next call may cost $0.000000091"},
		{billing.Budget{Limit: 100, Needs: 101}, ""},                            // none waits
		{billing.Budget{Limit: 100, Spent: 100, Stopped: true, Needs: 1}, ""},   // nothing is left
		{billing.Budget{Limit: 100, Spent: 120, Stopped: true, Needs: 1}, ""},   // less than nothing is left
		{billing.Budget{Limit: 1_000, Spent: 100, Stopped: true, Needs: 1}, ""}, // it was given back since
	} {
		if got := c.budget.Short(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.budget, got, c.want)
		}
	}
}

func TestAbsurdSumsLeaveNothing(t *testing.T) {
	t.Parallel()
	const all = math.MaxInt64
	for _, c := range []struct{ limit, spent, reserved, want billing.NanoUSD }{
		{100, 60, 30, 10}, {100, 60, 50, -10}, {0, all, 0, -all}, {0, all, 1, math.MinInt64}, {0, all, all, math.MinInt64}, {100, all, all, math.MinInt64}, {all, 0, all, 0},
	} {
		if got := (billing.Budget{Limit: c.limit, Spent: c.spent, Reserved: c.reserved}).Left(); got != c.want {
			t.Errorf("%d less %d less %d: %d left, want %d", c.limit, c.spent, c.reserved, got, c.want)
		}
	}
}

func TestARefusalForFundsAddsUpToTheNanoDollar(t *testing.T) {
	t.Parallel()
	err := billing.Funds{Account: "alpha", Balance: 20_000, Reserved: 4_000, Waiting: 6_000}.Check(10_001)
	for _, part := range []string{"at least $0.000010001", "holds $0.00002", "hold $0.000004", "need at least $0.000006", "at least $0.01 with"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: does not say %q", err, part)
		}
	}
	if err := (billing.Funds{Balance: 20_000, Reserved: 4_000, Waiting: 6_000}).Check(10_000); err != nil {
		t.Error(err)
	}
}

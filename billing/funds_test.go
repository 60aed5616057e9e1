package billing_test

import (
	"testing"

	"oneflow/billing"
)

func TestABudgetNamesTheCommandThatRaisesIt(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]billing.Budget{
		"monitor budget set --daily AMOUNT --provider openai":                                      {Scope: billing.Scope{Provider: "openai"}, Period: billing.Day, Zone: "UTC", Blocks: true},
		"monitor budget set --total AMOUNT --batch b --tag team=search --simulated":                {Scope: billing.Scope{Batch: "b", Tag: "team=search", Simulated: true}, Period: billing.Total, Blocks: true},
		"monitor budget set --monthly AMOUNT --account a --model m --timezone Europe/Paris --warn": {Scope: billing.Scope{Account: "a", Model: "m"}, Period: billing.Month, Zone: "Europe/Paris"},
		"monitor wallet deposit alpha AMOUNT":                                                      {Scope: billing.Scope{Account: "alpha"}, Wallet: true, Period: billing.Total},
	} {
		if got := b.Command(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package billing

import "fmt"

// Funds holds what an account has to spend on new jobs.
type Funds struct {
	Account string
	// Balance is the money in its wallet, and Reserved the part of it that calls under way may take.
	Balance, Reserved NanoUSD
	// Waiting is the least that its jobs will cost which were accepted before and wait.
	Waiting NanoUSD
	// Card says what the account is charged; nil: what providers charge.
	Card *Card
}

// free returns the money that is left for new jobs.
func (f Funds) free() NanoUSD { return max(f.Balance-f.Reserved-f.Waiting, 0) }

// Check fails with a *FundsError where jobs that cost at least so much do not fit.
func (f Funds) Check(needs NanoUSD) error {
	if needs <= f.free() {
		return nil
	}
	return &FundsError{Funds: f, Needs: needs}
}

// FundsError reports that the wallet of an account does not reach for jobs, which are
// refused.
type FundsError struct {
	Funds
	// Needs is the least that they cost.
	Needs NanoUSD
}

func (e *FundsError) Error() string {
	taken := ""
	if e.Reserved > 0 {
		taken += fmt.Sprintf(", of which calls under way hold %s", e.Reserved.Exact())
	}
	if e.Waiting > 0 {
		taken += fmt.Sprintf(", and jobs that wait need at least %s", e.Waiting.Exact())
	}
	return fmt.Sprintf("insufficient funds: this costs at least %s, and the wallet of account %s holds %s%s: nothing was accepted; "+
		"pay in at least %s with `monitor wallet deposit %s AMOUNT`",
		e.Needs.Exact(), e.Account, e.Balance.Exact(), taken, upToCent(e.Needs-e.free()).Human(), e.Account)
}

// upToCent rounds up to whole cents.
func upToCent(n NanoUSD) NanoUSD {
	const cent = USD / 100
	return (n + cent - 1) / cent * cent
}

package billing

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Period is the time after which a budget begins anew.
type Period string

// The periods of budgets. They begin by the calendar of the budget's time zone, a
// week on Monday; a total never ends.
const (
	Hour  Period = "hour"
	Day   Period = "day"
	Week  Period = "week"
	Month Period = "month"
	Total Period = "total"
)

// Periods lists them, the shortest first.
func Periods() []Period { return []Period{Hour, Day, Week, Month, Total} }

// Scope says which calls a budget holds for: those that match all that is set.
type Scope struct {
	Account  string `json:"account,omitempty"`
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	Batch    string `json:"batch,omitempty"`
	// Tag is a tag of batches, NAME=VALUE.
	Tag string `json:"tag,omitempty"`
	// Simulated caps the money of mock and fake providers in place of real money.
	Simulated bool `json:"simulated,omitempty"`
}

// String names the scope, such as "provider openai, account alpha"; "all calls" where
// nothing is set.
func (s Scope) String() string {
	var parts []string
	for _, p := range s.parts() {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	if len(parts) == 0 {
		parts = []string{"all calls"}
	}
	text := strings.Join(parts, ", ")
	if s.Simulated {
		text += " (simulated money)"
	}
	return text
}

type scopePart struct{ name, value string }

func (s Scope) parts() []scopePart {
	return []scopePart{{"account", s.Account}, {"provider", s.Provider}, {"model", s.Model}, {"batch", s.Batch}, {"tag", s.Tag}}
}

// Budget caps what may be spent in a scope.
type Budget struct {
	ID int64 `json:"id"`
	Scope
	// Wallet reports whether this is an account's wallet: a total whose limit is what was
	// paid in.
	Wallet bool `json:"wallet,omitempty"`
	// Card says what a wallet takes for calls, where that is not their cost.
	Card   *Card  `json:"card,omitempty"`
	Period Period `json:"period"`
	// Zone is the time zone of the periods, such as Europe/Paris. Default: UTC.
	Zone  string  `json:"timezone"`
	Limit NanoUSD `json:"limit"`
	// Blocks reports whether calls that might exceed it are held back; else it only warns.
	Blocks bool `json:"blocks"`

	// Began and Ends bound the present period; both zero for a total.
	Began time.Time `json:"began,omitzero"`
	Ends  time.Time `json:"ends,omitzero"`
	// Spent is the cost of the calls of this period, Reserved the most that those under
	// way can cost.
	Spent    NanoUSD `json:"spent"`
	Reserved NanoUSD `json:"reserved"`
	// Stopped reports whether a call did not fit and waits; Needs is the least that such a call
	// can cost at most.
	Stopped bool    `json:"stopped,omitempty"`
	Needs   NanoUSD `json:"needs,omitempty"`
	// By names the person who set it last, At the time.
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Left returns the amount that may still be reserved: negative where a bill was above its reserve.
func (b Budget) Left() NanoUSD {
	const least = math.MinInt64 // absurd sums must not turn round to positive ones
	left := b.Limit - b.Spent
	if left < 0 && b.Reserved > left-least {
		return least
	}
	return left - b.Reserved
}

// String names the budget, such as "daily budget of $50.00 for provider openai".
func (b Budget) String() string {
	if b.Wallet {
		return "wallet of account " + b.Account
	}
	return fmt.Sprintf("%s budget of %s for %s", b.Period.adjective(), b.Limit.Human(), b.Scope)
}

func (p Period) adjective() string {
	return map[Period]string{Hour: "hourly", Day: "daily", Week: "weekly", Month: "monthly", Total: "total"}[p]
}

// Short tells how much is left, and that the next call needs more, such as "$0.05 is left,
// and the next call may cost $0.064". It is empty where nothing is left, or nothing waits.
func (b Budget) Short() string {
	left := b.Left()
	if !b.Stopped || left <= 0 || b.Needs <= left {
		return ""
	}
	return fmt.Sprintf("%s is left, and the next call may cost %s", left.Exact(), b.Needs.Exact())
}

// Command raises it, such as "monitor budget set --daily AMOUNT --provider openai".
func (b Budget) Command() string {
	if b.Wallet {
		return "monitor wallet deposit " + b.Account + " AMOUNT"
	}
	words := []string{"monitor budget set", "--" + b.Period.adjective(), "AMOUNT"}
	for _, p := range b.parts() {
		if p.value != "" {
			words = append(words, "--"+p.name, shellWord(p.value))
		}
	}
	if b.Simulated {
		words = append(words, "--simulated")
	}
	if b.Zone != "" && b.Zone != "UTC" {
		words = append(words, "--timezone", b.Zone)
	}
	if !b.Blocks {
		words = append(words, "--warn")
	}
	return strings.Join(words, " ")
}

// shellWord is a value as a shell takes it for one word.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-@=:/+,", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// Entry is a row of an account's ledger.
type Entry struct {
	ID int64     `json:"id"`
	At time.Time `json:"at"`
	// Amount is positive where it was paid in, and negative where it was charged or taken out.
	Amount NanoUSD `json:"amount"`
	// Balance is the sum of all rows up to this one.
	Balance NanoUSD `json:"balance"`
	// Call is the id of the provider call that was charged or corrected; empty for a
	// deposit.
	Call string `json:"call,omitempty"`
	// Cost is the provider's price of the call, as far as that is known by now; nil: it is
	// not, or there is no call.
	Cost *NanoUSD `json:"cost,omitempty"`
	Note string   `json:"note,omitempty"`
	By   string   `json:"by,omitempty"`
}

// Errors of the orders about money.
var (
	// ErrNoBudget: there is no such budget.
	ErrNoBudget = errors.New("no such budget")
	// ErrNoWallet: the account has no wallet.
	ErrNoWallet = errors.New("the account has no wallet: its calls are not limited by a balance")
	// ErrBadOrder: what was asked for cannot be; the error says why.
	ErrBadOrder = errors.New("the order about money is refused")
	// ErrOtherDeposit: a deposit's key was used for another account or amount.
	ErrOtherDeposit = errors.New("this idempotency key was used for another deposit")
	// ErrOverdrawn: more is to be taken out than there is.
	ErrOverdrawn = errors.New("that is more than the wallet holds")
)

// BudgetStore keeps budgets and wallets.
type BudgetStore interface {
	// SetBudget makes a budget, or sets the limit, zone and mode of the one with this
	// scope and period. What was spent in the present period counts. What waits for a
	// budget is looked at again.
	SetBudget(ctx context.Context, b Budget) (Budget, error)
	// RemoveBudget removes one by its id. It fails with ErrNoBudget.
	RemoveBudget(ctx context.Context, id int64) error
	// Budgets returns all, wallets included.
	Budgets(ctx context.Context) ([]Budget, error)
	// Deposit pays into a wallet, which is made at the first time, or takes out of it,
	// where amount is negative. It fails with ErrOverdrawn, and with ErrBadOrder above MaxPaidIn.
	Deposit(ctx context.Context, account string, amount NanoUSD, note, by string) (Budget, error)
	// DepositOnce is Deposit, once for a key: a repetition changes nothing. With another
	// account or amount it fails with ErrOtherDeposit.
	DepositOnce(ctx context.Context, key uuid.UUID, account string, amount NanoUSD, note, by string) (Budget, error)
	// SetCard has the wallet of an account take what a rate card says; nil: the cost. It
	// fails with ErrNoWallet.
	SetCard(ctx context.Context, account string, card *Card, by string) (Budget, error)
	// RaiseBound sets what is reserved for a model's calls under budgets, and lets it go on.
	RaiseBound(ctx context.Context, b Bound) error
	// StatementBefore returns the newest rows of an account's ledger before an id, the
	// newest first. It fails with ErrNoWallet.
	StatementBefore(ctx context.Context, account string, before int64, limit int) ([]Entry, error)
}

// maxAmount bounds what people type: a hundred million dollars. maxScope bounds each part of
// a scope, in bytes: an index has to hold them all.
const (
	maxAmount = 100_000_000 * USD
	maxScope  = 400
)

// MaxPaidIn bounds what is paid into a wallet in all: sums with it stay far from overflow.
const MaxPaidIn = 9_000_000_000 * USD

// names matches the names of accounts.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// Money gives the orders about budgets and wallets, after it has checked them, so
// that commands and pages do the same.
type Money struct {
	store BudgetStore
	by    string
}

// NewMoney makes one that acts in the name of by.
func NewMoney(store BudgetStore, by string) Money { return Money{store, by} }

// Set makes or changes a budget.
func (m Money) Set(ctx context.Context, b Budget) (Budget, error) {
	if b.Zone == "" {
		b.Zone = "UTC"
	}
	if _, err := time.LoadLocation(b.Zone); err != nil || b.Zone == "Local" {
		return Budget{}, badOrder("time zone %q: not known: use a name such as Europe/Paris or UTC", b.Zone)
	}
	for _, p := range b.parts() {
		if len(p.value) > maxScope || !utf8.ValidString(p.value) || strings.ContainsFunc(p.value, unicode.IsControl) {
			return Budget{}, badOrder("%s %s: must be at most %d bytes of text, in one line", p.name, quote(p.value), maxScope)
		}
	}
	switch {
	case !slices.Contains(Periods(), b.Period):
		return Budget{}, badOrder("period %s: must be one of %v", quote(string(b.Period)), Periods())
	case b.Limit < 0 || b.Limit > maxAmount:
		return Budget{}, badOrder("a limit of %s: must be from $0 to %s", b.Limit.Human(), maxAmount.Human())
	case b.Account != "" && !names.MatchString(b.Account):
		return Budget{}, badAccount(b.Account)
	case b.Tag != "" && strings.Index(b.Tag, "=") < 1:
		return Budget{}, badOrder("tag %q: must be NAME=VALUE", b.Tag)
	}
	b.By, b.Wallet = m.by, false
	return m.store.SetBudget(ctx, b)
}

// Remove removes a budget.
func (m Money) Remove(ctx context.Context, id int64) error { return m.store.RemoveBudget(ctx, id) }

// Deposit pays into the wallet of an account, or takes out of it.
func (m Money) Deposit(ctx context.Context, account string, amount NanoUSD, note string) (Budget, error) {
	if err := checkDeposit(account, amount, note); err != nil {
		return Budget{}, err
	}
	return m.store.Deposit(ctx, account, amount, note, m.by)
}

// DepositOnce is Deposit, once for a key; the zero key is always a new one.
func (m Money) DepositOnce(ctx context.Context, key uuid.UUID, account string, amount NanoUSD, note string) (Budget, error) {
	if key == uuid.Nil {
		return m.Deposit(ctx, account, amount, note)
	}
	if err := checkDeposit(account, amount, note); err != nil {
		return Budget{}, err
	}
	return m.store.DepositOnce(ctx, key, account, amount, note, m.by)
}

func checkDeposit(account string, amount NanoUSD, note string) error {
	switch {
	case !names.MatchString(account):
		return badAccount(account)
	case amount > maxAmount || amount < -maxAmount:
		return badOrder("an amount of %s: must be at most %s", amount.Human(), maxAmount.Human())
	case len(note) > 500:
		return badOrder("a note of %d bytes: must be at most 500", len(note))
	}
	return nil
}

// SetCard gives the wallet of an account a rate card, or takes it away where card is nil.
func (m Money) SetCard(ctx context.Context, account string, card *Card) (Budget, error) {
	if !names.MatchString(account) {
		return Budget{}, badAccount(account)
	}
	if card != nil {
		if err := card.Check(); err != nil {
			return Budget{}, err
		}
	}
	return m.store.SetCard(ctx, account, card, m.by)
}

// RaiseBound sets what is reserved for the calls of a model under budgets, in percent of
// what the price list says, and lets a model go on that had a bill above it.
func (m Money) RaiseBound(ctx context.Context, provider, model string, percent int) error {
	if percent < 100 || percent > maxBoundPercent {
		return badOrder("a bound of %d %%: must be from 100 to %d", percent, maxBoundPercent)
	}
	return m.store.RaiseBound(ctx, Bound{Provider: provider, Model: model, Percent: percent, By: m.by})
}

func badAccount(name string) error {
	return badOrder("account %q: must be 1 to 64 letters, digits, '.', '_', '@' or '-', beginning with a letter or digit", name)
}

// orderError is an ErrBadOrder with the reason as its text.
type orderError struct{ reason string }

func (e *orderError) Error() string        { return e.reason }
func (e *orderError) Is(target error) bool { return target == ErrBadOrder }

func badOrder(format string, args ...any) error { return &orderError{fmt.Sprintf(format, args...)} }

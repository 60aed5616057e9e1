package api

import (
	"crypto/sha256"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"oneflow/access"
	"oneflow/billing"
	"oneflow/config"
)

// account is an account's wallet as programs see it.
type account struct {
	Name string `json:"name"`
	// Balance is the money paid in less the money charged, Free the part of it that calls
	// under way have not reserved.
	Balance  billing.NanoUSD `json:"balance_usd"`
	Reserved billing.NanoUSD `json:"reserved_usd"`
	Free     billing.NanoUSD `json:"free_usd"`
	Spent    billing.NanoUSD `json:"spent_usd"`
	// Card is its rate card, or null: it is charged what providers charge.
	Card *billing.Card `json:"card"`
}

func accountOf(b billing.Budget) account {
	return account{b.Account, b.Limit - b.Spent, b.Reserved, b.Left(), b.Spent, b.Card}
}

// budget is a budget as programs see it.
type budget struct {
	billing.Budget
	Left billing.NanoUSD `json:"left"`
}

// myBudgets are the wallets, or the budgets, that whoever asks may see.
func (a *API) myBudgets(r *http.Request, wallets bool) ([]billing.Budget, error) {
	list, err := a.cfg.Money.Budgets(r.Context())
	p := access.From(r.Context())
	return slices.DeleteFunc(list, func(b billing.Budget) bool { return b.Wallet != wallets || !p.Sees(b.Account) }), err
}

func (a *API) listAccounts(w http.ResponseWriter, r *http.Request) {
	list, err := a.myBudgets(r, true)
	slices.SortFunc(list, func(a, b billing.Budget) int { return strings.Compare(a.Account, b.Account) })
	all := make([]account, len(list))
	for i, b := range list {
		all[i] = accountOf(b)
	}
	var p part[account]
	if err == nil {
		p, err = cut(r, all, func(a account) string { return a.Name })
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// myWallet reads the wallet that a path names, if whoever asks may see it.
func (a *API) myWallet(r *http.Request) (billing.Budget, error) {
	list, err := a.myBudgets(r, true)
	name := named(r)
	for _, b := range list {
		if b.Account == name {
			return b, err
		}
	}
	if err == nil {
		err = billing.ErrNoWallet
	}
	return billing.Budget{}, err
}

func (a *API) getAccount(w http.ResponseWriter, r *http.Request) {
	b, err := a.myWallet(r)
	a.answer(w, r, http.StatusOK, accountOf(b), err)
}

// statement lists an account's ledger, the newest first.
func (a *API) statement(w http.ResponseWriter, r *http.Request) {
	b, err := a.myWallet(r)
	most, before := 0, int64(math.MaxInt64)
	if err == nil {
		most, err = limit(r)
	}
	if c := r.URL.Query().Get("cursor"); c != "" && err == nil {
		if before, err = strconv.ParseInt(c, 10, 64); err != nil || before < 1 {
			err = bad("cursor: must be the next of the part before")
		}
	}
	p := part[billing.Entry]{Data: []billing.Entry{}}
	if err == nil {
		var list []billing.Entry
		list, err = a.cfg.Money.StatementBefore(r.Context(), b.Account, before, most+1)
		if len(list) > most {
			list = list[:most]
			p.Next = strconv.FormatInt(list[most-1].ID, 10)
		}
		p.Data = append(p.Data, list...)
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// deposit pays into a wallet, or takes out of it. With an idempotency key it does so once.
func (a *API) deposit(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Amount billing.NanoUSD `json:"amount_usd"`
		Note   string          `json:"note"`
	}
	err := read(r, &body)
	key := r.Header.Get("Idempotency-Key")
	if err == nil && (len(key) > maxKey || !utf8.ValidString(key)) {
		err = bad("Idempotency-Key: must be text of at most %d bytes", maxKey)
	}
	if err == nil && body.Amount == 0 {
		err = bad("amount_usd: must be an amount such as 50 or -20, not 0")
	}
	id := uuid.Nil
	if key != "" {
		sum := sha256.Sum256([]byte("deposit\n" + actor(r) + "\n" + named(r) + "\n" + key))
		id = uuid.NewSHA1(uuid.NameSpaceOID, sum[:])
	}
	var wallet billing.Budget
	if err == nil {
		wallet, err = billing.NewMoney(a.cfg.Money, actor(r)).DepositOnce(r.Context(), id, named(r), body.Amount, body.Note)
	}
	a.answer(w, r, http.StatusOK, accountOf(wallet), err)
}

func (a *API) listBudgets(w http.ResponseWriter, r *http.Request) {
	list, err := a.myBudgets(r, false)
	slices.SortFunc(list, func(a, b billing.Budget) int { return int(a.ID - b.ID) })
	all := make([]budget, len(list))
	for i, b := range list {
		all[i] = budget{b, b.Left()}
	}
	const digits = 20 // so that keys sort as numbers do
	var p part[budget]
	if err == nil {
		p, err = cut(r, all, func(b budget) string {
			s := strconv.FormatInt(b.ID, 10)
			return strings.Repeat("0", digits-len(s)) + s
		})
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// newBudget holds what a program sets.
type newBudget struct {
	billing.Scope
	Period billing.Period   `json:"period"`
	Zone   string           `json:"timezone"`
	Limit  *billing.NanoUSD `json:"limit"`
	// Blocks reports whether calls that might exceed it are held back; else it only warns. Default: true.
	Blocks *bool `json:"blocks"`
}

// setBudget makes a budget, or changes the one of the same scope and period: to repeat it
// changes nothing.
func (a *API) setBudget(w http.ResponseWriter, r *http.Request) {
	var n newBudget
	err := read(r, &n)
	switch {
	case err != nil:
	case n.Limit == nil:
		err = bad("limit: is missing: an amount in dollars, such as \"50\"")
	case !slices.Contains(billing.Periods(), n.Period):
		err = bad("period: must be one of %v", billing.Periods())
	}
	var b billing.Budget
	if err == nil {
		b, err = billing.NewMoney(a.cfg.Money, actor(r)).Set(r.Context(), billing.Budget{
			Scope: n.Scope, Period: n.Period, Zone: n.Zone, Limit: *n.Limit, Blocks: n.Blocks == nil || *n.Blocks,
		})
	}
	a.answer(w, r, http.StatusOK, budget{b, b.Left()}, err)
}

func (a *API) removeBudget(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		err = billing.ErrNoBudget
	}
	if err == nil {
		err = billing.NewMoney(a.cfg.Money, actor(r)).Remove(r.Context(), id)
	}
	a.answer(w, r, http.StatusNoContent, nil, err)
}

// cost sums up what calls have cost.
func (a *API) cost(w http.ResponseWriter, r *http.Request) {
	q, err := costQuery(r)
	var list []billing.Spending
	if err == nil {
		list, err = a.cfg.Spending.Spending(r.Context(), q)
	}
	p := part[billing.SpendingLine]{Data: []billing.SpendingLine{}}
	for _, s := range list {
		p.Data = append(p.Data, s.Line(q.By))
	}
	a.answer(w, r, http.StatusOK, p, err)
}

// costQuery reads what is asked for; an account's token asks for its own.
func costQuery(r *http.Request) (q billing.SpendingQuery, err error) {
	v := r.URL.Query()
	for _, name := range []string{"by", "since", "until", "timezone", "batch", "account", "tag"} {
		if s := v.Get(name); len(s) > 200 || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return q, bad("%s: must be text of at most 200 bytes", name)
		}
	}
	q = billing.SpendingQuery{Zone: v.Get("timezone"), Batch: v.Get("batch"), Account: v.Get("account"), Tag: v.Get("tag")}
	if own := access.From(r.Context()).Account; own != "" {
		q.Account = own
	}
	if s := v.Get("by"); s != "" {
		for d := range strings.SplitSeq(s, ",") {
			q.By = append(q.By, billing.Dimension(d))
		}
	}
	const most = 4
	if len(q.By) > most {
		return q, bad("by: may name %d dimensions", most)
	}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		s := v.Get(name)
		if s == "" {
			continue
		}
		if d, bad := config.ParseDuration(s); bad == nil && d > 0 {
			*into = time.Now().Add(-d)
			continue
		}
		if *into, err = time.Parse(time.RFC3339, s); err != nil {
			return q, bad("%s: must be a time ago such as 24h or 7d, or a time such as 2026-01-31T18:00:00Z", name)
		}
	}
	return q, q.Check()
}

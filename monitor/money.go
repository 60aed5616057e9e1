package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/access"
	"oneflow/billing"
	"oneflow/jobs"
)

// MoneyStore reads what was spent, and what may be.
type MoneyStore interface {
	// Spending sums up what calls have cost.
	Spending(ctx context.Context, q billing.SpendingQuery) ([]billing.Spending, error)
	// Budgets returns all budgets and wallets, as they are now.
	Budgets(ctx context.Context) ([]billing.Budget, error)
	// Statement returns the newest rows of an account's ledger. It fails with
	// billing.ErrNoWallet.
	Statement(ctx context.Context, account string, limit int) ([]billing.Entry, error)
	// Alerts returns the newest alerts: those that are open, or all.
	Alerts(ctx context.Context, all bool, limit int) ([]jobs.Alert, error)
}

const (
	// spendingDays is the time that the page of money is about where nobody asks for
	// another, and maxSpendingDays the longest.
	spendingDays    = 30
	maxSpendingDays = 366
	// spendingShown bounds the rows of the page, and statementShown those of a ledger.
	spendingShown  = 100
	statementShown = 200
	// alertsShown bounds a list of alerts, and anomaliesShown those about money on its page.
	alertsShown    = 200
	anomaliesShown = 10
)

// moneyPage is the data of the page of money.
type moneyPage struct {
	At         time.Time
	Days       int
	By         []billing.Dimension
	Dimensions []billing.Dimension
	// Sum is of all calls, and Today of those of this day in UTC.
	Sum, Today billing.Spending
	// Chart has a bar for each day.
	Chart chart
	// Simulated reports whether the bars are of simulated money, as there is no real.
	Simulated bool
	Lines     []spendingLine
	// More is the number of lines that are not shown.
	More    int
	Kinds   []billing.Spending
	Budgets []budgetBar
	Wallets []billing.Budget
	// Anomalies are alerts about money, the newest first: open ones and those that are over.
	Anomalies []jobs.Alert
	CSV       string
	// OneAccount reports whether whoever looks sees one account only.
	OneAccount bool
}

// spendingLine is a sum with a bar that is barWidth wide at most.
type spendingLine struct {
	billing.Spending
	Width int64
}

// budgetBar is a budget with a bar that is barWidth wide.
type budgetBar struct {
	billing.Budget
	SpentWidth, ReservedWidth int64
}

// spendingQuery reads what a request asks for; an account's token sums up its own only.
func spendingQuery(r *http.Request, now time.Time) (q billing.SpendingQuery, days int, err error) {
	days = spendingDays
	if s := r.URL.Query().Get("days"); s != "" {
		if days, err = strconv.Atoi(s); err != nil || days < 1 || days > maxSpendingDays {
			return q, days, fmt.Errorf("days: must be from 1 to %d", maxSpendingDays)
		}
	}
	by := r.URL.Query().Get("by")
	if by == "" {
		by = "provider,model"
	}
	for name := range strings.SplitSeq(by, ",") {
		q.By = append(q.By, billing.Dimension(name))
	}
	if len(q.By) > len(billing.Dimensions()) {
		return q, days, errors.New("by: each may be named once")
	}
	q.Since = now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-days)
	q.Account = access.From(r.Context()).Account
	return q, days, q.Check()
}

func (m *Monitor) moneyPage(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	q, days, err := spendingQuery(r, now)
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	p := moneyPage{
		At: now, Days: days, By: q.By, OneAccount: q.Account != "", CSV: "/money.csv?" + r.URL.Query().Encode(),
		Dimensions: billing.Dimensions(),
	}
	if err := m.spent(r.Context(), q, &p); err != nil {
		m.failPage(w, r, err)
		return
	}
	budgets, err := m.budgets(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	for _, b := range budgets {
		if b.Wallet {
			p.Wallets = append(p.Wallets, b)
			continue
		}
		p.Budgets = append(p.Budgets, newBudgetBar(b))
	}
	if p.Anomalies, err = m.anomalies(r); err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Money", Here: "money", At: now, Charts: true}, "money-page", p)
}

// anomalies reads what was unusual about money; alerts are of all accounts, so that an account's
// token gets none.
func (m *Monitor) anomalies(r *http.Request) ([]jobs.Alert, error) {
	if access.From(r.Context()).Account != "" {
		return nil, nil
	}
	list, err := m.cfg.Money.Alerts(r.Context(), true, alertsShown)
	list = slices.DeleteFunc(list, func(a jobs.Alert) bool {
		return !slices.Contains([]string{jobs.AlertSpending, jobs.AlertOverrun, jobs.AlertLedger, jobs.AlertBudget}, a.Kind)
	})
	return list[:min(len(list), anomaliesShown)], err
}

// spent reads the sums of a page.
func (m *Monitor) spent(ctx context.Context, q billing.SpendingQuery, p *moneyPage) error {
	of := func(by ...billing.Dimension) ([]billing.Spending, error) {
		ask := q
		ask.By = by
		return m.cfg.Money.Spending(ctx, ask)
	}
	lines, err := of(q.By...)
	if err != nil {
		return err
	}
	days, err := of(billing.ByDay)
	if err != nil {
		return err
	}
	if p.Kinds, err = of(billing.ByKind); err != nil {
		return err
	}
	for _, d := range days {
		p.Sum = p.Sum.Plus(d)
		if d.Of[0] == p.At.UTC().Format(time.DateOnly) {
			p.Today = d
		}
	}
	p.Simulated = p.Sum.Cost == 0
	p.Chart = dayChart(days, q.Since, p.Days, p.Simulated)
	p.Lines, p.More = spendingLines(lines, p.Simulated)
	return nil
}

// weight is the money that bars are drawn of.
func weight(s billing.Spending, simulated bool) billing.NanoUSD {
	if simulated {
		return s.Simulated
	}
	return s.Cost
}

// part is n of most, as a piece of whole; what is there at all is seen.
func part(n, most billing.NanoUSD, whole int64) int64 {
	if n <= 0 || most <= 0 {
		return 0
	}
	return max(int64(float64(min(n, most))/float64(most)*float64(whole)), 1)
}

// dayChart has a bar for each of the last n days.
func dayChart(days []billing.Spending, since time.Time, n int, simulated bool) chart {
	amounts := map[string]billing.NanoUSD{}
	for _, d := range days {
		amounts[d.Of[0]] = weight(d, simulated)
	}
	l := line{"real money", "running", make([]float64, n)}
	if simulated {
		l.Name = "simulated"
	}
	for i := range n {
		l.Values[i] = float64(amounts[since.AddDate(0, 0, i).Format(time.DateOnly)]) / float64(billing.USD)
	}
	c := chart{Unit: unitUSD, From: since, Step: 24 * time.Hour, Bars: true, Lines: []line{l}}
	c.Label = fmt.Sprintf("What each of the last %d days cost, at most %s", n, c.Said(c.Peak()))
	return c
}

func spendingLines(list []billing.Spending, simulated bool) (lines []spendingLine, more int) {
	var most billing.NanoUSD
	for _, s := range list {
		most = max(most, weight(s, simulated))
	}
	for _, s := range list[:min(len(list), spendingShown)] {
		lines = append(lines, spendingLine{s, part(weight(s, simulated), most, barWidth)})
	}
	return lines, len(list) - len(lines)
}

func newBudgetBar(b billing.Budget) budgetBar {
	spent := part(b.Spent, b.Limit, barWidth)
	return budgetBar{b, spent, min(part(b.Reserved, b.Limit, barWidth), barWidth-spent)}
}

// State says how a budget stands, in a word that is a badge.
func (b budgetBar) State() string {
	switch {
	case b.Stopped:
		return "jobs wait"
	case !b.Blocks:
		return "warns only"
	}
	return "open"
}

// budgets reads the budgets and wallets that whoever asks may see.
func (m *Monitor) budgets(r *http.Request) ([]billing.Budget, error) {
	list, err := m.cfg.Money.Budgets(r.Context())
	own := access.From(r.Context()).Account
	return slices.DeleteFunc(list, func(b billing.Budget) bool { return own != "" && b.Account != own }), err
}

// moneyCSV sends what was spent as a table.
func (m *Monitor) moneyCSV(w http.ResponseWriter, r *http.Request) {
	q, _, err := spendingQuery(r, time.Now())
	if err != nil {
		m.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	list, err := m.cfg.Money.Spending(r.Context(), q)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	var header []string
	for _, d := range q.By {
		header = append(header, string(d))
	}
	rows := [][]string{append(header, billing.Spending{}.Fields()...)}
	for _, s := range list {
		rows = append(rows, s.Row())
	}
	sendTable(w, "money.csv", rows)
}

// budgetsCSV sends the budgets and wallets as a table.
func (m *Monitor) budgetsCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.budgets(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"id", "for", "account", "period", "limit_usd", "spent_usd", "reserved_usd", "left_usd", "state", "ends_at"}}
	for _, b := range list {
		rows = append(rows, []string{
			strconv.FormatInt(b.ID, 10), b.Scope.String(), b.Account, string(b.Period), b.Limit.String(), b.Spent.String(), b.Reserved.String(), b.Left().String(),
			newBudgetBar(b).State(), stampOr(b.Ends),
		})
	}
	sendTable(w, "budgets.csv", rows)
}

// walletPage is the data of the page of a wallet.
type walletPage struct {
	At      time.Time
	Account string
	Wallet  billing.Budget
	Entries []billing.Entry
	CSV     string
}

// wallet reads the wallet of the account that a path names, and the newest of its ledger.
func (m *Monitor) wallet(r *http.Request, limit int) (p walletPage, err error) {
	account := r.PathValue("account")
	if err := mine(r, account); err != nil {
		return p, err
	}
	p = walletPage{At: time.Now(), Account: account, CSV: "/money/wallets/" + url.PathEscape(account) + "/statement.csv"}
	if p.Entries, err = m.cfg.Money.Statement(r.Context(), account, limit); err != nil {
		return p, err
	}
	list, err := m.budgets(r)
	if i := slices.IndexFunc(list, func(b billing.Budget) bool { return b.Wallet && b.Account == account }); i >= 0 {
		p.Wallet = list[i]
	}
	return p, err
}

func (m *Monitor) walletPage(w http.ResponseWriter, r *http.Request) {
	p, err := m.wallet(r, statementShown)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Wallet of " + shorten(p.Account), Here: "money", At: p.At}, "wallet", p)
}

func (m *Monitor) walletCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.wallet(r, jobsPerFile)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"at", "amount_usd", "balance_usd", "call", "note", "by"}}
	for _, e := range p.Entries {
		rows = append(rows, []string{stampOr(e.At), e.Amount.String(), e.Balance.String(), e.Call, e.Note, e.By})
	}
	sendTable(w, "statement.csv", rows)
}

// alertsPage is the data of the page of alerts.
type alertsPage struct {
	At     time.Time
	All    bool
	Alerts []jobs.Alert
}

func (m *Monitor) alerts(r *http.Request) (p alertsPage, err error) {
	p.At, p.All = time.Now(), r.URL.Query().Get("all") != ""
	p.Alerts, err = m.cfg.Money.Alerts(r.Context(), p.All, alertsShown)
	return p, err
}

func (m *Monitor) alertsPage(w http.ResponseWriter, r *http.Request) {
	p, err := m.alerts(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Alerts", Here: "alerts", At: p.At}, "alerts", p)
}

func (m *Monitor) alertsCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.alerts(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"kind", "subject", "level", "text", "opened_at", "closed_at"}}
	for _, a := range p.Alerts {
		rows = append(rows, []string{a.Kind, a.Subject, strconv.Itoa(a.Level), a.Text, stampOr(a.OpenedAt), stampOr(a.ClosedAt)})
	}
	sendTable(w, "alerts.csv", rows)
}

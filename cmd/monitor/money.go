package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/store"
)

// withMoney connects and gives a wrong order its exit code.
func (s *session) withMoney(do func(*store.Store, billing.Money) error) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	err = do(db, billing.NewMoney(db, s.actor()))
	for _, refused := range []error{billing.ErrNoBudget, billing.ErrNoWallet, billing.ErrOverdrawn, billing.ErrBadOrder} {
		if errors.Is(err, refused) {
			return cli.Fail(cli.Usage, err)
		}
	}
	return err
}

// budgetCmd sets and lists budgets.
type budgetCmd struct {
	Set budgetSet `cmd:"" help:"Cap what may be spent: no call is sent that might exceed it, by any worker."`
	Ls  budgetLs  `cmd:"" help:"List the budgets, and what is left of them."`
	Rm  budgetRm  `cmd:"" help:"Remove a budget; what waits for it goes on."`

	Bound budgetBound `cmd:"" help:"Reserve more for the calls of a model than the price list says, and let one go on that had a bill above its bound."`
}

// budgetSet makes budgets or changes them.
type budgetSet struct {
	Hourly  *billing.NanoUSD `help:"What may be spent in an hour, in dollars. Several of these may be given." placeholder:"USD"`
	Daily   *billing.NanoUSD `help:"What may be spent in a day." placeholder:"USD"`
	Weekly  *billing.NanoUSD `help:"What may be spent in a week from Monday on." placeholder:"USD"`
	Monthly *billing.NanoUSD `help:"What may be spent in a month." placeholder:"USD"`
	Total   *billing.NanoUSD `help:"What may be spent in all." placeholder:"USD"`

	Account   string `help:"Only by the jobs of this account." placeholder:"NAME"`
	Provider  string `help:"Only at this provider." placeholder:"NAME"`
	Model     string `help:"Only with this model." placeholder:"NAME"`
	Batch     string `help:"Only by this batch." placeholder:"ID"`
	Tag       string `help:"Only by batches with this tag." placeholder:"NAME=VALUE"`
	Timezone  string `help:"The time zone by which periods begin." default:"UTC" placeholder:"ZONE"`
	Warn      bool   `help:"Only warn, and send nevertheless."`
	Simulated bool   `help:"Cap the money of mock and fake providers, to rehearse, in place of real money."`
}

// Run sets one for each period that is given.
func (c *budgetSet) Run(s *session) error {
	if c.Provider != "" {
		cfg, err := s.LoadConfig()
		if err != nil {
			return err
		}
		if _, ok := cfg.Providers[c.Provider]; !ok {
			return cli.Fail(cli.Usage, fmt.Errorf("--provider %s: is not configured; there are %s", c.Provider, strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", ")))
		}
	}
	limits := map[billing.Period]*billing.NanoUSD{
		billing.Hour: c.Hourly, billing.Day: c.Daily, billing.Week: c.Weekly, billing.Month: c.Monthly, billing.Total: c.Total,
	}
	return s.withMoney(func(_ *store.Store, money billing.Money) error {
		var set []billing.Budget
		for _, period := range billing.Periods() {
			if limits[period] == nil {
				continue
			}
			b, err := money.Set(s.Ctx, billing.Budget{
				Scope:  billing.Scope{Account: c.Account, Provider: c.Provider, Model: c.Model, Batch: c.Batch, Tag: c.Tag, Simulated: c.Simulated},
				Period: period, Zone: c.Timezone, Limit: *limits[period], Blocks: !c.Warn,
			})
			if err != nil {
				return err
			}
			set = append(set, b)
		}
		if len(set) == 0 {
			return cli.Fail(cli.Usage, errors.New("no amount is given: name one for a period, such as --daily 50"))
		}
		return printBudgets(s, set)
	})
}

type budgetLs struct {
	cli.OutputFlag
}

// budgetRow is a budget for programs.
type budgetRow struct {
	billing.Budget
	Left billing.NanoUSD `json:"left"`
}

// Run lists them.
func (c *budgetLs) Run(s *session) error {
	return s.withMoney(func(db *store.Store, _ billing.Money) error {
		list, err := db.Budgets(s.Ctx)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(b billing.Budget) bool { return b.Wallet })
		if c.ForPrograms() {
			rows := make([]budgetRow, len(list))
			for i, b := range list {
				rows[i] = budgetRow{b, b.Left()}
			}
			return c.Write(s.Env.Out, rows)
		}
		return printBudgets(s, list)
	})
}

func printBudgets(s *session, list []billing.Budget) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.Env.Out, "no budget is set: `monitor budget set --daily 50` caps what may be spent in a day")
		return err
	}
	rows := [][]string{{"ID", "FOR", "PERIOD", "LIMIT", "SPENT", "RESERVED", "LEFT", "STATE", "ENDS"}}
	for _, b := range list {
		state := "open"
		switch {
		case !b.Blocks:
			state = "warns only"
		case b.Stopped:
			state = "jobs wait"
		}
		rows = append(rows, []string{
			fmt.Sprint(b.ID), cli.Printable(b.Scope.String()), string(b.Period), b.Limit.Human(), b.Spent.Human(), b.Reserved.Human(), b.Left().Human(),
			state, endOf(b),
		})
	}
	return cli.Table(s.Env.Out, rows)
}

func endOf(b billing.Budget) string {
	if b.Ends.IsZero() {
		return "never"
	}
	if zone, err := time.LoadLocation(b.Zone); err == nil {
		return b.Ends.In(zone).Format(time.RFC3339)
	}
	return b.Ends.Format(time.RFC3339)
}

type budgetRm struct {
	ID int64 `arg:"" help:"Its id, as ls shows it."`
}

// Run removes it.
func (c *budgetRm) Run(s *session) error {
	return s.withMoney(func(_ *store.Store, money billing.Money) error {
		if err := money.Remove(s.Ctx, c.ID); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.Env.Out, "budget %d is removed\n", c.ID)
		return err
	})
}

type budgetBound struct {
	Provider string `arg:"" help:"The provider."`
	Model    string `arg:"" help:"The model."`
	Percent  int    `arg:"" help:"How much of what the price list says is reserved, from 100 on."`
}

// Run raises it.
func (c *budgetBound) Run(s *session) error {
	return s.withMoney(func(_ *store.Store, money billing.Money) error {
		if err := money.RaiseBound(s.Ctx, c.Provider, c.Model, c.Percent); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.Env.Out, "under a budget, %d %% of the list's bound are reserved for calls of %s at %s\n", c.Percent, c.Model, c.Provider)
		return err
	})
}

// walletCmd looks after wallets.
type walletCmd struct {
	Create    walletCreate    `cmd:"" help:"Give an account a wallet: its calls are sent only as far as the balance goes. An account without one is not limited."`
	Deposit   walletDeposit   `cmd:"" help:"Pay into an account's wallet, which is made at the first time; what waits for money goes on."`
	Withdraw  walletWithdraw  `cmd:"" help:"Take out what is neither spent nor reserved."`
	Show      walletShow      `cmd:"" help:"Show the balance of an account, and what of it is reserved."`
	Card      walletCard      `cmd:"" help:"Charge an account by a rate card: flat credits for what is delivered, or a mark-up on what providers charge."`
	Statement walletStatement `cmd:"" help:"List deposits and charges, the newest first."`
	Ls        walletLs        `cmd:"" help:"List the wallets."`
}

type walletCreate struct {
	Account string `arg:"" help:"The account."`
}

// Run makes it, empty.
func (c *walletCreate) Run(s *session) error { return s.deposit(c.Account, 0, "") }

type walletDeposit struct {
	Account string          `arg:"" help:"The account."`
	Amount  billing.NanoUSD `arg:"" help:"How much, in dollars."`
	Note    string          `help:"What for; it stands in the statement." placeholder:"TEXT"`
}

// Run pays in.
func (c *walletDeposit) Run(s *session) error {
	if c.Amount <= 0 {
		return cli.Fail(cli.Usage, fmt.Errorf("an amount of %s: must be above $0", c.Amount.Human()))
	}
	return s.deposit(c.Account, c.Amount, c.Note)
}

type walletWithdraw struct {
	Account string          `arg:"" help:"The account."`
	Amount  billing.NanoUSD `arg:"" help:"How much, in dollars."`
	Note    string          `help:"What for; it stands in the statement." placeholder:"TEXT"`
}

// Run takes out.
func (c *walletWithdraw) Run(s *session) error {
	if c.Amount <= 0 {
		return cli.Fail(cli.Usage, fmt.Errorf("an amount of %s: must be above $0", c.Amount.Human()))
	}
	return s.deposit(c.Account, -c.Amount, c.Note)
}

func (s *session) deposit(account string, amount billing.NanoUSD, note string) error {
	return s.withMoney(func(_ *store.Store, money billing.Money) error {
		wallet, err := money.Deposit(s.Ctx, account, amount, note)
		if err != nil {
			return err
		}
		return printWallets(s, []billing.Budget{wallet})
	})
}

type walletShow struct {
	cli.OutputFlag
	Account string `arg:"" help:"The account."`
}

// Run shows it.
func (c *walletShow) Run(s *session) error {
	return s.wallets(c.OutputFlag, func(b billing.Budget) bool { return b.Account == c.Account }, billing.ErrNoWallet)
}

type walletLs struct {
	cli.OutputFlag
}

// Run lists all.
func (c *walletLs) Run(s *session) error {
	return s.wallets(c.OutputFlag, func(billing.Budget) bool { return true }, nil)
}

// walletRow is a wallet for programs.
type walletRow struct {
	Account string `json:"account"`
	// Balance is the money paid in less the money charged, Free the part of it that is not
	// reserved by calls under way.
	Balance  billing.NanoUSD `json:"balance"`
	Reserved billing.NanoUSD `json:"reserved"`
	Free     billing.NanoUSD `json:"free"`
	Spent    billing.NanoUSD `json:"spent"`
	// Card is its rate card, or null.
	Card *billing.Card `json:"card"`
}

// wallets shows those that are wanted; none is an error where one is named.
func (s *session) wallets(out cli.OutputFlag, wanted func(billing.Budget) bool, none error) error {
	return s.withMoney(func(db *store.Store, _ billing.Money) error {
		list, err := db.Budgets(s.Ctx)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(b billing.Budget) bool { return !b.Wallet || !wanted(b) })
		if len(list) == 0 && none != nil {
			return none
		}
		if !out.ForPrograms() {
			return printWallets(s, list)
		}
		rows := make([]walletRow, len(list))
		for i, b := range list {
			rows[i] = walletRow{b.Account, b.Limit - b.Spent, b.Reserved, b.Left(), b.Spent, b.Card}
		}
		return out.Write(s.Env.Out, rows)
	})
}

func printWallets(s *session, list []billing.Budget) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.Env.Out, "no account has a wallet: `monitor wallet deposit ACCOUNT 50` gives it one")
		return err
	}
	rows := [][]string{{"ACCOUNT", "BALANCE", "RESERVED", "FREE", "SPENT", "RATE CARD"}}
	for _, b := range list {
		card := "-"
		if b.Card != nil {
			card = cli.Printable(b.Card.Name)
		}
		rows = append(rows, []string{b.Account, (b.Limit - b.Spent).Exact(), b.Reserved.Exact(), b.Left().Exact(), b.Spent.Exact(), card})
	}
	return cli.Table(s.Env.Out, rows)
}

type walletStatement struct {
	cli.OutputFlag
	Account string `arg:"" help:"The account."`
	Limit   int    `help:"How many rows at most." default:"50" placeholder:"N"`
}

// Run lists the ledger.
func (c *walletStatement) Run(s *session) error {
	if c.Limit < 1 || c.Limit > 1_000_000 {
		return cli.Fail(cli.Usage, fmt.Errorf("--limit %d: must be from 1 to 1,000,000", c.Limit))
	}
	return s.withMoney(func(db *store.Store, _ billing.Money) error {
		list, err := db.Statement(s.Ctx, c.Account, c.Limit)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, list)
		}
		rows := [][]string{{"TIME", "AMOUNT", "BALANCE", "COST", "WHAT", "BY"}}
		for _, e := range list {
			what := e.Note
			if e.Call != "" {
				what = "call " + e.Call
			}
			cost := "-"
			if e.Cost != nil {
				cost = e.Cost.Exact()
			}
			rows = append(rows, []string{e.At.Format(time.RFC3339), e.Amount.Exact(), e.Balance.Exact(), cost, cli.Printable(what), cli.Printable(e.By)})
		}
		return cli.Table(s.Env.Out, rows)
	})
}

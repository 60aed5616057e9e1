package main

import (
	"errors"
	"fmt"
	"os"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/store"
)

// walletCard gives a wallet a rate card, or takes it away.
type walletCard struct {
	Account string `arg:"" help:"The account. It has a wallet."`
	File    string `arg:"" optional:"" help:"The rate card, as JSON; examples/rate-cards has two."`
	None    bool   `help:"Charge what providers charge again."`
}

// Run sets it, and shows the wallet.
func (c *walletCard) Run(s *session) error {
	if (c.File == "") != c.None {
		return cli.Fail(cli.Usage, errors.New("name the file of a rate card, or --none"))
	}
	var card *billing.Card
	if c.File != "" {
		f, err := os.Open(c.File)
		if err != nil {
			return cli.Fail(cli.Usage, err)
		}
		defer func() { _ = f.Close() }()
		if card, err = billing.ReadCard(f); err != nil {
			return cli.Fail(cli.Usage, fmt.Errorf("%s: %w", c.File, err))
		}
	}
	return s.withMoney(func(_ *store.Store, money billing.Money) error {
		wallet, err := money.SetCard(s.Ctx, c.Account, card)
		if err != nil {
			return err
		}
		return printWallets(s, []billing.Budget{wallet})
	})
}

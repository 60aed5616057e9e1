package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"oneflow/access"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/store"
)

// tokenCmd makes and revokes API tokens.
type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Make a token, and print it this once."`
	Ls     tokenLs     `cmd:"" help:"List the tokens, without their secrets."`
	Revoke tokenRevoke `cmd:"" help:"Make a token useless from now on."`
}

type tokenCreate struct {
	Name    string       `arg:"" help:"What it is for, such as grafana."`
	Scope   access.Scope `help:"What it is good for: read, enqueue (spends money), operate (cancel, retry, change providers) or admin; each includes those before it." enum:"read,enqueue,operate,admin" default:"read"`
	Account string       `help:"The only account that it sees and works for; default: all." placeholder:"NAME"`
	Expires string       `help:"When it expires, counted from now, such as 30d, or never; where nothing is said, after 90 days." default:"90d" placeholder:"DURATION"`
	cli.OutputFlag
}

// createdToken is a new token for programs.
type createdToken struct {
	Secret string `json:"token"`
	access.Token
}

// Run makes it.
func (c *tokenCreate) Run(s *session) error {
	now := time.Now()
	t := access.Token{Name: c.Name, Scope: c.Scope, Account: c.Account, CreatedBy: s.actor(), CreatedAt: now}
	if c.Expires != "never" {
		d, err := config.ParseDuration(c.Expires)
		if err != nil || d <= 0 {
			return cli.Fail(cli.Usage, fmt.Errorf("--expires %s: must be a duration of more than 0, such as 90d, or never", c.Expires))
		}
		t.ExpiresAt = now.Add(d).Truncate(time.Second)
	}
	if err := t.Check(now); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	return s.withStore(func(db *store.Store) error {
		var secret string
		secret, t.Prefix = access.NewSecret()
		if err := db.AddToken(s.Ctx, t, access.Hash(secret)); err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, createdToken{secret, t})
		}
		fmt.Fprintf(s.Env.Err, "token %s of scope %s for %s, expires %s; it is shown this once:\n", t.Prefix, t.Scope, ofAccount(t.Account), orNever(t.ExpiresAt))
		_, err := fmt.Fprintln(s.Env.Out, secret)
		return err
	})
}

type tokenLs struct {
	cli.OutputFlag
}

// Run lists them.
func (c *tokenLs) Run(s *session) error {
	return s.withStore(func(db *store.Store) error {
		list, err := db.Tokens(s.Ctx)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, list)
		}
		if len(list) == 0 {
			_, err := fmt.Fprintln(s.Env.Out, "no token: the monitor serves this machine only; `monitor token create NAME --scope read` makes one, and from then on each request needs one")
			return err
		}
		rows := [][]string{{"TOKEN", "NAME", "SCOPE", "ACCOUNT", "STATE", "EXPIRES", "LAST USED", "MADE BY"}}
		for _, t := range list {
			state := "valid"
			switch {
			case !t.RevokedAt.IsZero():
				state = "revoked"
			case !t.Valid(time.Now()):
				state = "expired"
			}
			rows = append(rows, []string{
				t.Prefix, cli.Printable(t.Name), string(t.Scope), cli.Printable(ofAccount(t.Account)), state, orNever(t.ExpiresAt), orNever(t.LastUsedAt), cli.Printable(t.CreatedBy),
			})
		}
		return cli.Table(s.Env.Out, rows)
	})
}

type tokenRevoke struct {
	Prefix string `arg:"" help:"The first part of the token, as token ls shows it; the whole token is taken, too."`
}

// Run revokes it.
func (c *tokenRevoke) Run(s *session) error {
	return s.withStore(func(db *store.Store) error {
		// Who has only the token may paste it: its second part is a secret.
		prefix := c.Prefix
		if parts := strings.SplitN(prefix, "_", 3); len(parts) == 3 {
			prefix = parts[0] + "_" + parts[1]
		}
		err := db.RevokeToken(s.Ctx, prefix, s.actor())
		if errors.Is(err, access.ErrUnknownToken) {
			return cli.Fail(cli.Usage, fmt.Errorf("%.60q: %w; `monitor token ls` lists them", prefix, access.ErrUnknownToken))
		}
		return err
	})
}

// auditCmd lists what was done.
type auditCmd struct {
	Limit int `help:"How many to list, the newest first." default:"50" placeholder:"N"`
	cli.OutputFlag
}

// Run lists it.
func (c *auditCmd) Run(s *session) error {
	if c.Limit < 1 || c.Limit > 10_000 {
		return cli.Fail(cli.Usage, fmt.Errorf("--limit %d: must be from 1 to 10000", c.Limit))
	}
	return s.withStore(func(db *store.Store) error {
		list, err := db.Actions(s.Ctx, 0, c.Limit)
		if err != nil {
			return err
		}
		if c.ForPrograms() {
			return c.Write(s.Env.Out, list)
		}
		rows := [][]string{{"AT", "WHO", "FROM", "WHAT", "OBJECT", "STATUS"}}
		for _, a := range list {
			status := "-"
			if a.Status > 0 {
				status = strconv.Itoa(a.Status)
			}
			rows = append(rows, []string{
				a.At.UTC().Format(time.RFC3339), cli.Printable(a.Actor), a.From, cli.Printable(a.What), cli.Printable(a.Object), status,
			})
		}
		return cli.Table(s.Env.Out, rows)
	})
}

// withStore connects to Postgres.
func (s *session) withStore(do func(*store.Store) error) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}

func ofAccount(account string) string {
	if account == "" {
		return "all accounts"
	}
	return account
}

func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// Package access decides who may do what over HTTP: API tokens with their scopes, the
// check of a token that a request brings, and the record of what was done. It imports
// nothing of ours and declares what it needs of a store; package monitor asks it for
// each request, and commands make tokens with it.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scope says what a token is good for. Each scope includes those before it in Scopes.
type Scope string

// The scopes of a token.
const (
	Read    Scope = "read"    // look at jobs, answers and costs
	Enqueue Scope = "enqueue" // and bring jobs, which spends money
	Operate Scope = "operate" // and cancel, pause, retry, and give orders about providers
	Admin   Scope = "admin"   // and see who did what
)

// Scopes lists the scopes, the least first.
func Scopes() []Scope { return []Scope{Read, Enqueue, Operate, Admin} }

// Includes reports whether this scope is enough where another is needed.
func (s Scope) Includes(needed Scope) bool {
	have, need := slices.Index(Scopes(), s), slices.Index(Scopes(), needed)
	return have >= 0 && need >= 0 && have >= need
}

// Errors of this package and of its store.
var (
	// ErrUnknownToken is returned for a token that is not there, has expired or was revoked.
	ErrUnknownToken = errors.New("no such token, or it has expired or was revoked")
	// ErrThrottled is returned where too many tokens from the same address were wrong.
	ErrThrottled = errors.New("too many wrong tokens from this address")
	// ErrBadToken is returned where a token is to be made that cannot be.
	ErrBadToken = errors.New("token refused")
)

// Token is an API token without its secret.
type Token struct {
	// Prefix is the first part of the token, which names it: it may be shown.
	Prefix string `json:"prefix"`
	// Name says what it is for, in the words of whoever made it.
	Name  string `json:"name"`
	Scope Scope  `json:"scope"`
	// Account is the account that the token sees and works for; empty: all.
	Account   string    `json:"account"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is zero for one that does not expire.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// LastUsedAt is right to the minute; zero: never.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	RevokedBy  string    `json:"revoked_by,omitempty"`
}

// Valid reports whether the token is good for anything at a time.
func (t Token) Valid(at time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || at.Before(t.ExpiresAt))
}

// maxName bounds a token's name, in bytes.
const maxName = 100

// Check refuses a token that cannot be made, with ErrBadToken.
func (t Token) Check(now time.Time) error {
	switch {
	case strings.TrimSpace(t.Name) == "" || len(t.Name) > maxName:
		return fmt.Errorf("%w: name: must have 1 to %d bytes, got %d", ErrBadToken, maxName, len(t.Name))
	case strings.ContainsFunc(t.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%w: name: must be one line of text", ErrBadToken)
	case !slices.Contains(Scopes(), t.Scope):
		return fmt.Errorf("%w: scope %.20q: must be one of %v", ErrBadToken, t.Scope, Scopes())
	case t.Scope == Admin && t.Account != "":
		return fmt.Errorf("%w: an admin token is for all accounts; take scope %s for one account", ErrBadToken, Operate)
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return fmt.Errorf("%w: it would have expired at %s already", ErrBadToken, t.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}

// secretStart begins each token, so that scanners for leaked secrets know it.
const secretStart = "oneflow_"

// NewSecret makes the text of a new token, of 130 random bits, and the prefix that names it.
// The text is shown once and never stored: see Hash.
func NewSecret() (secret, prefix string) {
	prefix = secretStart + strings.ToLower(rand.Text()[:10])
	return prefix + "_" + rand.Text(), prefix
}

// Hash returns what is stored of a token. The token is random, so that nothing slower is needed.
func Hash(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// prefixOf is the prefix of a token; ok is false for what is no token of ours.
func prefixOf(secret string) (prefix string, ok bool) {
	rest, ours := strings.CutPrefix(secret, secretStart)
	name, key, found := strings.Cut(rest, "_")
	return secretStart + name, ours && found && len(secret) <= 100 && name != "" && key != ""
}

// Principal is whom a request is from.
type Principal struct {
	// Name is for the record of what was done: a token's prefix and name.
	Name  string
	Scope Scope
	// Account is the only account that it sees; empty: all.
	Account string
	// nobody sees nothing: nobody asked for a token.
	nobody bool
}

// Sees reports whether what belongs to an account may be shown.
func (p Principal) Sees(account string) bool {
	return !p.nobody && (p.Account == "" || p.Account == account)
}

// Action is something that somebody did, for the record.
type Action struct {
	ID int64     `json:"id"`
	At time.Time `json:"at"`
	// Actor is the principal's name, or a person at a terminal, such as ada@host.
	Actor   string `json:"actor"`
	Account string `json:"account,omitempty"`
	// From is the address of the client; empty for a terminal.
	From string `json:"from,omitempty"`
	// What is the method and the pattern of the route, or a command, and Object what it was
	// done to.
	What   string `json:"what"`
	Object string `json:"object"`
	// Status is the answer's HTTP status; 0 while it is under way, and for a command.
	Status int `json:"status,omitempty"`
}

// Store keeps tokens and the record of actions.
type Store interface {
	// HasTokens reports whether a token was ever made.
	HasTokens(ctx context.Context) (bool, error)
	// FindToken returns a token and the hash of its text. It fails with ErrUnknownToken.
	FindToken(ctx context.Context, prefix string) (Token, [sha256.Size]byte, error)
	// TokenUsed notes that a token was used, to the minute.
	TokenUsed(ctx context.Context, prefix string) error
	// BeginAction records that something is about to be done, and EndAction how it was
	// answered.
	BeginAction(ctx context.Context, a Action) (id int64, err error)
	EndAction(ctx context.Context, id int64, status int) error
}

package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// kept is a store of tokens in memory.
type kept struct {
	mu     sync.Mutex
	tokens map[string]Token
	sums   map[string][sha256.Size]byte
	asked  int
	used   int
	fails  error
}

func newKept() *kept { return &kept{tokens: map[string]Token{}, sums: map[string][sha256.Size]byte{}} }

// add adds a token as change makes it, and returns its text.
func (k *kept) add(change func(*Token)) string {
	secret, prefix := NewSecret()
	t := Token{Prefix: prefix, Name: "test", Scope: Read, CreatedAt: time.Now()}
	if change != nil {
		change(&t)
	}
	k.tokens[prefix], k.sums[prefix] = t, Hash(secret)
	return secret
}

func (k *kept) HasTokens(context.Context) (bool, error) { return len(k.tokens) > 0, k.fails }

func (k *kept) FindToken(_ context.Context, prefix string) (Token, [sha256.Size]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.fails != nil {
		return Token{}, [sha256.Size]byte{}, k.fails
	}
	t, ok := k.tokens[prefix]
	if !ok {
		return Token{}, [sha256.Size]byte{}, ErrUnknownToken
	}
	return t, k.sums[prefix], nil
}

func (k *kept) TokenUsed(_ context.Context, prefix string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used++
	t := k.tokens[prefix]
	t.LastUsedAt = time.Now()
	k.tokens[prefix] = t
	return nil
}

func (k *kept) BeginAction(context.Context, Action) (int64, error) { return 1, nil }
func (k *kept) EndAction(context.Context, int64, int) error        { return nil }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const master = "a-token-of-the-environment"

func TestARightTokenIsKnownAndSaysWhatItMayDo(t *testing.T) {
	t.Parallel()
	k := newKept()
	secret := k.add(func(t *Token) { t.Scope, t.Account = Enqueue, "alpha" })
	g := NewGate(k, master)
	p, err := g.Authenticate(t.Context(), addr("10.0.0.1"), secret)
	if err != nil || p.Scope != Enqueue || p.Account != "alpha" || !strings.Contains(p.Name, secret[:18]) || strings.Contains(p.Name, secret[20:]) {
		t.Errorf("%+v %v", p, err)
	}
	if !p.Sees("alpha") || p.Sees("beta") || p.Sees("") || From(t.Context()).Sees("alpha") {
		t.Error("it sees what it must not, or does not see its own")
	}
	if p, err := g.Authenticate(t.Context(), addr("10.0.0.1"), master); err != nil || p.Scope != Admin || !p.Sees("anybody") {
		t.Errorf("that of the environment: %+v %v", p, err)
	}
}

func TestWhatIsNotTheWholeTokenIsRefused(t *testing.T) {
	t.Parallel()
	k := newKept()
	secret := k.add(nil)
	other := k.add(nil)
	swapped := secret[:strings.LastIndex(secret, "_")] + other[strings.LastIndex(other, "_"):]
	for _, wrong := range []string{
		"", " ", secret[:len(secret)-1], secret + "A", strings.ToUpper(secret), swapped, secret[:18], "oneflow_", "oneflow__", "oneflow_x_", master[:20], master + "x",
		strings.Repeat("a", 1<<20), "oneflow_" + strings.Repeat("a", 1000) + "_x", secret + "\x00", "Bearer " + secret,
	} {
		g := NewGate(k, master)
		if p, err := g.Authenticate(t.Context(), addr("10.0.0.1"), wrong); !errors.Is(err, ErrUnknownToken) || p.Scope != "" {
			t.Errorf("%.40q is taken: %+v %v", wrong, p, err)
		}
	}
	// What cannot be one of ours is not looked for.
	k.asked = 0
	for _, wrong := range []string{"", "sk-1", "oneflow_", strings.Repeat("oneflow_a_", 1000)} {
		_, _ = NewGate(k, "").Authenticate(t.Context(), addr("10.0.0.1"), wrong)
	}
	if k.asked != 0 {
		t.Errorf("the database was asked %d times", k.asked)
	}
}

func TestATokenEndsWithItsTimeAndItsRevocationAlsoWhereItWasKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		secret := k.add(func(t *Token) { t.ExpiresAt = time.Now().Add(time.Hour) })
		forever := k.add(nil)
		g := NewGate(k, "")
		for _, s := range []string{secret, forever} {
			if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), s); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Hour)
		if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), secret); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("after its time: %v", err)
		}
		prefix := forever[:strings.LastIndex(forever, "_")]
		gone := k.tokens[prefix]
		gone.RevokedAt = time.Now()
		k.tokens[prefix] = gone
		if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), forever); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("after its revocation: %v", err)
		}
		for range guesses {
			if _, err := g.Authenticate(t.Context(), addr("10.0.0.2"), forever); !errors.Is(err, ErrUnknownToken) {
				t.Errorf("tried after its revocation: %v", err)
			}
		}
		if _, err := g.Authenticate(t.Context(), addr("10.0.0.2"), forever); !errors.Is(err, ErrThrottled) {
			t.Errorf("a revoked token may be tried without end: %v", err)
		}
	})
}

// wrong makes a token that nobody has.
func wrong() string { s, _ := NewSecret(); return s }

func TestGuessesAreThrottledByAddressAndNobodyElseIsHeldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		secret, fresh := k.add(nil), k.add(nil)
		g := NewGate(k, master)
		try := func(from, secret string) error {
			_, err := g.Authenticate(t.Context(), addr(from), secret)
			return err
		}
		if err := try("10.0.0.1", secret); err != nil {
			t.Fatal(err)
		}
		for i := range guesses {
			if err := try("10.0.0.1", wrong()); !errors.Is(err, ErrUnknownToken) {
				t.Errorf("guess %d: %v", i, err)
			}
		}
		if err := try("10.0.0.1", wrong()); !errors.Is(err, ErrThrottled) {
			t.Errorf("the guess after them: %v", err)
		}
		// A right one that was not seen before might be a guess; one that was, and the environment's, go on.
		if err := try("10.0.0.1", fresh); !errors.Is(err, ErrThrottled) {
			t.Errorf("a right one that is new: %v", err)
		}
		if err := errors.Join(try("10.0.0.1", secret), try("10.0.0.1", master), try("10.0.0.2", fresh)); err != nil {
			t.Errorf("who was right before, or comes from elsewhere, is held back: %v", err)
		}
		// An IPv4 address in IPv6's clothes is the same; an IPv6 network is one.
		if err := try("::ffff:10.0.0.1", wrong()); !errors.Is(err, ErrThrottled) {
			t.Errorf("the same address: %v", err)
		}
		for i := range guesses {
			_ = try(fmt.Sprintf("2001:db8:0:1::%x", i+1), wrong())
		}
		if err := try("2001:db8:0:1:ffff::1", wrong()); !errors.Is(err, ErrThrottled) {
			t.Errorf("another address of the network: %v", err)
		}
		if err := try("2001:db8:0:2::1", wrong()); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("another network: %v", err)
		}
		// One more each six seconds.
		<-time.After(guessesEvery)
		if a, b := try("10.0.0.1", wrong()), try("10.0.0.1", wrong()); !errors.Is(a, ErrUnknownToken) || !errors.Is(b, ErrThrottled) {
			t.Errorf("six seconds later: %v, then %v", a, b)
		}
	})
}

func TestManyAddressesTakeNoMoreMemoryAndShareTheRest(t *testing.T) {
	t.Parallel()
	k := newKept()
	k.add(nil)
	g := NewGate(k, "")
	for i := range maxAddresses + 200 {
		_, _ = g.Authenticate(t.Context(), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), "sk-wrong")
	}
	if len(g.failures) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(g.failures))
	}
	if _, err := g.Authenticate(t.Context(), addr("192.0.2.1"), "sk-wrong"); !errors.Is(err, ErrThrottled) {
		t.Errorf("one beyond them: %v", err)
	}
}

func TestADatabaseThatIsAwayOpensNothingAndCountsAsNoGuess(t *testing.T) {
	t.Parallel()
	k := newKept()
	secret := k.add(nil)
	g := NewGate(k, "")
	k.fails = errors.New("connection refused")
	if closed, err := g.Closed(t.Context()); !closed || err == nil {
		t.Errorf("closed %v, %v", closed, err)
	}
	for range 3 * guesses {
		if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), secret); err == nil || errors.Is(err, ErrUnknownToken) || errors.Is(err, ErrThrottled) {
			t.Fatalf("%v", err)
		}
	}
	k.fails = nil
	if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), secret); err != nil {
		t.Errorf("once it is back: %v", err)
	}
	if status, _ := Explain(errors.New("connection refused")); status != 503 {
		t.Errorf("it is explained as %d", status)
	}
}

func TestUseIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKept()
		secret := k.add(nil)
		g := NewGate(k, "")
		for range 100 {
			if _, err := g.Authenticate(t.Context(), addr("10.0.0.1"), secret); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		if k.used != 2 {
			t.Errorf("noted %d times in 100 s", k.used)
		}
	})
}

func TestSecretsAreLongRandomAndKnownByTheirPrefix(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		secret, prefix := NewSecret()
		rest, ok := strings.CutPrefix(secret, prefix+"_")
		if !ok || len(rest) < 26 || seen[secret] || seen[prefix] { // 26 letters of 32 are 130 bits
			t.Fatalf("%q of %q", secret, prefix)
		}
		if got, ok := prefixOf(secret); !ok || got != prefix {
			t.Fatalf("the prefix of %q is %q", secret, got)
		}
		if sum := Hash(secret); strings.Contains(fmt.Sprintf("%x", sum), rest) || sum == Hash(prefix) {
			t.Fatal("the hash shows the secret")
		}
		seen[secret], seen[prefix] = true, true
	}
}

func TestTokensThatCannotBeMadeAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := Token{Name: "ci", Scope: Read}
	if err := good.Check(now); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Token){
		"no name": func(t *Token) { t.Name = " " }, "a long name": func(t *Token) { t.Name = strings.Repeat("x", 101) }, "two lines": func(t *Token) { t.Name = "a\nb" },
		"no scope": func(t *Token) { t.Scope = "" }, "another scope": func(t *Token) { t.Scope = "root" },
		"an admin of one account": func(t *Token) { t.Scope, t.Account = Admin, "alpha" }, "one of yesterday": func(t *Token) { t.ExpiresAt = now.Add(-time.Hour) },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(now); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScopesIncludeThoseBeforeThem(t *testing.T) {
	t.Parallel()
	for i, have := range Scopes() {
		for j, need := range Scopes() {
			if have.Includes(need) != (i >= j) {
				t.Errorf("%s includes %s: %v", have, need, have.Includes(need))
			}
		}
		if have.Includes("") || have.Includes("root") || Scope("root").Includes(have) || Scope("").Includes(have) {
			t.Errorf("a scope that is none, and %s", have)
		}
	}
}

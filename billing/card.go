package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"oneflow/providers"
)

// Card is a rate card: it says what an account is charged for its calls, where that is not
// what the provider charges for them. Tasks that it has credits for cost so many for each
// unit of what was delivered, and nothing where nothing was; all others cost what the
// provider charges, times the mark-up. A wallet has one or none.
type Card struct {
	// Name is shown with it.
	Name string `json:"name"`
	// CreditUSD is the price of a credit in dollars, a decimal such as "0.001".
	CreditUSD string `json:"credit_usd,omitempty"`
	// Credits holds decimals by task: for each word of a text, each picture, each sound,
	// each film, each vector, and so on: see Units.
	Credits map[providers.Task]string `json:"credits,omitempty"`
	// Markup is a decimal, such as "1.2" for a fifth more than the provider charges.
	// Default: "1".
	Markup string `json:"markup,omitempty"`
}

// maxCard bounds the file of a card, in bytes.
const maxCard = 64 << 10

// ReadCard reads a card from JSON, and checks it.
func ReadCard(r io.Reader) (*Card, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxCard+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxCard {
		return nil, fmt.Errorf("a rate card has at most %d bytes", maxCard)
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	var c Card
	if err := in.Decode(&c); err != nil {
		return nil, fmt.Errorf("a rate card is an object such as {\"name\": \"resale\", \"markup\": \"1.2\"}: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("after the rate card there is more")
	}
	return &c, c.Check()
}

// Check fails with what is wrong with a card.
func (c *Card) Check() error {
	if c.Name == "" || len(c.Name) > 100 || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' }) {
		return badOrder("name: must have from 1 to 100 characters, in one line")
	}
	if c.Markup != "" {
		markup, err := parseDecimal(c.Markup, 6)
		if err != nil || markup.Cmp(big.NewRat(1000, 1)) > 0 {
			return badOrder("markup: %s: write a decimal from 0 to 1000 as a string, such as \"1.2\"", quote(c.Markup))
		}
	}
	for task, credits := range c.Credits {
		if !slices.Contains(append(providers.Tasks(), providers.Moderation), task) {
			return badOrder("credits.%.40s: there is no such task: name text, image, audio, video, embedding, transcription or moderation", string(task))
		}
		if _, err := parseDecimal(credits, 6); err != nil {
			return badOrder("credits.%s: %s: write a decimal as a string, such as \"1.5\"", task, quote(credits))
		}
	}
	if len(c.Credits) == 0 {
		return nil
	}
	price, err := parseDecimal(c.CreditUSD, 9)
	if err != nil || price.Cmp(big.NewRat(1_000_000, 1)) > 0 {
		return badOrder("credit_usd: %s: write the dollars that a credit costs as a string, such as \"0.001\"", quote(c.CreditUSD))
	}
	return nil
}

// Terms hold for one task.
type Terms struct {
	// Unit is the price of a unit in nano-dollars; nil: Markup holds.
	Unit *big.Rat
	// Markup multiplies what the provider charges.
	Markup *big.Rat
}

// Terms returns what the card says of a task; of no card, what the provider charges.
func (c *Card) Terms(task providers.Task) Terms {
	t := Terms{Markup: big.NewRat(1, 1)}
	if c == nil {
		return t
	}
	if markup, err := parseDecimal(c.Markup, 6); err == nil {
		t.Markup = markup
	}
	credits, err := parseDecimal(c.Credits[task], 6)
	if err != nil {
		return t
	}
	if price, err := parseDecimal(c.CreditUSD, 9); err == nil {
		t.Unit = credits.Mul(credits, price).Mul(credits, big.NewRat(int64(USD), 1))
	}
	return t
}

// Decimals are the terms as decimals for Postgres; an empty unit: there is none.
func (t Terms) Decimals() (unit, markup string) {
	if t.Unit != nil {
		unit = t.Unit.FloatString(6)
	}
	return unit, t.Markup.FloatString(6)
}

// Charge returns what an account is charged for a call that cost so much, and delivered so
// many units, rounded to the nearest nano-dollar, halves up; ok is false where that depends
// on a cost that nobody knows, which is nil.
func (t Terms) Charge(units int64, cost *NanoUSD) (amount NanoUSD, ok bool) {
	var exact *big.Rat
	switch {
	case t.Unit != nil:
		exact = new(big.Rat).Mul(t.Unit, new(big.Rat).SetInt64(units))
	case cost != nil:
		exact = new(big.Rat).Mul(t.Markup, new(big.Rat).SetInt64(int64(*cost)))
	default:
		return 0, false
	}
	half := exact.Add(exact, big.NewRat(1, 2))
	whole := new(big.Int).Quo(half.Num(), half.Denom())
	if !whole.IsInt64() || whole.Int64() > int64(maxAmount) {
		return maxAmount, true
	}
	return NanoUSD(whole.Int64()), true
}

package billing_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/billing"
	"oneflow/providers"
)

// card reads one of the shipped cards.
func card(t *testing.T, name string) *billing.Card {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "examples", "rate-cards", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	c, err := billing.ReadCard(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARateCardChargesCreditsForWhatIsDeliveredOrAMarkUp(t *testing.T) {
	t.Parallel()
	credits, resale := card(t, "credits.json"), card(t, "resale.json")
	fine := &billing.Card{Name: "fine", CreditUSD: "0.000000001", Credits: map[providers.Task]string{providers.Text: "0.5"}, Markup: "0.333333"}
	for _, c := range []struct {
		name  string
		card  *billing.Card
		task  providers.Task
		units int64
		cost  *billing.NanoUSD
		want  billing.NanoUSD
		known bool
	}{
		{"1.0 credit a word", credits, providers.Text, 120, new(billing.NanoUSD(7)), 120_000_000, true},
		{"10 a picture", credits, providers.Image, 2, nil, 20_000_000, true},
		{"5 a sound", credits, providers.Audio, 1, new(billing.NanoUSD(0)), 5_000_000, true},
		{"20 a film", credits, providers.Video, 1, new(billing.NanoUSD(1)), 20_000_000, true},
		{"nothing delivered", credits, providers.Text, 0, new(billing.NanoUSD(7)), 0, true},
		{"what the card has no credits for costs what it costs", credits, providers.Embedding, 1, new(billing.NanoUSD(77)), 77, true},
		{"whose cost nobody knows", credits, providers.Embedding, 1, nil, 0, false},
		{"a fifth more", resale, providers.Text, 120, new(billing.NanoUSD(1000)), 1200, true},
		{"rounded down", resale, providers.Text, 1, new(billing.NanoUSD(2)), 2, true},
		{"rounded up", resale, providers.Text, 1, new(billing.NanoUSD(3)), 4, true},
		{"half a nano-dollar", fine, providers.Text, 1, nil, 1, true},
		{"thirds", fine, providers.Image, 1, new(billing.NanoUSD(3_000_000)), 999_999, true},
		{"no card", nil, providers.Text, 120, new(billing.NanoUSD(9)), 9, true},
		{"no card, no price", nil, providers.Text, 120, nil, 0, false},
	} {
		if got, known := c.card.Terms(c.task).Charge(c.units, c.cost); got != c.want || known != c.known {
			t.Errorf("%s: %d, %t, want %d, %t", c.name, got, known, c.want, c.known)
		}
	}
}

func TestAFaultyRateCardIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, place string }{
		{`{}`, "name"},
		{`{"name": "x", "markup": "-1"}`, "markup"},
		{`{"name": "x", "markup": "1e3"}`, "markup"},
		{`{"name": "x", "markup": "1001"}`, "markup"},
		{`{"name": "x", "markup": 1.2}`, "rate card"},
		{`{"name": "x", "mark_up": "1.2"}`, "mark_up"},
		{`{"name": "x", "credits": {"text": "1"}}`, "credit_usd"},
		{`{"name": "x", "credit_usd": "0.01", "credits": {"poem": "1"}}`, "credits.poem"},
		{`{"name": "x", "credit_usd": "0.01", "credits": {"text": "1.1234567"}}`, "credits.text"},
		{`{"name": "x"} {}`, "more"},
		{`{"name": "` + "a\\nb" + `"}`, "name"},
		{`[` + strings.Repeat(" ", 65<<10) + `]`, "bytes"},
	} {
		if card, err := billing.ReadCard(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%.60s: %+v, %v", c.text, card, err)
		}
	}
	if err := (&billing.Card{}).Check(); !errors.Is(err, billing.ErrBadOrder) {
		t.Errorf("%v is no refused order", err)
	}
}

func TestNoAnswerDeliversMoreThanIsReserved(t *testing.T) {
	t.Parallel()
	for task, c := range map[providers.Task]struct {
		res   providers.Response
		upper providers.Usage
		n     int
	}{
		providers.Text:          {providers.Response{Text: "one two\nthree\tfour "}, providers.Usage{OutputTokens: 4}, 0},
		providers.Image:         {providers.Response{Blobs: make([]providers.Blob, 3)}, providers.Usage{Images: 3}, 3},
		providers.Transcription: {providers.Response{Text: "we said a few words"}, providers.Usage{MilliSeconds: 1000}, 0},
		providers.Audio:         {providers.Response{}, providers.Usage{}, 0},
	} {
		if used, most := billing.Units(task, c.res), billing.MostUnits(task, c.upper, c.n); used > most || used == 0 {
			t.Errorf("%s: %d delivered, %d reserved", task, used, most)
		}
	}
}

package fakeprovider

import "strings"

// Billed counts what a vendor charges a call for, each unit once: what was read from a
// cache or written to one is not among the input.
type Billed struct {
	Input, CachedInput                      int64 // tokens
	CacheWrite, CacheWrite1h, CacheWrite12h int64 // tokens
	AudioInput, ImageInput                  int64 // tokens
	Output, ImageOutput, AudioOutput        int64 // tokens, reasoning included
	Searches                                int64
	Characters                              int64
	MilliSeconds                            int64
	MilliCredits                            int64
	// Tier multiplies the tokens' prices, as "flex" and "priority" do.
	Tier string
	// Variant is the resolution of a film.
	Variant string
}

// Bill names a call and what its vendor charges for it.
type Bill struct {
	// ID is the vendor's id of the call, as the answer names it.
	ID     string
	Vendor Vendor
	Model  string
	// Outcome is that of the call log: a call whose answer was lost on its way is charged too.
	Outcome string
	Units   Billed
	// NanoUSD is the charge. Known reports whether the model is in the table.
	NanoUSD int64
	Known   bool
}

// price is a model's price list, in pico-dollars (1e-12 USD) a unit: 1,000,000 is a dollar
// for a million.
type price struct {
	input, cached, write, write1h, write12h     int64
	audioInput, imageInput                      int64
	output, imageOutput, audioOutput            int64
	search, character, millisecond, millicredit int64
	// hd and uhd are for films of 1080p and 4k.
	hd, uhd int64
}

// priceOf is the table, typed from the vendors' own pages in November 2026 and not from
// the product's list: it is to find faults there.
func priceOf(vendor Vendor, model string) (price, bool) {
	const search = 10_000_000_000 // $10 a thousand
	table := map[string]price{
		"openai/gpt-6-luna":             {input: 100_000, cached: 10_000, write: 125_000, output: 500_000, search: search},
		"openai/gpt-5.6-luna":           {input: 200_000, cached: 20_000, write: 250_000, output: 1_200_000, search: search},
		"openai/gpt-6.1-terra":          {input: 1_000_000, cached: 50_000, write: 1_250_000, write12h: 2_500_000, output: 5_000_000, search: search},
		"openai/gpt-audio":              {input: 2_500_000, audioInput: 32_000_000, output: 10_000_000, audioOutput: 64_000_000},
		"openai/gpt-image-2":            {input: 5_000_000, imageInput: 8_000_000, imageOutput: 30_000_000},
		"openai/gpt-4o-mini-tts":        {character: 20_000_000},
		"openai/text-embedding-3-small": {input: 20_000},
		"openai/gpt-transcribe":         {millisecond: 75_000}, // $0.27 an hour
		"openai/omni-moderation-latest": {},
		"anthropic/claude-haiku-5-5":    {input: 100_000, cached: 10_000, write: 125_000, write1h: 200_000, output: 500_000, search: search},
		"anthropic/claude-sonnet-5-5":   {input: 2_000_000, cached: 100_000, write: 2_500_000, write1h: 4_000_000, output: 10_000_000, search: search},
		"gemini/gemini-3.5-flash-lite":  {input: 300_000, cached: 30_000, audioInput: 300_000, imageInput: 300_000, output: 2_500_000, search: 14_000_000_000},
		"gemini/gemini-3.1-flash-image": {input: 500_000, imageInput: 500_000, output: 3_000_000, imageOutput: 60_000_000},
		"gemini/gemini-3-pro-image":     {input: 2_000_000, imageInput: 2_000_000, output: 12_000_000, imageOutput: 120_000_000},
		"gemini/gemini-embedding-2":     {input: 200_000},
		// $0.05 a second, $0.08 in 1080p.
		"gemini/veo-3.1-lite-generate-preview": {millisecond: 50_000_000, hd: 80_000_000},
		"stability/core":                       {millicredit: 10_000_000}, // a cent a credit
		"stability/ultra":                      {millicredit: 10_000_000},
		"elevenlabs/eleven_flash_v2_5":         {millicredit: 100_000}, // $0.10 for a thousand credits
	}
	p, ok := table[string(vendor)+"/"+model]
	return p, ok
}

// factors returns what the prices of tokens are multiplied by at a tier, times four.
func factors(tier string) int64 {
	switch strings.ToLower(tier) {
	case "flex", "batch":
		return 2
	case "priority":
		return 8
	}
	return 4
}

// charge is the price of what was used, rounded once, half to even.
func (p price) charge(b Billed) int64 {
	tokens := b.Input*p.input + b.CachedInput*p.cached + b.CacheWrite*p.write + b.CacheWrite1h*p.write1h + b.CacheWrite12h*p.write12h +
		b.AudioInput*p.audioInput + b.ImageInput*p.imageInput + b.Output*p.output + b.ImageOutput*p.imageOutput + b.AudioOutput*p.audioOutput
	second := p.millisecond
	switch {
	case strings.HasPrefix(b.Variant, "1080"):
		second = p.hd
	case b.Variant == "4k":
		second = p.uhd
	}
	rest := b.Searches*p.search + b.Characters*p.character + b.MilliSeconds*second + b.MilliCredits*p.millicredit
	quarters := tokens*factors(b.Tier) + rest*4 // of a pico-dollar
	const nano = 4000
	whole, left := quarters/nano, quarters%nano
	if left > nano/2 || left == nano/2 && whole%2 == 1 {
		whole++
	}
	return whole
}

// bill notes what a call is charged.
func (s *Server) bill(c *call, a answer, outcome string) {
	if a.billed == (Billed{}) {
		return
	}
	b := Bill{ID: a.billID, Vendor: c.vendor.name(), Model: c.model, Outcome: outcome, Units: a.billed}
	if b.ID == "" {
		b.ID = c.id
	}
	p, ok := priceOf(b.Vendor, b.Model)
	b.NanoUSD, b.Known = p.charge(a.billed), ok
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bills = append(s.bills, b)
}

// Bills returns what was charged until now, oldest first. It grows with each call.
func (s *Server) Bills() []Bill {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Bill(nil), s.bills...)
}

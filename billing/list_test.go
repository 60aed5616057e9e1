package billing_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oneflow/billing"
	"oneflow/providers"
)

func TestLoadingIsStrictAndNamesRowAndField(t *testing.T) {
	t.Parallel()
	good := row("ok", "m", "images", "1", "2020-01-01", "")
	swap := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, tt := range map[string]struct{ row, want string }{
		"unknown field":      {swap(`"unit"`, `"units": 1, "unit"`), `prices[1] (ok): json: unknown field "units"`},
		"wrong type":         {swap(`"1"`, `1`), `prices[1] (ok): rate: must be a string, not a number`},
		"no id":              {swap(`"ok"`, `""`), `prices[1]: id:`},
		"no provider":        {swap(`"p"`, `""`), `prices[1] (ok): provider:`},
		"no match":           {swap(`["m"]`, `[]`), `prices[1] (ok): match:`},
		"empty match":        {swap(`["m"]`, `["x", ""]`), `prices[1] (ok): match[1]:`},
		"star in the middle": {swap(`["m"]`, `["a*b"]`), `prices[1] (ok): match[0]: must be a model, or a prefix with one "*" at its end, got "a*b"`},
		"match twice":        {swap(`["m"]`, `["m", "m"]`), `prices[1] (ok): match[1]: "m" is in it twice`},
		"unknown unit":       {swap(`"images"`, `"pictures"`), `prices[1] (ok): unit: "pictures" is none of`},
		"negative tier":      {swap(`"unit"`, `"above_input": -1, "unit"`), `prices[1] (ok): above_input:`},
		"beside nothing":     {swap(`"unit"`, `"beside": "x", "unit"`), `prices[1] (ok): beside: "x" must be another unit`},
		"beside itself":      {swap(`"unit"`, `"beside": "images", "unit"`), `prices[1] (ok): beside: "images" must be another unit`},
		"no rate":            {swap(`"1"`, `""`), `prices[1] (ok): rate: "": not a plain decimal`},
		"negative rate":      {swap(`"1"`, `"-1"`), `prices[1] (ok): rate: "-1": not a plain decimal`},
		"exponent":           {swap(`"1"`, `"1e3"`), `prices[1] (ok): rate: "1e3": not a plain decimal`},
		"too many digits":    {swap(`"1"`, `"1234567890123"`), `prices[1] (ok): rate: "1234567890123": more than 12 digits`},
		"too many places":    {swap(`"1"`, `"0.0000000000001"`), `more than 12 places`},
		"no date":            {swap(`"2020-01-01"`, `""`), `prices[1] (ok): from: "" is not a date`},
		"bad date":           {swap(`"2020-01-01"`, `"2020-02-30"`), `prices[1] (ok): from: "2020-02-30" is not a date`},
		"ends at once":       {swap(`"source"`, `"until": "2020-01-01", "source"`), `prices[1] (ok): until: must be after from (2020-01-01)`},
		"bad checked":        {swap(`"source"`, `"checked": "soon", "source"`), `prices[1] (ok): checked: "soon" is not a date`},
		"no source":          {swap(`"test"`, `""`), `prices[1] (ok): source:`},
		"same id":            {swap(`"m"`, `"n"`), `prices[1] (ok): id: another row has it`},
		"same price":         {swap(`"ok"`, `"two"`), `prices[1] (two): from: m is priced per images from the same day by ok`},
		"null":               {`null`, `prices[1]: id:`},
		"a list":             {`[]`, `prices[1]: json: cannot unmarshal array`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := billing.Load(strings.NewReader(`{"prices": [`+good+`,`+tt.row+`]}`), "my.json")
			if err == nil || !strings.HasPrefix(err.Error(), "price list my.json: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestLoadingRefusesBadLimitsAndBadFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"models": [{"provider": "p"}]}`:                                                           "models[0]: match:",
		`{"models": [{"provider": "p", "match": ["m"], "max": 1}]}`:                                 `models[0] (m): json: unknown field "max"`,
		`{"models": [{"provider": "p", "match": ["m"], "max_output_tokens": -1}]}`:                  "models[0] (m): max_output_tokens:",
		`{"models": [{"provider": "p", "match": ["m"], "image_tokens": {"a": 0}}]}`:                 `models[0] (m): image_tokens: "a":`,
		`{"models": [{"provider": "p", "match": ["m*"]}, {"provider": "p", "match": ["a", "m*"]}]}`: "models[1]: match: p m* is in another row too",
		`{"prices": [}`:             "line 1: invalid character",
		"{\n\n\"prices\": x}":       "line 3: invalid character",
		`{"price": []}`:             `unknown field "price"`,
		`{} {}`:                     "something follows after the end",
		``:                          "EOF",
		strings.Repeat(" ", 17<<20): "larger than 16 MiB",
	} {
		if _, err := billing.Load(strings.NewReader(text), "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want %s", text, err, want)
		}
	}
}

func TestAFileIsLaidOverTheBuiltInList(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "prices.json")
	text := `{"models": [{"provider": "openai", "match": ["gpt-4o*"], "max_output_tokens": 5}], "prices": [
		{"id": "openai/gpt-4o/input_tokens@2024-10-02", "provider": "openai", "match": ["gpt-4o"], "unit": "input_tokens", "rate": "9", "from": "2025-01-01", "source": "a contract"},
		{"id": "mine", "provider": "openai", "match": ["tts-1"], "unit": "characters", "rate": "1", "from": "2023-11-06", "source": "a contract"},
		{"id": "local", "provider": "openai", "match": ["llama*"], "unit": "input_tokens", "rate": "0", "from": "2020-01-01", "source": "our own machines"}
	]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := billing.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		model string
		usage providers.Usage
		want  billing.NanoUSD
	}{
		{"gpt-4o", providers.Usage{InputTokens: 1}, 9_000},       // replaced by its id
		{"gpt-4o", providers.Usage{OutputTokens: 1}, 10_000},     // kept
		{"tts-1", providers.Usage{Characters: 1}, 1_000},         // replaced by its day
		{"tts-1-1106", providers.Usage{Characters: 1}, 15_000},   // the rest of that row
		{"llama-3.3-70b", providers.Usage{InputTokens: 1000}, 0}, // added, and free
	} {
		if c := cost(t, l, "openai", tt.model, tt.usage, now()); !c.Priced || c.Amount != tt.want {
			t.Errorf("%s: got %+v, want %d", tt.model, c, int64(tt.want))
		}
	}
	for model, want := range map[string]int64{"gpt-4o": 5, "chatgpt-4o-latest": 16_384} {
		req := providers.Request{Task: "text", Model: model, Prompt: "hi"}
		if got := l.UpperBound("openai", req, now()).OutputTokens; got != want {
			t.Errorf("%s: at most %d output tokens, want %d", model, got, want)
		}
	}

	if _, err := billing.Open(path + ".missing"); err == nil || !strings.Contains(err.Error(), path+".missing") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := billing.Open(""); err != nil {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := billing.Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"models": [{"provider": "p", "match": ["m"], "max_output_tokens": 1}], "prices": [` +
		row("a", "m*", "images", "0.5", "2020-01-01", `, "variant": "x/y", "until": "2030-01-01"`) + `]}`))
	f.Add([]byte(`{"prices": [` + row("a", "*", "calls", "999999999999.999999999999", "0001-01-01", "") + `]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := billing.Load(bytes.NewReader(data), "fuzz")
		if err != nil {
			return
		}
		for _, m := range l.Models(now()) {
			for _, r := range m.Rates {
				u := providers.Usage{InputTokens: r.AboveInput, Images: 3, Variant: r.Variant}
				c, err := l.Cost(m.Provider, m.Match, u, now())
				if err == nil && (c.Amount < 0 || c.Priced != (len(c.Missing) == 0)) {
					t.Errorf("%+v", c)
				}
			}
		}
		if _, err := l.With(l); err != nil {
			t.Errorf("laid over itself: %v", err)
		}
	})
}

package billing_test

import (
	"encoding/json"
	"testing"

	"oneflow/billing"
	"oneflow/providers"
)

func TestACacheKeyIsThatOfEverythingThatIsSent(t *testing.T) {
	t.Parallel()
	scope := billing.CacheScope{Account: "a", Provider: "openai", BaseURL: "https://api.openai.com/v1"}
	req := func() providers.Request {
		return providers.Request{
			Task: providers.Text, Model: "m", MaxTokens: 10, Extra: map[string]json.RawMessage{"x": json.RawMessage(`{"a": 1, "b": 2}`)},
			Messages: []providers.Message{{Role: "user", Parts: []providers.Part{{Type: providers.ImagePart, Data: []byte("picture")}}}},
		}
	}
	key := func(s billing.CacheScope, r providers.Request) [32]byte {
		k, err := billing.CacheKey(s, r)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := key(scope, req())
	for name, change := range map[string]func(*billing.CacheScope, *providers.Request){
		"account":  func(s *billing.CacheScope, _ *providers.Request) { s.Account = "b" },
		"provider": func(s *billing.CacheScope, _ *providers.Request) { s.Provider = "local" },
		"base URL": func(s *billing.CacheScope, _ *providers.Request) { s.BaseURL = "http://127.0.0.1" },
		"model":    func(_ *billing.CacheScope, r *providers.Request) { r.Model = "n" },
		"tier":     func(_ *billing.CacheScope, r *providers.Request) { r.ServiceTier = "flex" },
		"cap":      func(_ *billing.CacheScope, r *providers.Request) { r.MaxTokens = 11 },
		"file":     func(_ *billing.CacheScope, r *providers.Request) { r.Messages[0].Parts[0].Data = []byte("another") },
		"extra":    func(_ *billing.CacheScope, r *providers.Request) { r.Extra["x"] = json.RawMessage(`{"a": 1, "b": 3}`) },
	} {
		s, r := scope, req()
		change(&s, &r)
		if key(s, r) == base {
			t.Errorf("%s: another one has the same key", name)
		}
	}
	same := req()
	three := 3
	same.Reask, same.OnCut, same.CacheSeconds, same.CacheVaried = &three, providers.RetryCut, 60, true
	same.Extra["x"] = json.RawMessage(`{"b":2,"a":1}`)
	if key(scope, same) != base {
		t.Error("what is not sent, or the order of names, changes the key")
	}
}

func TestRequestsThatAskForVarietyAreNotCacheable(t *testing.T) {
	t.Parallel()
	number := func(v float64) *float64 { return &v }
	seed := new(int64)
	for name, c := range map[string]struct {
		req  providers.Request
		want bool
	}{
		"not asked for":            {providers.Request{Task: providers.Text, Temperature: number(0)}, false},
		"temperature 0":            {providers.Request{Task: providers.Text, Temperature: number(0), CacheSeconds: 1}, true},
		"temperature":              {providers.Request{Task: providers.Text, Temperature: number(0.1), CacheSeconds: 1}, false},
		"the vendor's temperature": {providers.Request{Task: providers.Text, CacheSeconds: 1}, false},
		"a seed":                   {providers.Request{Task: providers.Text, Seed: seed, CacheSeconds: 1}, true},
		"told":                     {providers.Request{Task: providers.Text, CacheSeconds: 1, CacheVaried: true}, true},
		"a picture":                {providers.Request{Task: providers.Image, CacheSeconds: 1}, false},
		"a picture with a seed":    {providers.Request{Task: providers.Image, Seed: seed, CacheSeconds: 1}, true},
		"a film":                   {providers.Request{Task: providers.Video, CacheSeconds: 1}, false},
		"speech":                   {providers.Request{Task: providers.Audio, CacheSeconds: 1}, true},
		"a vector":                 {providers.Request{Task: providers.Embedding, CacheSeconds: 1}, true},
		"a vendor's body": {providers.Request{
			Task: providers.Text, CacheSeconds: 1, Model: "gpt-6-luna", Endpoint: "/v1/chat/completions",
			Body: json.RawMessage(`{"model":"gpt-6-luna","messages":[{"role":"user","content":"x"}],"temperature":0.7}`),
		}, false},
		"a vendor's body at 0": {providers.Request{
			Task: providers.Text, CacheSeconds: 1, Model: "gpt-6-luna", Endpoint: "/v1/chat/completions",
			Body: json.RawMessage(`{"model":"gpt-6-luna","messages":[{"role":"user","content":"x"}],"temperature":0}`),
		}, true},
	} {
		if got := billing.Cacheable(c.req); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

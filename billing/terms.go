package billing

import (
	"bytes"
	"encoding/json"
	"strings"

	"oneflow/providers"
)

const (
	// mostSearches is the number of searches of the web that a call is expected to make where
	// its tool does not say.
	mostSearches = 20
	// searchTokens is the number of tokens that a search adds to the input, generously.
	searchTokens = 20_000
	// dearestVoice is the most credits that a character costs: some voices count
	// double.
	dearestVoice = 2
)

// tierOf is at what terms a request asks to be served, as a Usage.Tier. What the
// vendor decides by itself ("auto") is taken to be the standard.
func tierOf(req providers.Request) string {
	words := []string{req.ServiceTier}
	for _, name := range []string{"service_tier", "serviceTier", "speed", "inference_geo"} {
		var word string
		if json.Unmarshal(req.Extra[name], &word) == nil {
			words = append(words, word)
		}
	}
	return providers.Tier(words...)
}

// hourCache reports whether a request asks for a cache that is kept for an hour.
func hourCache(req providers.Request) bool {
	if req.Marks(providers.Cache1h) {
		return true
	}
	for _, value := range req.Extra {
		if bytes.Contains(value, []byte(`"1h"`)) {
			return true
		}
	}
	return false
}

// searches returns the number of times that a request may search the web: as often as its tools allow.
func searches(req providers.Request) int64 {
	var n int64
	for _, t := range req.Tools {
		var tool struct {
			MaxUses int64 `json:"max_uses"`
		}
		_ = json.Unmarshal(t.Own, &tool) // of another form: none of these
		if kind := t.Kind(); strings.HasPrefix(kind, "web_search") || kind == "googleSearch" || kind == "google_search" {
			if tool.MaxUses <= 0 || tool.MaxUses > maxBound {
				tool.MaxUses = mostSearches
			}
			n += tool.MaxUses
		}
	}
	if len(req.Extra["web_search_options"]) > 0 {
		n++ // chat completions search once
	}
	return n
}

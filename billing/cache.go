package billing

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// CacheScope names for whom, and from where, an answer is.
type CacheScope struct {
	Account  string `json:"account"`
	Provider string `json:"provider"`
	// BaseURL is the address that the provider is called at.
	BaseURL string `json:"base_url"`
}

// CacheKey returns the key of a request in the cache: two requests have the same one if
// the account, the provider, its address, and everything that is sent are the same, its
// files, its model and the terms that it is served at among them. The order of names in
// objects does not matter.
func CacheKey(s CacheScope, req providers.Request) ([sha256.Size]byte, error) {
	req.Reask, req.OnCut, req.CacheSeconds, req.CacheVaried, req.Combine = nil, "", 0, false, 0
	data, err := json.Marshal(struct {
		CacheScope
		Request providers.Request `json:"request"`
	}{s, req})
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	// Decoded and written again, names stand in the order of the alphabet.
	in := json.NewDecoder(bytes.NewReader(data))
	in.UseNumber()
	var canonical any
	if err := in.Decode(&canonical); err != nil {
		return [sha256.Size]byte{}, err
	}
	if data, err = json.Marshal(canonical); err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(data), nil
}

// varies reports whether a request asks for variety: pictures and films without a seed,
// and texts without one at a temperature above 0, which is every vendor's default.
func varies(req providers.Request) bool {
	req = kinds.Named("", req)
	if req.Seed != nil {
		return false
	}
	switch req.Task {
	case providers.Text:
		return req.Temperature == nil || *req.Temperature > 0
	case providers.Image, providers.Video:
		return true
	case providers.Audio, providers.Embedding, providers.Transcription, providers.Moderation:
	}
	return false
}

// Cacheable reports whether a request may be answered from the cache, and its answer kept
// there.
func Cacheable(req providers.Request) bool {
	return req.CacheSeconds > 0 && (req.CacheVaried || !varies(req))
}

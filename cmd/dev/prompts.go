package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// samples writes n sample prompts as JSON lines, for all vendors: mostly text,
// with a picture in every ten and a piece of speech in every twenty. No two are
// equal.
func samples(n int) (io.Reader, error) {
	forms := []string{"a product description", "a short poem", "three headlines", "a summary for a child", "a polite refusal", "an opening line", "a checklist"}
	things := []string{
		"a folding bicycle", "the night train to Lisbon", "a lighthouse in fog", "sourdough bread", "a library at closing time",
		"a queue of robots", "the first snow", "a market in the rain", "an old radio", "a garden on a roof", "a map without names",
	}
	texts, images, speech := vendorsOf(providers.Text), vendorsOf(providers.Image), vendorsOf(providers.Audio)
	voices := []string{"for experts", "in plain words", "with one joke", "without adjectives", "as a letter", "in two sentences"}
	var out bytes.Buffer
	encode := json.NewEncoder(&out)
	for i := range n {
		thing := things[i%len(things)]
		row := map[string]any{"custom_id": fmt.Sprintf("sample-%04d", i+1)}
		switch {
		case i%10 == 4:
			row["provider"], row["task"], row["prompt"] = images[0], "image", fmt.Sprintf("%s, watercolour no. %d", thing, i+1)
		case i%20 == 9:
			row["provider"], row["task"], row["prompt"] = speech[0], "audio", fmt.Sprintf("Announcement %d: today we talk about %s.", i+1, thing)
		default:
			row["provider"], row["task"], row["max_tokens"] = texts[i%len(texts)], "text", 200
			row["prompt"] = fmt.Sprintf("Write %s about %s, %s (variation %d).", forms[i%len(forms)], thing, voices[i%len(voices)], i+1)
		}
		if err := encode.Encode(row); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// vendorsOf names the vendors that do a task, in the order of its built-in chain.
func vendorsOf(task providers.Task) (names []string) {
	for _, d := range kinds.All() {
		if d.NeedsKey() && slices.Contains(d.Chains, task) {
			names = append(names, d.Kind)
		}
	}
	return names
}

package fakeprovider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"oneflow/internal/media"
)

// countTokens counts a token for each 4 bytes of UTF-8 begun.
func countTokens(text string) int64 { return int64(len(text)+3) / 4 }

// written is a text that was made for a call.
type written struct {
	text   string
	tokens int64
	// length reports whether the limit of tokens cut it, stop which sequence did.
	length bool
	stop   string
}

// write makes the text for c: prose, or JSON for schema if asJSON. limit is in
// tokens, 0 for none.
func write(c *call, n int, asJSON bool, schema json.RawMessage, stops []string, limit int64) (written, error) {
	seed := c.seed() + uint64(n) //nolint:gosec // n is small and positive
	out := written{text: media.Prose(seed)}
	if n := countNumbered(c.body); n > 0 {
		out.text = numbered(seed, n)
	}
	if asJSON {
		var err error
		if out.text, err = media.JSON(seed, schema); err != nil {
			return out, err
		}
		switch {
		case c.fault != OffSchema:
		case seed%2 == 0:
			out.text = "Sure! Here it is:\n" + out.text
		default:
			out.text = `["not what was asked for"]`
		}
	}
	for _, stop := range stops {
		if before, _, found := strings.Cut(out.text, stop); found && stop != "" {
			out.text, out.stop = before, stop
		}
	}
	if limit > 0 && countTokens(out.text) > limit {
		end := int(4 * limit)
		for end > 0 && !utf8.RuneStart(out.text[end]) {
			end--
		}
		out.text, out.length, out.stop = out.text[:end], true, ""
	}
	out.tokens = countTokens(out.text)
	return out, nil
}

// countNumbered returns how many requests a prompt numbers, each under a line with its number
// in double brackets, from 1 on; body is JSON.
func countNumbered(body []byte) (n int) {
	for bytes.Contains(body, fmt.Appendf(nil, `\n[[%d]]\n`, n+1)) {
		n++
	}
	return n
}

// numbered answers n numbered requests in their form. One such answer in ten leaves the second
// number out, as models do.
func numbered(seed uint64, n int) string {
	var b strings.Builder
	for i := range n {
		if i == 1 && seed%10 == 0 {
			continue
		}
		first, _, _ := strings.Cut(media.Prose(seed+uint64(i)), ". ")
		fmt.Fprintf(&b, "[[%d]]\n%s\n", i+1, first)
	}
	return b.String()
}

// plainText reads what both OpenAI and Anthropic take as content: a string, or a
// list of parts of which those of type text count.
func plainText(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	for _, p := range parts {
		if p.Type == "text" {
			text += p.Text
		}
	}
	return text, true
}

// unknownField returns the first top-level field of a JSON object, in order of the
// alphabet, whose name is not known; ok is false if body is no object.
func unknownField(body []byte, known ...string) (unknown string, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil || all == nil {
		return "", false
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(known, name) {
			return name, true
		}
	}
	return "", true
}

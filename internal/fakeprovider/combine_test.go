package fakeprovider_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
	"oneflow/providers"
)

// Each vendor's models answer numbered requests in their form, most of the time.
func TestNumberedRequestsAreAnsweredByTheirNumbers(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	whole := 0
	const rounds = 60
	for i := range rounds {
		all := make([]providers.Request, 5)
		for j := range all {
			all[j] = providers.Request{Task: providers.Text, Prompt: fmt.Sprint("question ", i, j), Combine: 5}
		}
		quoted, err := json.Marshal(providers.Pack(all).Prompt)
		if err != nil {
			t.Fatal(err)
		}
		v := []fakeprovider.Vendor{fakeprovider.OpenAI, fakeprovider.Anthropic}[i%2]
		r := send(t, request(t, s, v, fmt.Sprintf(`{"model":"m","max_tokens":2000,"messages":[{"role":"user","content":%s}]}`, quoted)))
		r.has(t, 200)
		var text string
		if v == fakeprovider.Anthropic {
			var m message
			r.into(t, &m)
			text = m.Content[0].Text
		} else {
			var c struct {
				Choices []struct{ Message struct{ Content string } }
			}
			r.into(t, &c)
			text = c.Choices[0].Message.Content
		}
		parts, err := providers.Split(all, providers.Response{Text: text, FinishReason: "stop", Usage: providers.Usage{InputTokens: 50, OutputTokens: 50}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range parts {
			if p != nil {
				n++
			}
		}
		if n == len(all) {
			whole++
		} else if !strings.Contains(text, "[[1]]") {
			t.Errorf("%q", text)
		}
	}
	if whole < rounds*3/4 || whole == rounds {
		t.Errorf("%d of %d answers have all numbers", whole, rounds)
	}
}

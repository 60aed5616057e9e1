package billing_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tiktoken-go/tokenizer"

	"oneflow/billing"
	"oneflow/providers"
)

// alphabets are sorts of text that are cut into many tokens.
func alphabets() []string {
	return []string{
		"abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz      ", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		"0123456789abcdef", "0123456789", "0123456789     ", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
		"!@#$%^&*(){}[]<>;:,.", "äöüéèñß ", "日本語中文字符漢龘靐", "😀🚀🎉👩‍🚀", "한국어 ", "привет ", "a1 B\n\t", "\x00\x01\x7f\u200b",
	}
}

func random(alphabet string, n int) string {
	runes := []rune(alphabet)
	var b strings.Builder
	for range n {
		b.WriteRune(runes[rand.IntN(len(runes))])
	}
	return b.String()
}

func TestAnEstimateIsAtLeastWhatTokenizersCount(t *testing.T) {
	t.Parallel()
	prose := strings.Repeat("It was the best of times, it was the worst of times. Don't panic: 42 isn't 1,024. ", 20)
	texts := []string{"x", prose, strings.Repeat("    if err != nil {\n        return err\n    }\n", 50)}
	for _, a := range alphabets() {
		texts = append(texts, random(a, 500), random(a, 3))
	}
	for _, encoding := range []tokenizer.Encoding{tokenizer.O200kBase, tokenizer.Cl100kBase} {
		codec, err := tokenizer.Get(encoding)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			tokens, err := codec.Count(text)
			if err != nil {
				t.Fatal(err)
			}
			kinds := []string{"anthropic", "openai-compatible", "mock"}
			if encoding == tokenizer.O200kBase {
				kinds = append(kinds, "openai")
			}
			for _, kind := range kinds {
				for _, req := range []providers.Request{
					{Prompt: text}, {System: text}, {Messages: []providers.Message{{Role: "user", Content: text}}},
				} {
					req.Task = providers.Text
					if got, _ := billing.EstimateTokens(kind, req); got < int64(tokens) || got > int64(len(text))+64 {
						t.Errorf("%s: %d input tokens for %.20q of %d bytes, where %s counts %d", kind, got, text, len(text), encoding, tokens)
					}
				}
			}
		}
	}
	if got, _ := billing.EstimateTokens("anthropic", providers.Request{Task: providers.Text, Prompt: prose}); got > int64(len(prose))*2/3 {
		t.Errorf("%d tokens for %d bytes of English: too wasteful", got, len(prose))
	}
}

func TestAnEstimateKnowsTheLargestAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind string
		req  providers.Request
		want int64
	}{
		"as asked for":     {"openai", providers.Request{Task: providers.Text, MaxTokens: 300}, 300},
		"several":          {"openai", providers.Request{Task: providers.Text, MaxTokens: 100, N: 3}, 300},
		"not said":         {"openai", providers.Request{Task: providers.Text}, 16384},
		"nor to Anthropic": {"anthropic", providers.Request{Task: providers.Text}, 4096},
		"a picture":        {"openai", providers.Request{Task: providers.Image, Prompt: "a cat"}, 0},
	} {
		if _, got := billing.EstimateTokens(tt.kind, tt.req); got != tt.want {
			t.Errorf("%s: %d output tokens, want %d", name, got, tt.want)
		}
	}
}

func TestAHugePromptIsEstimatedQuickly(t *testing.T) {
	t.Parallel()
	req := providers.Request{Task: providers.Text, Prompt: strings.Repeat(" ", 32<<20)}
	began := time.Now()
	if got, _ := billing.EstimateTokens("openai", req); got < 1<<20 {
		t.Errorf("%d tokens for 32 MB", got)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func FuzzEstimateTokens(f *testing.F) {
	for _, a := range alphabets() {
		f.Add(random(a, 50))
	}
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []string{"openai", "anthropic"} {
			got, _ := billing.EstimateTokens(kind, providers.Request{Task: providers.Text, Prompt: text})
			// As it is sent: JSON has U+FFFD for each byte that is not UTF-8.
			if tokens, err := codec.Count(string([]rune(text))); err == nil && got < int64(tokens) {
				t.Errorf("%s: %d tokens for %q, which are %d", kind, got, text, tokens)
			}
		}
	})
}

func BenchmarkEstimate(b *testing.B) {
	req := providers.Request{Task: providers.Text, Prompt: strings.Repeat("the quick brown fox ", 50), MaxTokens: 10}
	for _, kind := range []string{"openai", "anthropic"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				billing.EstimateTokens(kind, req)
			}
		})
	}
}

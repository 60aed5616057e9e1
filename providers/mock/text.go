package mock

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"oneflow/internal/media"
	"oneflow/providers"
)

// choice is one answer, as OpenAI's chat completions have it.
type choice struct {
	Index        int     `json:"index"`
	Message      message `json:"message"`
	FinishReason string  `json:"finish_reason"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// text answers with sentences, or with JSON if that was asked for, as often as it was.
func text(c *call) (providers.Response, error) {
	usage := providers.Usage{InputTokens: tokens(c.req.System) + tokens(c.req.Prompt)}
	for _, m := range c.req.Messages {
		usage.InputTokens += tokens(m.Text())
	}
	choices := make([]choice, max(c.req.N, 1))
	for i := range choices {
		content, err := one(c, c.seed()+uint64(i))
		if err != nil {
			return providers.Response{}, err
		}
		choices[i] = choice{Index: i, Message: message{Role: "assistant", Content: content}, FinishReason: "stop"}
		if limit := c.req.MaxTokens; limit > 0 && tokens(content) > limit {
			choices[i].Message.Content, choices[i].FinishReason = cut(content, int(4*limit)), "length"
		}
		usage.OutputTokens += tokens(choices[i].Message.Content)
	}
	raw, err := rawText(c, choices, usage)
	if err != nil {
		return providers.Response{}, err
	}
	return providers.Response{Text: choices[0].Message.Content, FinishReason: choices[0].FinishReason, Raw: raw, Usage: usage}, nil
}

// one is an answer.
func one(c *call, seed uint64) (content string, err error) {
	format := c.req.ResponseFormat
	switch {
	case format == nil || format.Type == "" || format.Type == "text":
		content = prose(c, seed)
	case format.Type == "json_schema" && format.JSONSchema != nil:
		if content, err = media.JSON(seed, format.JSONSchema.Schema); err != nil {
			return "", fmt.Errorf("response_format.json_schema.schema: %w", err)
		}
	default:
		if content, err = media.JSON(seed, nil); err != nil {
			return "", err
		}
	}
	for _, stop := range c.req.Stop {
		if stop != "" {
			content, _, _ = strings.Cut(content, stop)
		}
	}
	return content, nil
}

// prose answers with sentences, and a request for several numbered answers with as many.
func prose(c *call, seed uint64) string {
	var numbers []string
	if strings.Contains(c.req.Prompt, "[[") {
		numbers = numbered.FindAllString(c.req.Prompt, -1)
	}
	if len(numbers) < 2 {
		return media.Prose(seed)
	}
	var b strings.Builder
	for i, number := range numbers {
		fmt.Fprintf(&b, "%s\n%s\n", number, media.Prose(seed+uint64(i)))
	}
	return b.String()
}

// numbered are the lines by which combined prompts are told apart.
var numbered = regexp.MustCompile(`(?m)^\[\[\d+\]\]$`)

// cut returns the first n bytes of s at most, ending with a whole character.
func cut(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// rawText is the answer as OpenAI's chat completions have it.
func rawText(c *call, choices []choice, usage providers.Usage) ([]byte, error) {
	type used struct {
		Completion int64 `json:"completion_tokens"`
		Prompt     int64 `json:"prompt_tokens"`
		Total      int64 `json:"total_tokens"`
	}
	return json.Marshal(struct {
		ID      string   `json:"id"`
		Object  string   `json:"object"`
		Created int64    `json:"created"` // always 0: the same request, the same bytes
		Model   string   `json:"model"`
		Choices []choice `json:"choices"`
		Usage   used     `json:"usage"`
	}{
		ID: c.id, Object: "chat.completion", Model: c.req.Model,
		Choices: choices,
		Usage:   used{Completion: usage.OutputTokens, Prompt: usage.InputTokens, Total: usage.InputTokens + usage.OutputTokens},
	})
}

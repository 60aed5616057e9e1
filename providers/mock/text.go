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

// text answers with sentences, or with JSON if that was asked for.
func text(c *call) (providers.Response, error) {
	var content string
	format := c.req.ResponseFormat
	switch {
	case format == nil || format.Type == "" || format.Type == "text":
		content = prose(c)
	case format.Type == "json_schema" && format.JSONSchema != nil:
		var err error
		if content, err = media.JSON(c.seed(), format.JSONSchema.Schema); err != nil {
			return providers.Response{}, fmt.Errorf("response_format.json_schema.schema: %w", err)
		}
	default:
		var err error
		if content, err = media.JSON(c.seed(), nil); err != nil {
			return providers.Response{}, err
		}
	}

	finish := "stop"
	for _, stop := range c.req.Stop {
		if stop != "" {
			content, _, _ = strings.Cut(content, stop)
		}
	}
	if limit := c.req.MaxTokens; limit > 0 && tokens(content) > limit {
		content, finish = cut(content, int(4*limit)), "length"
	}
	usage := providers.Usage{InputTokens: tokens(c.req.System) + tokens(c.req.Prompt), OutputTokens: tokens(content)}
	for _, m := range c.req.Messages {
		usage.InputTokens += tokens(m.Text())
	}
	raw, err := rawText(c, content, finish, usage)
	if err != nil {
		return providers.Response{}, err
	}
	return providers.Response{Text: content, FinishReason: finish, Raw: raw, Usage: usage}, nil
}

// prose answers with sentences, and a request for several numbered answers with as many.
func prose(c *call) string {
	numbers := numbered.FindAllString(c.req.Prompt, -1)
	if len(numbers) < 2 {
		return media.Prose(c.seed())
	}
	var b strings.Builder
	for i, number := range numbers {
		fmt.Fprintf(&b, "%s\n%s\n", number, media.Prose(c.seed()+uint64(i)))
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
func rawText(c *call, content, finish string, usage providers.Usage) ([]byte, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type choice struct {
		Index        int     `json:"index"`
		Message      message `json:"message"`
		FinishReason string  `json:"finish_reason"`
	}
	return json.Marshal(struct {
		ID      string           `json:"id"`
		Object  string           `json:"object"`
		Created int64            `json:"created"` // always 0: the same request, the same bytes
		Model   string           `json:"model"`
		Choices []choice         `json:"choices"`
		Usage   map[string]int64 `json:"usage"`
	}{
		ID: c.id, Object: "chat.completion", Model: c.req.Model,
		Choices: []choice{{Message: message{Role: "assistant", Content: content}, FinishReason: finish}},
		Usage: map[string]int64{
			"prompt_tokens": usage.InputTokens, "completion_tokens": usage.OutputTokens,
			"total_tokens": usage.InputTokens + usage.OutputTokens,
		},
	})
}

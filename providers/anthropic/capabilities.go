package anthropic

import (
	"errors"
	"fmt"
	"strings"

	"oneflow/providers"
)

// capabilities returns the abilities of Anthropic's Messages API.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Text: {
				DefaultModel: "claude-haiku-4-5",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "response_format",
				},
			},
		},
		Extra:    true,
		AnyModel: true,
		Refuse:   check,
	}
}

// check refuses what Anthropic's API documents that it refuses.
func check(req providers.Request) error {
	model := req.Model
	if model == "" {
		model = capabilities().Tasks[providers.Text].DefaultModel
	}
	switch {
	case req.Temperature != nil && *req.Temperature > 1:
		return fmt.Errorf("temperature: Anthropic takes 0 to 1, got %g", *req.Temperature)
	case req.Temperature != nil && req.TopP != nil && strings.HasPrefix(model, "claude-"):
		return errors.New("top_p: Anthropic takes either temperature or top_p, not both")
	case req.Temperature != nil && *req.Temperature != 1 && !samples(model):
		return fmt.Errorf("temperature: %s takes 1 only, got %g: leave it out, or name another model", model, *req.Temperature)
	case req.TopP != nil && *req.TopP < 0.99 && !samples(model):
		return fmt.Errorf("top_p: %s takes 0.99 to 1 only, got %g: leave it out, or name another model", model, *req.TopP)
	}
	for i, stop := range req.Stop {
		if strings.TrimSpace(stop) == "" {
			return fmt.Errorf("stop[%d]: must hold more than blanks", i)
		}
	}
	for i, m := range req.Messages {
		if m.Role == "system" && i > 0 {
			return fmt.Errorf("messages[%d].role: a system message must come first", i)
		}
		if strings.TrimSpace(m.Content) == "" {
			return fmt.Errorf("messages[%d].content: must hold more than blanks", i)
		}
	}
	if req.Prompt != "" && strings.TrimSpace(req.Prompt) == "" {
		return errors.New("prompt: must hold more than blanks")
	}
	if n := len(req.Messages); n > 0 && req.Messages[n-1].Role == "system" {
		return errors.New("messages: at least one user message is needed")
	}
	if err := req.ResponseFormat.Check("text", "json_schema"); err != nil {
		return err
	}
	if _, ok := req.Extra["output_config"]; ok && req.ResponseFormat != nil && req.ResponseFormat.Type == "json_schema" {
		return errors.New("extra.output_config: cannot stand beside response_format, give it all in one of them")
	}
	return req.RefuseExtra("stop_sequences", "stream")
}

// samples reports whether an Anthropic model takes sampling options: those after
// Claude Opus 4.6 do not. A name that is not known is left to the server.
func samples(model string) bool {
	for _, family := range []string{
		"claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5", "claude-haiku-5", "claude-fable", "claude-mythos",
	} {
		if strings.HasPrefix(model, family) {
			return false
		}
	}
	return true
}

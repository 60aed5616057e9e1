package anthropic

import (
	"encoding/json"
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
				DefaultModel: "claude-haiku-5-5",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "response_format",
					"tools", "tool_choice", "parallel_tool_calls", "effort", "service_tier",
				},
				Aliases: map[string]string{"stop_sequences": "stop"},
				Parts:   []providers.PartType{providers.ImagePart, providers.DocumentPart},
			},
		},
		Endpoints:   []providers.Endpoint{{Path: messagesPath, Task: providers.Text, Read: readBody, Revise: providers.ReviseTurns("messages", "max_tokens")}},
		Extra:       true,
		Hints:       []string{"metadata"},
		Kept:        []string{"container", "mcp_servers", "web_fetch", "code_execution", "mcp", "tool_search"},
		AnyModel:    true,
		MediaTokens: mediaTokens,
		Refuse:      check,
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
	if err := checkTurns(req); err != nil {
		return err
	}
	if req.Prompt != "" && strings.TrimSpace(req.Prompt) == "" {
		return errors.New("prompt: must hold more than blanks")
	}
	if err := checkTools(req); err != nil {
		return err
	}
	if err := providers.OneOf("effort", req.Effort, "low", "medium", "high", "xhigh", "max"); err != nil {
		return err
	}
	if req.Effort != "" && !takesEffort(model) {
		return fmt.Errorf("effort: %s does not take it: leave it out, or name another model", model)
	}
	if err := providers.OneOf("service_tier", req.ServiceTier, "auto", "default", "standard", "standard_only"); err != nil {
		return err
	}
	if err := req.ResponseFormat.Check("text", "json_schema"); err != nil {
		return err
	}
	return req.RefuseExtra("stream")
}

// checkTools refuses definitions of tools that Anthropic does not take.
func checkTools(req providers.Request) error {
	for i, t := range req.Tools {
		var schema struct {
			Type string `json:"type"`
		}
		if t.Own != nil {
			continue
		}
		if len(t.Name) > 128 || !toolID(t.Name) {
			return fmt.Errorf("tools[%d].name: must be 1 to 128 letters, digits, _ and -", i)
		}
		if t.Parameters != nil && (json.Unmarshal(t.Parameters, &schema) != nil || schema.Type != "object") {
			return fmt.Errorf("tools[%d].parameters: must be a schema of type object", i)
		}
	}
	if req.ParallelToolCalls != nil && len(req.Tools) == 0 {
		return errors.New("parallel_tool_calls: needs tools, and there are none")
	}
	return nil
}

// takesEffort reports whether an Anthropic model takes an effort: those before Claude
// Opus 4.5 and Sonnet 4.6, and Haiku 4.5, do not. A name that is not known is left to
// the server.
func takesEffort(model string) bool {
	for _, family := range []string{
		"claude-3", "claude-haiku-4", "claude-sonnet-4-0", "claude-sonnet-4-2", "claude-sonnet-4-5", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2",
	} {
		if strings.HasPrefix(model, family) {
			return false
		}
	}
	return true
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

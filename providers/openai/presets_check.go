package openai

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"oneflow/providers"
)

// checkGroq refuses what Groq answers with 400: https://console.groq.com/docs/openai.
func checkGroq(req providers.Request) error {
	switch {
	case req.Task != providers.Text:
		return nil
	case req.LogProbs:
		return errors.New("logprobs: Groq tells none: leave it out")
	case req.N > 1:
		return oneAnswer("Groq", req.N)
	}
	if err := noNames("Groq", req); err != nil {
		return err
	}
	return req.RefuseExtra("logit_bias")
}

// checkMistral refuses what Mistral answers with 422:
// https://github.com/Gage-Technologies/mistral-go/pull/2.
func checkMistral(req providers.Request) error { return noNames("Mistral", req) }

// checkDeepSeek refuses what DeepSeek's chat does not take:
// https://github.com/llm-exe/llm-exe/issues/662 and https://api-docs.deepseek.com/api/create-response.
func checkDeepSeek(req providers.Request) error {
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" {
		return errors.New("response_format.type: DeepSeek's chat takes json_object, and no json_schema: say the schema in the prompt, or bring a body for /v1/responses")
	}
	return nil
}

// checkXAI refuses what xAI's models that reason refuse:
// https://github.com/lidge-jun/opencodex/issues/5278 and https://github.com/langchain-ai/langchain/pull/38335.
func checkXAI(req providers.Request) error {
	reasoning := func(family string) bool { return strings.HasPrefix(req.Model, family) }
	if len(req.Stop) > 0 && slices.ContainsFunc([]string{"grok-3-mini", "grok-4", "grok-code", "grok-build"}, reasoning) && !strings.Contains(req.Model, "non-reasoning") {
		return fmt.Errorf("stop: %s does not take it: leave it out, or name another model", req.Model)
	}
	return nil
}

// checkOllama refuses what Ollama passes over in silence:
// https://docs.ollama.com/api/openai-compatibility and https://github.com/ollama/ollama/issues/17921.
func checkOllama(req providers.Request) error {
	switch {
	case req.Task == providers.Text && req.N > 1:
		return oneAnswer("Ollama", req.N)
	case req.ToolChoice != nil && req.ToolChoice.Mode != "auto":
		return errors.New("tool_choice: Ollama passes over it: leave it out, or name auto")
	}
	return nil
}

// checkPerplexity refuses what has no form in Perplexity's /responses, which refuses what it does not know:
// https://github.com/perplexityai/api-platform-developers/blob/main/skills/migrate-sonar-to-agent-api/references/request-mapping.md.
func checkPerplexity(req providers.Request) error {
	if req.Task != providers.Text {
		return nil
	}
	for _, option := range []struct {
		name  string
		given bool
	}{{"stop", len(req.Stop) > 0}, {"seed", req.Seed != nil}, {"logprobs", req.LogProbs}, {"service_tier", req.ServiceTier != ""}} {
		if option.given {
			return fmt.Errorf("%s: Perplexity does not take it: leave it out", option.name)
		}
	}
	if req.N > 1 {
		return oneAnswer("Perplexity", req.N)
	}
	if err := providers.OneOf("effort", req.Effort, "minimal", "low", "medium", "high", "xhigh", "max"); err != nil {
		return err
	}
	for i, m := range req.Messages {
		for j, p := range m.Parts {
			at := fmt.Sprintf("messages[%d].content[%d] (%s)", i, j, p.Type)
			switch {
			case p.Type != providers.TextPart && (p.Type != providers.ImagePart || m.Role != "user"):
				return fmt.Errorf("%s: Perplexity takes texts, and pictures from users: say it in a text", at)
			case p.Detail != "" && p.Detail != "auto":
				return fmt.Errorf("%s: detail: Perplexity takes none: leave it out", at)
			}
		}
	}
	return noNames("Perplexity", req)
}

// oneAnswer refuses to ask a server that makes one answer a call for n.
func oneAnswer(server string, n int) error {
	return fmt.Errorf("n: %s makes one answer a call, got %d: enqueue one job for each", server, n)
}

// noNames refuses names of those who speak.
func noNames(server string, req providers.Request) error {
	for i, m := range req.Messages {
		if m.Name != "" {
			return fmt.Errorf("messages[%d].name: %s knows no names: say it in the content", i, server)
		}
	}
	return nil
}

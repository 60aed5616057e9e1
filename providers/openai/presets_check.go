package openai

import (
	"encoding/base64"
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

// The bounds of what Fireworks takes.
const (
	fireworksTop      = 5
	fireworksPictures = 30
	fireworksBytes    = 10 << 20 // of all pictures, in base64
)

// checkFireworks refuses what Fireworks answers with 400, and the terms that it takes for its default:
// https://docs.fireworks.ai/api-reference/post-chatcompletions,
// https://docs.fireworks.ai/guides/querying-vision-language-models,
// https://github.com/microsoft/autogen/issues/1129 and https://github.com/langchain-ai/langchain/issues/38388.
func checkFireworks(req providers.Request) error {
	switch {
	case req.Task != providers.Text:
		return nil
	case req.TopLogProbs > fireworksTop:
		return fmt.Errorf("top_logprobs: Fireworks tells of at most %d, got %d: ask for fewer", fireworksTop, req.TopLogProbs)
	case !plainTier(req) && req.ServiceTier != "priority":
		return fmt.Errorf("service_tier: Fireworks knows priority beside its default, got %.40q: name that, or leave it out", req.ServiceTier)
	}
	if err := noNames("Fireworks", req); err != nil {
		return err
	}
	if err := functionsOnly("Fireworks", req); err != nil {
		return err
	}
	return fireworksParts(req)
}

// fireworksParts refuses parts that Fireworks does not take, and more pictures than it does.
func fireworksParts(req providers.Request) error {
	pictures, size := 0, 0
	for i, m := range req.Messages {
		for j, p := range m.Parts {
			switch p.Type {
			case providers.TextPart:
			case providers.ImagePart:
				pictures++
				size += base64.StdEncoding.EncodedLen(len(p.Data))
			case providers.DocumentPart, providers.AudioPart:
				return fmt.Errorf("messages[%d].content[%d] (%s): Fireworks takes texts and pictures: say it in a text, or send pages as pictures", i, j, p.Type)
			}
		}
	}
	switch {
	case pictures > fireworksPictures:
		return fmt.Errorf("messages: Fireworks takes at most %d pictures a request, got %d: ask about fewer at once", fireworksPictures, pictures)
	case size >= fireworksBytes:
		return fmt.Errorf("messages: Fireworks takes pictures of less than %d MiB together, in base64, got %d bytes: make them smaller, or give their url", fireworksBytes>>20, size)
	}
	return nil
}

// checkVLLM refuses what vLLM does not take, or passes over in silence:
// https://docs.vllm.ai/en/stable/serving/openai_compatible_server/,
// https://github.com/vllm-project/vllm/issues/46562 and
// https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/chat_completion/protocol.py.
func checkVLLM(req providers.Request) error {
	switch {
	case req.Task != providers.Text:
		return nil
	case !plainTier(req):
		return fmt.Errorf("service_tier: vLLM passes over it, got %.40q: leave it out", req.ServiceTier)
	}
	for i, m := range req.Messages {
		for j, p := range m.Parts {
			at := fmt.Sprintf("messages[%d].content[%d] (%s)", i, j, p.Type)
			switch {
			case p.Type == providers.DocumentPart:
				return fmt.Errorf("%s: vLLM takes texts, pictures and sound: say it in a text, or send pages as pictures", at)
			case p.Detail != "" && p.Detail != "auto":
				return fmt.Errorf("%s: detail: vLLM passes over it: leave it out", at)
			}
		}
	}
	return functionsOnly("vLLM", req)
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

// plainTier reports whether a request is to be served at the terms that it would be without a word.
func plainTier(req providers.Request) bool {
	return slices.Contains([]string{"", "auto", "default", "standard_only", "standard"}, req.ServiceTier)
}

// functionsOnly refuses tools that a vendor has of its own.
func functionsOnly(server string, req providers.Request) error {
	for i, t := range req.Tools {
		if kind := t.Kind(); t.Own != nil && kind != "function" {
			return fmt.Errorf("tools[%d]: %s takes functions only, got %.40q: leave it out", i, server, kind)
		}
	}
	return nil
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

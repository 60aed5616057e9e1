package openai

import "oneflow/providers"

// presets are servers that speak OpenAI's protocol, by what differs. Their keys are in
// the variables of their names, such as GROQ_API_KEY.
func presets() []providers.Preset {
	return []providers.Preset{
		// Azure's address is the customer's: https://NAME.openai.azure.com. It refuses
		// max_tokens for every model since GPT-5.
		{Name: "azure", KeyHeader: "api-key", NeedsKey: true, PricesAs: Kind, CompletionTokens: true, Deployments: true},
		{Name: "groq", BaseURL: "https://api.groq.com/openai/v1", NeedsKey: true, PricesAs: "groq", Limits: providers.Limits{RPM: 30}, CompletionTokens: true, Refuse: checkGroq},
		// Mistral refuses fields that it does not know, such as seed, and ids of calls that are not 9
		// letters and digits: https://github.com/nearai/ironclaw/issues/1241.
		{Name: "mistral", BaseURL: "https://api.mistral.ai/v1", NeedsKey: true, PricesAs: "mistral", Limits: providers.Limits{RPS: 1, RPM: 60}, SeedName: "random_seed", CallIDLength: 9, Refuse: checkMistral},
		{Name: "deepseek", BaseURL: "https://api.deepseek.com/v1", NeedsKey: true, PricesAs: "deepseek", Refuse: checkDeepSeek},
		{Name: "xai", BaseURL: "https://api.x.ai/v1", NeedsKey: true, PricesAs: "xai", CompletionTokens: true, Refuse: checkXAI},
		{Name: "openrouter", BaseURL: "https://openrouter.ai/api/v1", NeedsKey: true, ReportsCost: true, VideosAsJSON: true},
		// Together takes logprobs as a number: https://github.com/togethercomputer/openapi/pull/104.
		{Name: "together", BaseURL: "https://api.together.xyz/v1", NeedsKey: true, PricesAs: "together", CountsLogProbs: true},
		{Name: "fireworks", BaseURL: "https://api.fireworks.ai/inference/v1", NeedsKey: true, PricesAs: "fireworks", Refuse: checkFireworks},
		// Perplexity's chats ended on 2026-09-27:
		// https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview.
		{Name: "perplexity", BaseURL: "https://api.perplexity.ai/v1", NeedsKey: true, PricesAs: "perplexity", Limits: providers.Limits{RPM: 50}, Responses: true, ReportsCost: true, Refuse: checkPerplexity},
		{Name: "ollama", BaseURL: "http://localhost:11434/v1", Refuse: checkOllama},
		{Name: "vllm", BaseURL: "http://localhost:8000/v1", Refuse: checkVLLM},
	}
}

package config

// Provider is one provider.
type Provider struct {
	// Kind names the client that speaks to it. Default: the provider's name.
	Kind string `yaml:"kind"`
	// Limits hold what it allows. A dimension that is written here is an upper bound
	// for what the provider's answers say; the default of one that is not (requests
	// a minute, from the kind) is replaced by what they say.
	Limits Limits `yaml:"limits"`
	// ModelLimits are those of the calls of one model with one key, or of a class of models
	// that the provider counts together: all whose names begin so. As in Limits, what is
	// written here is an upper bound for what answers say. Beside these, Limits hold for all
	// of the provider's calls together where they are written.
	ModelLimits map[string]Limits `yaml:"model_limits"`
	// Burst is the number of requests that may go out at once after a pause, before they are
	// spaced evenly. Default: 1.
	Burst int `yaml:"burst"`
	// Latency is the time that a call is expected to take, until there are calls to go
	// by: it and the limit give the concurrency. Default: the kind's.
	Latency Duration `yaml:"latency"`
	// Concurrency is the number of calls that one worker makes at once, whatever the limits.
	// Default: from them and the latency.
	Concurrency int `yaml:"concurrency"`
	// MinConcurrency and MaxConcurrency bound how many calls all workers together
	// make at once where Concurrency is not set. Default: 0, which is no bound.
	MinConcurrency int `yaml:"min_concurrency"`
	MaxConcurrency int `yaml:"max_concurrency"`
	// DispatchWindow is the number of tasks that each of its queues in Redis holds at most.
	// Default: 0, which is about five minutes of work, from 200 to 10,000.
	DispatchWindow int `yaml:"dispatch_window"`
	// Simulated tells that its money is not real, such as a fake server's: it stands
	// apart in every total. Always true for kind mock, and for providers that the
	// variable ONEFLOW_SIMULATED lists.
	Simulated bool `yaml:"simulated"`
	// BaseURL is the service's address in place of the vendor's own. The vendors'
	// variables (OPENAI_BASE_URL, ANTHROPIC_BASE_URL, STABILITY_BASE_URL,
	// ELEVENLABS_BASE_URL, GEMINI_BASE_URL) give it to the provider of that name; the file wins.
	BaseURL string `yaml:"base_url"`
	// Compatible, for kind openai, tells that BaseURL is another server that
	// speaks OpenAI's protocol (vLLM, Ollama, OpenRouter, Azure). It may go
	// without a key, and is priced under its own name.
	Compatible bool `yaml:"compatible"`
	// PricesAs is whose rows of the price list hold for a compatible server, such as
	// groq. Default: the provider's name.
	PricesAs string `yaml:"prices_as"`
	// KeyHeader, for kind openai, is the header that carries the key in place of
	// Authorization, such as Azure's api-key.
	KeyHeader string `yaml:"key_header"`
	// Models are the models to use where a request names none, by task.
	Models map[string]string `yaml:"models"`
	// Preset names a server that is known, such as groq: its address, its key's header,
	// its prices and its quirks. A provider of such a name, without a kind, has it.
	Preset string `yaml:"preset"`
	// Deployment and APIVersion are Azure's: the deployment whose address is called,
	// and the version of its API, such as 2024-10-21. Default: its API without versions,
	// where the model names the deployment.
	Deployment string `yaml:"deployment"`
	APIVersion string `yaml:"api_version"`
	// Deployments are several places that serve its models, by names of their own, used
	// side by side.
	Deployments map[string]Deployment `yaml:"deployments"`
	// Headers are sent with each request, beside those of the client.
	Headers map[string]string `yaml:"headers"`
	// Organization and Project choose whom OpenAI charges. Default: the key's own.
	Organization string `yaml:"organization"`
	Project      string `yaml:"project"`
	// Betas are the names of Anthropic's beta features to ask for.
	Betas []string `yaml:"betas"`
	// MaxTokens caps the answers to requests for text that set no cap. Default: the
	// vendor's own; Anthropic needs one, which is 4096.
	MaxTokens int64 `yaml:"max_tokens"`
	// Voice is the voice to speak with where a request names none.
	Voice string `yaml:"voice"`
	// Proxy and CAFile are those of this provider, in place of the general ones.
	Proxy  string `yaml:"proxy"`
	CAFile string `yaml:"ca_file"`
	// Mock is for kind mock.
	Mock *Mock `yaml:"mock"`
}

// Mock configures the mock provider.
type Mock struct {
	// Latency of a call, on average. Default: the provider's Latency.
	Latency Duration `yaml:"latency"`
	// ErrorRate is the share of calls that fail, from 0 to 1.
	ErrorRate float64 `yaml:"error_rate"`
	// RPM and MaxConcurrent are limits that it enforces; 0: none.
	RPM           int `yaml:"rpm"`
	MaxConcurrent int `yaml:"max_concurrent"`
	// CallLog is a file that gets a line for each call received.
	CallLog string `yaml:"call_log"`
}

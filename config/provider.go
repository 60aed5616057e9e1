package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

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
	// Simulated reports whether its money is not real, such as a fake server's: it stands
	// apart in every total. Always true for kind mock, and for providers that the
	// variable ONEFLOW_SIMULATED lists.
	Simulated bool `yaml:"simulated"`
	// BaseURL is the service's address in place of the vendor's own. The vendors'
	// variables (OPENAI_BASE_URL, ANTHROPIC_BASE_URL, STABILITY_BASE_URL,
	// ELEVENLABS_BASE_URL, GEMINI_BASE_URL) give it to the provider of that name; the file wins.
	BaseURL string `yaml:"base_url"`
	// Compatible, for kind openai, reports whether BaseURL is another server that
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

func (p Provider) check(name string) error {
	if _, _, known := kinds.Preset(p.Preset); p.Preset != "" && !known {
		return fmt.Errorf("preset: %q is not one of %s", p.Preset, strings.Join(kinds.Presets(), ", "))
	}
	if names := kinds.Configurable(); !slices.Contains(names, p.Kind) {
		all := strings.Join(names, ", ")
		if p.Kind == name {
			return fmt.Errorf("kind: is missing: write one of %s (for another server that speaks OpenAI's protocol: preset: one of %s; or kind: openai, compatible: true and its base_url)",
				all, strings.Join(kinds.Presets(), ", "))
		}
		return fmt.Errorf("kind: %q is not one of %s", p.Kind, all)
	}
	if len(p.Deployments) == 0 { // else each is checked
		if err := p.checkPreset(); err != nil {
			return err
		}
		if err := p.checkRemote(); err != nil {
			return err
		}
	}
	if err := p.checkUse(); err != nil {
		return err
	}
	switch {
	case p.Latency < 0:
		return fmt.Errorf("latency: must be positive, got %s", time.Duration(p.Latency))
	case p.Mock == nil:
		return nil
	case !p.descriptor().Local:
		return fmt.Errorf("mock: is not for %s, only for kind %s", p.Kind, kindsWith(func(d providers.Descriptor) bool { return d.Local }))
	case !(p.Mock.ErrorRate >= 0 && p.Mock.ErrorRate <= 1): // NaN is neither
		return fmt.Errorf("mock.error_rate: must be from 0 to 1, got %g", p.Mock.ErrorRate)
	case p.Mock.Latency < 0:
		return fmt.Errorf("mock.latency: must not be negative, got %s", time.Duration(p.Mock.Latency))
	case p.Mock.RPM < 0:
		return fmt.Errorf("mock.rpm: must not be negative, got %d", p.Mock.RPM)
	case p.Mock.MaxConcurrent < 0:
		return fmt.Errorf("mock.max_concurrent: must not be negative, got %d", p.Mock.MaxConcurrent)
	}
	return nil
}

// Capabilities is the kind to ask what the provider can do.
func (p Provider) Capabilities() string {
	if p.Compatible {
		return p.Kind + "-compatible"
	}
	return p.Kind
}

// PriceRows returns whose rows of the price list hold for the provider of that name.
func (p Provider) PriceRows(name string) string {
	switch {
	case p.PricesAs != "":
		return p.PricesAs
	case p.Compatible:
		return name
	}
	return p.Kind
}

// descriptor describes its kind; the zero one where there is no such kind.
func (p Provider) descriptor() providers.Descriptor {
	d, _ := kinds.Of(p.Capabilities())
	return d
}

// kindsWith names the kinds that a field is for.
func kindsWith(has func(providers.Descriptor) bool) string {
	var names []string
	for _, d := range kinds.All() {
		if has(d) {
			names = append(names, d.Kind)
		}
	}
	return strings.Join(names, " or ")
}

// DefaultModel is the model for requests of a task that name none; vendor is the
// kind's own.
func (p Provider) DefaultModel(task, vendor string) string {
	if m := p.Models[task]; m != "" {
		return m
	}
	return vendor
}

// checkRemote checks the fields of kinds that are reached over a network.
func (p Provider) checkRemote() error {
	if p.BaseURL != "" {
		u, err := url.Parse(p.BaseURL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
			return errors.New("base_url: must be an address such as https://host/v1, without a user or a password")
		}
	}
	d := p.descriptor()
	switch {
	case p.Compatible && d.Kind == "":
		return fmt.Errorf("compatible: is only for kind %s", kindsWith(func(d providers.Descriptor) bool {
			_, ok := kinds.CompatibleWith(d.Kind)
			return ok
		}))
	case d.Local && p.BaseURL != "":
		return fmt.Errorf("base_url: is not for kind %s, which calls nobody", p.Kind)
	case d.Local && p.Models != nil:
		return fmt.Errorf("models: is not for kind %s, which has one model for each task", p.Kind)
	case !d.KeyHeader && p.KeyHeader != "":
		return fmt.Errorf("key_header: is only for kind %s", kindsWith(func(d providers.Descriptor) bool { return d.KeyHeader && !d.Compatible }))
	case p.Compatible && p.BaseURL == "":
		return errors.New("compatible: needs the base_url of the server")
	}
	for _, task := range slices.Sorted(maps.Keys(p.Models)) {
		if !slices.Contains(tasks(), task) {
			return fmt.Errorf("models.%s: must be %s", task, strings.Join(tasks(), ", "))
		}
	}
	return nil
}

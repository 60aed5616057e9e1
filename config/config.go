// Package config reads the YAML file, strictly: an unknown field or a bad value
// is an error that names the line. Of OneFlow it imports the kinds of providers, for
// their defaults.
//
// Everything has a default; the file is needed only to change one.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// defaultFile is the name of the file that is read where it exists and no other is
// named.
const defaultFile = "oneflow.yaml"

const (
	defaultCallTimeout = 2 * time.Minute
	defaultDrain       = 30 * time.Second
)

// Config is the whole file.
type Config struct {
	// Providers by name. A file that names some keeps the built-in others.
	Providers map[string]Provider `yaml:"providers"`
	// Chains are the providers to ask for each task, in order: a job begins with
	// the one that it names and goes on with the others where it fails. A file that
	// names some tasks keeps the built-in chains of the others. `monitor chains set`
	// changes them while workers run.
	Chains map[string][]string `yaml:"chains"`
	// FallbackModels says which model stands in for another at other providers:
	// model, then provider (its name, or its kind), then the model there. It is
	// laid over a built-in list, model by model.
	FallbackModels map[string]map[string]string `yaml:"fallback_models"`
	// Artifacts is the place of pictures, sound and film: a folder,
	// s3://bucket/prefix or gs://bucket/prefix. Default: .oneflow/artifacts.
	Artifacts string `yaml:"artifacts"`
	// Keys is the file with API keys, 0600. Default: .api_keys.json.
	Keys string `yaml:"keys"`
	// State is the folder where a worker keeps what it could not record before it
	// had to stop; it holds answers, and is its owner's alone. Default: .oneflow.
	State string `yaml:"state"`
	// Prices is a file of price rows that are laid over the built-in list.
	Prices string `yaml:"prices"`
	// Proxy is the address of an HTTP or SOCKS proxy for all calls to providers.
	// Default: HTTPS_PROXY and HTTP_PROXY, as far as NO_PROXY allows it.
	Proxy string `yaml:"proxy"`
	// CAFile is a file of certificates, in PEM, of authorities that providers' own
	// may be signed by, beside the system's.
	CAFile string `yaml:"ca_file"`
	// CallTimeout is the time that one provider call may take. Default: 2m.
	CallTimeout Duration `yaml:"call_timeout"`
	// Drain is the time that calls in flight may go on when a worker is asked to
	// stop. Default: 30s.
	Drain Duration `yaml:"drain"`
	// Retention says for how long what has ended is kept. Default: for ever.
	Retention Retention `yaml:"retention"`
	// Webhooks says how applications are told what has happened.
	Webhooks Webhooks `yaml:"webhooks"`
	// Cache lets jobs that `enqueue` brings, and that do not say so, have answers of before.
	// Default: none does.
	Cache Cache `yaml:"cache"`
}

// Webhooks says how applications are told what has happened.
type Webhooks struct {
	// SecretFile is a file with the secret that events are signed with, as
	// ONEFLOW_WEBHOOK_SECRET has it, which goes before: whsec_ and base64. Several,
	// separated by spaces or lines, each sign, so that one can take another's place.
	SecretFile string `yaml:"secret_file"`
	// Allow lists what may be called though it is not on the public internet, and without
	// TLS: host:port.
	Allow []string `yaml:"allow"`
	// Alerts is the URL that is told of alerts, when one opens and when it is over. Empty:
	// none is.
	Alerts string `yaml:"alerts"`
}

// Cache lets an answer be one that the same account was given to the same request.
type Cache struct {
	// TTL is the age that it may have, and the time that answers are kept for; from a
	// second to ten years. 0: jobs are always asked anew, unless they say otherwise.
	TTL Duration `yaml:"ttl"`
	// Varied holds it for requests that ask for variety, too: texts at a temperature above
	// 0, pictures and films, without a seed.
	Varied bool `yaml:"varied"`
}

// leastCalls is longer than any month.
const leastCalls = 35 * 24 * time.Hour

// Retention says for how long what has ended is kept.
type Retention struct {
	// Results is the time from the end of its last job until a batch is removed, with its
	// results and files, as `enqueue rm` does it; at least a day. 0: never. What calls
	// have cost is kept. Jobs without a batch go so long after they ended.
	Results Duration `yaml:"results"`
	// Calls is the time from the end of a provider call until its row in the ledger is removed,
	// once its jobs are gone; at least Results, and five weeks. 0: never. Sums are kept.
	Calls Duration `yaml:"calls"`
}

// Load reads the file at path, and from the environment the base URLs that it leaves
// open. An empty path means oneflow.yaml, which need not exist.
func Load(path string, getenv func(string) string) (Config, error) {
	c, err := loadFile(path)
	if err != nil {
		return Config{}, err
	}
	return c, c.readEnvironment(getenv)
}

func loadFile(path string) (Config, error) {
	optional := path == ""
	if optional {
		path = defaultFile
	}
	data, err := os.ReadFile(path) //nolint:gosec // the path is the user's own
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Parse(nil, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("config: %w: name a file that is there with --config or ONEFLOW_CONFIG, or none: then %s is read, where it exists", err, defaultFile)
	}
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return Parse(data, path)
}

// Parse reads the text of a file. name stands for it in errors.
func Parse(data []byte, name string) (Config, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return Config{}, fmt.Errorf("config %s: %s", name, yaml.FormatError(err, false, true))
	}
	if err := checkText(file); err != nil {
		return Config{}, fmt.Errorf("config %s%w", name, err)
	}
	var c Config
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c)
	if err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("config %s: %s", name, yaml.FormatError(err, false, true))
	}
	c.fill()
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("config %s%s: %w", name, lineOf(file, err), err)
	}
	return c, nil
}

// fill puts defaults in.
func (c *Config) fill() {
	if c.Artifacts == "" {
		c.Artifacts = ".oneflow/artifacts"
	}
	if c.State == "" {
		c.State = ".oneflow"
	}
	if c.Keys == "" {
		c.Keys = ".api_keys.json"
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = Duration(defaultCallTimeout)
	}
	if c.Drain == 0 {
		c.Drain = Duration(defaultDrain)
	}
	if c.Providers == nil {
		c.Providers = map[string]Provider{}
	}
	for _, kind := range kinds.Configurable() {
		if _, named := c.Providers[kind]; !named {
			c.Providers[kind] = Provider{Kind: kind}
		}
	}
	for name, p := range c.Providers {
		p = p.withPreset(name)
		if p.Kind == "" {
			p.Kind = name
		}
		d := p.descriptor()
		if p.Burst == 0 {
			p.Burst = 1
		}
		if p.Latency == 0 {
			p.Latency = Duration(d.Latency)
		}
		if d.Local {
			p.Simulated = true
			mock := Mock{}
			if p.Mock != nil {
				mock = *p.Mock
			}
			if mock.Latency == 0 {
				mock.Latency = p.Latency
			}
			p.Mock = &mock
		}
		c.Providers[name] = p
	}
	c.fillChains()
}

func (c *Config) check() error {
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		p := c.Providers[name]
		if !validName(name) {
			return fmt.Errorf("providers: %q: a name has 1 to 40 letters, digits, - and _", name)
		}
		if err := p.check(name); err != nil {
			return fmt.Errorf("providers.%s.%w", name, err)
		}
		if err := c.checkDeployments(name, p); err != nil {
			return fmt.Errorf("providers.%s.%w", name, err)
		}
	}
	if err := c.checkChains(); err != nil {
		return err
	}
	if err := checkProxy(c.Proxy); err != nil {
		return err
	}
	for _, address := range c.Webhooks.Allow {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("webhooks.allow: %q is no host:port, such as 127.0.0.1:9000", address)
		}
	}
	if u, err := url.Parse(c.Webhooks.Alerts); err != nil || c.Webhooks.Alerts != "" && (u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !slices.Contains(c.Webhooks.Allow, u.Host))) {
		return errors.New("webhooks.alerts: must be a URL such as https://example.com/hooks, without a user; or http:// where its host:port stands in webhooks.allow")
	}
	switch {
	case c.CallTimeout < 0:
		return fmt.Errorf("call_timeout: must be positive, got %s", time.Duration(c.CallTimeout))
	case c.Drain < 0:
		return fmt.Errorf("drain: must be positive, got %s", time.Duration(c.Drain))
	case c.Cache.TTL < 0 || c.Cache.TTL > 0 && time.Duration(c.Cache.TTL) < time.Second || time.Duration(c.Cache.TTL).Seconds() > providers.MaxCacheSeconds:
		return fmt.Errorf("cache.ttl: must be from a second to ten years, got %s: leave it out to ask always anew", time.Duration(c.Cache.TTL))
	case c.Retention.Results != 0 && time.Duration(c.Retention.Results) < 24*time.Hour:
		return fmt.Errorf("retention.results: must be a day at least, got %s: leave it out to keep results for ever", time.Duration(c.Retention.Results))
	case c.Retention.Calls != 0 && time.Duration(c.Retention.Calls) < leastCalls:
		return fmt.Errorf("retention.calls: must be five weeks at least, as budgets of a month count them, got %s: leave it out to keep calls for ever", time.Duration(c.Retention.Calls))
	case c.Retention.Calls != 0 && (c.Retention.Results == 0 || c.Retention.Calls < c.Retention.Results):
		return fmt.Errorf("retention.calls: must be no less than retention.results, which must be set, got %s: a call is kept as long as its jobs", time.Duration(c.Retention.Calls))
	}
	return nil
}

// readEnvironment fills in base URLs from the vendors' variables where the file gives
// none, and takes the providers that ONEFLOW_SIMULATED lists for simulated.
func (c *Config) readEnvironment(getenv func(string) string) error {
	for name := range strings.SplitSeq(getenv("ONEFLOW_SIMULATED"), ",") {
		name = strings.TrimSpace(name)
		p, ok := c.Providers[name]
		switch {
		case ok:
			p.Simulated = true
			c.Providers[name] = p
		case name != "":
			return fmt.Errorf("ONEFLOW_SIMULATED: %.60q is not configured; there are %s", name, c.names())
		}
	}
	for name, p := range c.Providers {
		variable := strings.ToUpper(name) + "_BASE_URL"
		if name != p.Kind || p.descriptor().Local || p.BaseURL != "" || getenv(variable) == "" {
			continue
		}
		p.BaseURL = getenv(variable)
		if err := p.checkRemote(); err != nil {
			return fmt.Errorf("%s: %w", variable, err)
		}
		c.Providers[name] = p
	}
	return nil
}

func validName(name string) bool {
	if name == "" || len(name) > 40 {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

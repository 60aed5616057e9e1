package providers

import (
	"context"
	"net/http"
	"time"
)

// Descriptor says all that the rest of the program needs to know of one kind of
// provider. Each kind has one, in its own folder; package kinds lists them. The
// zero value of a field is the usual case: a service on the internet that needs a
// key and is paid for.
type Descriptor struct {
	// Kind is its name in the configuration and in the price list, such as
	// "openai". A provider of that name is configured without a file.
	Kind string
	// Capabilities returns what it can do.
	Capabilities func() Capabilities
	// Local: it answers in this process. It has no address and no key, and what it
	// costs is not real money.
	Local bool
	// Compatible: it is not one service but any server that speaks the protocol of
	// the kind before "-compatible". Its address and its models must be configured,
	// a key may be.
	Compatible bool
	// BaseURL is the vendor's own address. Empty where Local or Compatible.
	BaseURL string
	// Key is the form of its keys.
	Key KeyForm
	// KeyHeader: the header that carries the key may be configured.
	KeyHeader bool
	// MaxTokens is the cap that its client asks for where a request sets none, in
	// tokens of the answer. 0: it asks for none, and the model's own holds.
	MaxTokens int64
	// Tokenizer counts its models' tokens. Empty: none is known, they are estimated.
	Tokenizer Tokenizer
	// Limits hold until the vendor tells its own.
	Limits Limits
	// Class names the class of models that the vendor counts a model's calls with: its
	// limits hold for each class and key. Nil: they hold for all calls together.
	Class func(model string) string
	// Latency is the time that a call is expected to take until there are calls to go
	// by.
	Latency time.Duration
	// Cache says how the vendor keeps the beginnings of requests for later ones.
	Cache PromptCache
	// Chains are the tasks whose built-in chain it is part of, after those before
	// it in the list of kinds.
	Chains []Task
	// StandIns group its models by what can stand in for them, and say which of
	// its models stands in for another vendor's model of that class.
	StandIns []StandIn
	// Presets are servers of this kind that are known by name.
	Presets []Preset
	// New makes the client. An error names the field of the config.
	New func(ClientConfig) (Provider, error)
}

// PromptCache says how a vendor keeps the beginnings of requests, so that later ones which
// begin in the same way cost less. The zero value: it does not, or nobody knows. What is
// kept is there as soon as the answer begins: requests that are sent before find nothing.
type PromptCache struct {
	// MinTokens is the shortest beginning that all of its models keep.
	MinTokens int64
	// Marked: only what a request marks is kept.
	Marked bool
}

// NeedsKey reports whether a provider of this kind cannot be called without a key.
func (d Descriptor) NeedsKey() bool { return !d.Local && !d.Compatible }

// Tokenizer names a way to count the tokens of a text exactly.
type Tokenizer string

// Tiktoken is OpenAI's tokenizer, with an encoding for each of its models.
const Tiktoken Tokenizer = "tiktoken"

// ClientConfig says how to reach one configured provider.
type ClientConfig struct {
	// Name is the configured name of the provider.
	Name string
	// BaseURL is the configured address; empty: the descriptor's.
	BaseURL string
	// Client sends the requests.
	Client *http.Client
	// Key returns the API key, once for each call; "" where a compatible server
	// has none.
	Key func(ctx context.Context) (string, error)
	// KeyHeader is the header that carries the key in place of the usual one.
	KeyHeader string
	// Models are the models to use where a request names none, by task.
	Models map[Task]string
	// Preset holds what differs at a server that is known by name; the zero value: nothing.
	Preset Preset
	// Organization and Project choose whom the vendor charges, where it tells them
	// apart.
	Organization, Project string
	// Betas are the names of beta features to ask for with each call.
	Betas []string
	// MaxTokens caps an answer where the request does not; 0: the client's own cap.
	MaxTokens int64
	// Voice is the voice to speak with where the request names none.
	Voice string
	// Simulation is the behaviour of a local kind.
	Simulation Simulation
}

// Simulation is the behaviour of a provider that only pretends. The zero value answers
// at once and never fails.
type Simulation struct {
	// Latency of a call, on average.
	Latency time.Duration
	// ErrorRate is the share of calls that fail, from 0 to 1.
	ErrorRate float64
	// RPM and MaxConcurrent are limits that it enforces; 0: none.
	RPM           int
	MaxConcurrent int
	// CallLog is a file that gets a line for each call received; empty: none.
	CallLog string
}

// Class says what kind of model can stand in for another: of about the same size
// and price.
type Class string

// The classes of models, within a task.
const (
	Small  Class = "small"
	Medium Class = "medium"
	Large  Class = "large"
)

// StandIn is a class of one kind's models for one task.
type StandIn struct {
	Task  Task
	Class Class
	// Model stands in for the models of this class at other kinds.
	Model string
	// Models are the models of this class here, by their names without a date.
	Models []string
}

// KeyForm describes the keys of one kind of provider. Its bounds are wider
// than the keys seen so far, so that a vendor may change them a little. The zero
// value is any key that fits into a header.
type KeyForm struct {
	// Prefixes: a key begins with one of these; none: with anything.
	Prefixes []string
	// NotPrefixes: a key that begins with one of these is another vendor's.
	NotPrefixes []string
	// MinLength is the fewest characters of a key, its prefix included.
	MinLength int
	// Characters are those of the part after the prefix; empty: any.
	Characters string
}

// The characters that keys are made of.
const (
	Digits    = "0123456789"
	HexDigits = Digits + "abcdefABCDEF"
	Letters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// Package providertest holds every provider to the contract of package providers.
// It is for tests alone.
//
// Run is the suite. Service puts a fake of a vendor's server under it, Describe
// holds recorded requests against a vendor's description of its API.
package providertest

import (
	"testing"
	"time"

	"oneflow/internal/media"
	"oneflow/providers"
)

// Key is the API key that a provider under test must use. It, and every prompt of
// the suite, must be in no error's text.
const Key = "canary-key-5ecret"

// prompt begins every prompt of the suite.
const prompt = "canary prompt about a yellow bird"

// Fault is a way in which a service fails. The values are those of the faults of
// the fake provider.
type Fault string

// The faults that the suite knows.
const (
	None         Fault = ""
	ServerError  Fault = "server_error" // HTTP 500
	BadGateway   Fault = "bad_gateway"  // HTTP 502, not from the service itself
	Unavailable  Fault = "unavailable"  // HTTP 503
	Overloaded   Fault = "overloaded"   // in the service's own words
	RateLimited  Fault = "rate_limited" // with a time to wait
	OutOfMoney   Fault = "out_of_money"
	Unauthorised Fault = "unauthorised"
	Moderated    Fault = "moderated"    // refused for its content
	Hang         Fault = "hang"         // no answer
	Truncated    Fault = "truncated"    // half of the answer, then the connection closes
	ResetBefore  Fault = "reset_before" // the connection is reset before the request was read
	ResetAfter   Fault = "reset_after"  // it is reset after that
	Garbage      Fault = "garbage"      // a success that is nothing of what was asked for
	Empty        Fault = "empty"        // a success with {}
	Echo         Fault = "echo"         // a refusal that repeats the prompt and the key in every place
)

// Faults lists all faults.
func Faults() []Fault {
	return []Fault{
		ServerError, BadGateway, Unavailable, Overloaded, RateLimited, OutOfMoney, Unauthorised, Moderated,
		Hang, Truncated, ResetBefore, ResetAfter, Garbage, Empty, Echo,
	}
}

// Failure is the *providers.Error that a fault comes to.
type Failure struct {
	Kind    providers.Kind
	Billing providers.Billing
	Sent    bool
}

// failures holds the meaning of each fault, where Config does not say otherwise.
func failures() map[Fault]Failure {
	const free, unknown = providers.Unbilled, providers.BillingUnknown
	return map[Fault]Failure{
		ServerError:  {providers.Overloaded, free, true},
		BadGateway:   {providers.Overloaded, unknown, true},
		Unavailable:  {providers.Overloaded, free, true},
		Overloaded:   {providers.Overloaded, free, true},
		RateLimited:  {providers.RateLimited, free, true},
		OutOfMoney:   {providers.OutOfMoney, free, true},
		Unauthorised: {providers.Unauthorised, free, true},
		Moderated:    {providers.Moderated, free, true},
		Hang:         {providers.Timeout, unknown, true},
		Truncated:    {providers.MalformedResponse, unknown, true},
		ResetBefore:  {providers.Connection, unknown, true},
		ResetAfter:   {providers.Connection, unknown, true},
		Garbage:      {providers.MalformedResponse, providers.Billed, true},
		Empty:        {providers.MalformedResponse, providers.Billed, true},
		Echo:         {providers.InvalidRequest, free, true},
	}
}

// Subject is one provider under test, with what is known about its service.
type Subject struct {
	Provider providers.Provider
	// Calls is the number of calls that generate something which the service has received.
	// It must not count what only reads.
	Calls func() int
	// Close gives up what is kept for later calls, such as idle connections.
	Close func()
}

// Config says what to hold to the contract.
type Config struct {
	// Descriptor describes the kind of the provider.
	Descriptor providers.Descriptor
	// New makes a provider of its own for a test, with Key for its key. Where
	// fault is not None each call must fail with it.
	New func(t *testing.T, fault Fault) Subject
	// Requests are within the provider's abilities, at least one for each of its tasks.
	// Their prompts are replaced.
	Requests []providers.Request
	// Faults are those that New can make. Nil means all.
	Faults []Fault
	// Expect replaces what a fault means, where the vendor has other words for it.
	Expect map[Fault]Failure
	// ExpectOf replaces it for one task.
	ExpectOf map[providers.Task]map[Fault]Failure
	// Nameless are the tasks whose answers name no id of the call.
	Nameless []providers.Task
}

// expected returns the failure that a fault comes to in a task.
func (c Config) expected(fault Fault, task providers.Task) Failure {
	if want, ok := c.ExpectOf[task][fault]; ok {
		return want
	}
	if want, ok := c.Expect[fault]; ok {
		return want
	}
	return failures()[fault]
}

// faults are those that can be made.
func (c Config) faults() []Fault {
	if c.Faults == nil {
		return Faults()
	}
	return c.Faults
}

// timeout is the time that the suite waits for what should take a moment.
const timeout = 20 * time.Second

// Run runs the suite, in parallel.
func Run(t *testing.T, config Config) {
	t.Helper()
	capabilities := config.Descriptor.Capabilities()
	checkCoverage(t, config, capabilities)
	t.Run("a success says what was made and what it used", func(t *testing.T) {
		t.Parallel()
		for _, req := range config.requests() {
			t.Run(string(req.Task), func(t *testing.T) { t.Parallel(); succeeds(t, config, req) })
		}
	})
	t.Run("what cannot be asked for is not sent", func(t *testing.T) {
		t.Parallel()
		refuses(t, config, capabilities)
	})
	t.Run("the end of a context ends the call", func(t *testing.T) {
		t.Parallel()
		ends(t, config)
	})
	t.Run("a failure says what it is", func(t *testing.T) {
		t.Parallel()
		for _, fault := range config.faults() {
			for _, req := range config.requests() {
				t.Run(string(fault)+"/"+string(req.Task), func(t *testing.T) { t.Parallel(); fails(t, config, fault, req) })
			}
		}
	})
	t.Run("calls at once do not mix", func(t *testing.T) {
		t.Parallel()
		concurrent(t, config)
	})
	t.Run("a call leaves nothing running", func(t *testing.T) {
		t.Parallel()
		leavesNothing(t, config)
	})
}

// requests are the requests of the suite.
func (c Config) requests() []providers.Request {
	requests := make([]providers.Request, len(c.Requests))
	for i, req := range c.Requests {
		req.Prompt, req.Messages = prompt, nil
		requests[i] = Least(req)
	}
	return requests
}

// Least gives a request that has a prompt what its task needs beside it: a sound to
// transcribe.
func Least(req providers.Request) providers.Request {
	if req.Task == providers.Transcription {
		sound := providers.Part{Type: providers.AudioPart, Data: media.WAV(1, 8000, time.Second), MIME: "audio/wav"}
		req.Messages = []providers.Message{{Role: "user", Parts: []providers.Part{sound}}}
	}
	return req
}

// checkCoverage makes sure that the suite tests all that the provider can do.
func checkCoverage(t *testing.T, config Config, capabilities providers.Capabilities) {
	t.Helper()
	covered := map[providers.Task]bool{}
	for _, req := range config.Requests {
		covered[req.Task] = true
	}
	for task := range capabilities.Tasks {
		if !covered[task] {
			t.Errorf("no request tests the task %s", task)
		}
	}
}

// Package mock is a provider that costs nothing and answers every task: for
// trying OneFlow without a key, for tests and for measuring. The same request
// always gets the same answer. It can be slow, fail, and keep limits on demand.
//
// It may import providers and internal/media only.
package mock

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"oneflow/internal/sleep"
	"oneflow/providers"
)

// Config says how a mock provider behaves. The zero value answers after about
// 50 ms, never fails and has no limits.
type Config struct {
	// Name is the configured name. Default "mock".
	Name string
	// Latency is the mean time to an answer. 0 means 50 ms, a negative value
	// means none.
	Latency time.Duration
	// LatencyJitter bounds the deviation of single calls from Latency, as a fraction of
	// it, up or down, from 0 to 1. 0 means 0.5, a negative value means none.
	LatencyJitter float64
	// ErrorRate is the fraction of calls that fail as overloaded, unbilled, from
	// 0 to 1. Which ones depends on the request and on how often it has failed,
	// so that repeating a call helps, unless ErrorRate is 1.
	ErrorRate float64
	// RPM is the number of calls that are accepted in any 60 s; calls over it fail as rate
	// limited, with the time to wait, and do not count. 0 means no limit.
	RPM int
	// MaxConcurrent is the number of calls that may be under way at once; calls over it
	// fail with ConcurrencyLimit. 0 means no limit.
	MaxConcurrent int
	// CallLog is the path of a file to which each call is written when it is
	// received and again when it ends: see LogLine. Empty means none. Several
	// providers and processes may share one file.
	CallLog string
}

// check refuses what makes no sense; the error names the field.
func (c Config) check() error {
	switch {
	case strings.TrimSpace(c.Name) != c.Name:
		return fmt.Errorf("mock: Name: must not begin or end with a space, got %q", c.Name)
	case math.IsNaN(c.LatencyJitter) || c.LatencyJitter > 1:
		return fmt.Errorf("mock: LatencyJitter: must be at most 1, got %g", c.LatencyJitter)
	case math.IsNaN(c.ErrorRate) || c.ErrorRate < 0 || c.ErrorRate > 1:
		return fmt.Errorf("mock: ErrorRate: must be from 0 to 1, got %g", c.ErrorRate)
	case c.RPM < 0:
		return fmt.Errorf("mock: RPM: must be positive, or 0 for no limit, got %d", c.RPM)
	case c.MaxConcurrent < 0:
		return fmt.Errorf("mock: MaxConcurrent: must be positive, or 0 for no limit, got %d", c.MaxConcurrent)
	}
	return nil
}

// Provider is the mock provider. It is safe for concurrent use.
type Provider struct {
	config       Config
	capabilities providers.Capabilities
	log          *callLog

	mu       sync.Mutex
	calls    int64           // received so far
	running  int             // accepted and not answered
	accepted []time.Time     // of the last 60 s, oldest first; kept if RPM is set
	failures map[[8]byte]int // failures of each request since it last succeeded
}

var _ providers.Provider = (*Provider)(nil)

// New returns a mock provider. It fails if a field of config makes no sense, or
// if CallLog cannot be opened.
func New(config Config) (*Provider, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if config.Name == "" {
		config.Name = "mock"
	}
	if config.Latency == 0 {
		config.Latency = 50 * time.Millisecond
	}
	if config.LatencyJitter == 0 {
		config.LatencyJitter = 0.5
	}
	p := &Provider{config: config, capabilities: capabilities(), failures: map[[8]byte]int{}}
	if config.CallLog != "" {
		log, err := openCallLog(config.CallLog)
		if err != nil {
			return nil, fmt.Errorf("mock: CallLog: %w", err)
		}
		p.log = log
	}
	return p, nil
}

// Close closes the call log. Calls after it fail if there is one.
func (p *Provider) Close() error {
	if p.log == nil {
		return nil
	}
	return p.log.close()
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Generate answers req. It fails with an *providers.Error:
// InvalidRequest for what its Capabilities refuse; RateLimited, ConcurrencyLimit
// and Overloaded as Config asks for, all three unbilled; Timeout or Cancelled
// with unknown billing when ctx ends first.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (providers.Response, error) {
	if err := ctx.Err(); err != nil {
		e := p.ended(ctx)
		e.Sent, e.Billing = false, providers.Unbilled
		return providers.Response{}, e
	}
	if err := p.capabilities.Check(req); err != nil { // nothing is called, as with any provider
		return providers.Response{}, &providers.Error{
			Provider: p.config.Name, Kind: providers.InvalidRequest, Billing: providers.Unbilled, Code: "unsupported_option",
			Body: errorBody("invalid_request", err.Error()),
		}
	}
	call, err := p.receive(req)
	if err != nil {
		return providers.Response{}, err
	}
	res, callErr := p.answer(ctx, call)
	if err := p.end(call, res, callErr); err != nil {
		return providers.Response{}, err
	}
	if callErr != nil {
		return providers.Response{}, callErr
	}
	return res, nil
}

// call is one call under way.
type call struct {
	req     providers.Request
	hash    [32]byte // of the request as it came
	number  int64    // of all calls to this provider, from 1
	try     int      // of this request since it last succeeded, from 1
	start   time.Time
	id      string // what the answer calls itself
	limits  providers.RateLimits
	refusal *providers.Error // by a limit
}

// receive counts and logs a call, and applies the limits.
func (p *Provider) receive(req providers.Request) (*call, error) {
	c := &call{req: req, hash: sum(req), start: time.Now()}
	p.mu.Lock()
	p.calls++
	c.number = p.calls
	c.try = p.failures[c.key()] + 1
	p.limit(c)
	p.mu.Unlock()
	c.id = fmt.Sprintf("mock-%s-%d", hex.EncodeToString(c.hash[:6]), c.try)
	if err := p.log.begin(p.config.Name, c); err != nil {
		p.release(c)
		return nil, &providers.Error{Provider: p.config.Name, Kind: providers.Unknown, Billing: providers.Unbilled, Err: err}
	}
	return c, nil
}

// answer waits and answers, or fails.
func (p *Provider) answer(ctx context.Context, c *call) (providers.Response, *providers.Error) {
	if c.refusal != nil {
		return providers.Response{}, c.refusal
	}
	defer p.release(c)
	if c.req.Model == "" {
		c.req.Model = p.capabilities.Tasks[c.req.Task].DefaultModel
	}
	if sleep.For(ctx, p.latency(c)) != nil {
		return providers.Response{}, p.ended(ctx)
	}
	if c.chance("fail") < p.config.ErrorRate {
		status := []int{500, 503, 529}[c.draw("status")%3]
		return providers.Response{}, p.refuse(c, providers.Overloaded, status, "overloaded", "the mock provider was told to fail: see ErrorRate")
	}
	res, err := generate(c)
	if err != nil {
		return providers.Response{}, p.refuse(c, providers.InvalidRequest, 400, "invalid_request", err.Error())
	}
	res.Provider, res.Model, res.Status, res.RequestID = p.config.Name, c.req.Model, 200, c.id
	res.Latency, res.Limits = time.Since(c.start), c.limits
	return res, nil
}

// end remembers and logs the outcome of a call.
func (p *Provider) end(c *call, res providers.Response, err *providers.Error) error {
	p.mu.Lock()
	switch {
	case err == nil:
		delete(p.failures, c.key())
	case err.Kind == providers.Overloaded:
		p.failures[c.key()]++
	}
	p.mu.Unlock()
	if logErr := p.log.end(p.config.Name, c, res, err); logErr != nil {
		return &providers.Error{Provider: p.config.Name, Kind: providers.Unknown, Billing: providers.BillingUnknown, Sent: true, Err: logErr}
	}
	return nil
}

// refuse makes the error for a call that the mock answers with status. The text
// goes to the body, where a real provider puts it too.
func (p *Provider) refuse(c *call, kind providers.Kind, status int, code, text string) *providers.Error {
	return &providers.Error{
		Provider: p.config.Name, Kind: kind, Billing: providers.Unbilled, Status: status, Code: code,
		RequestID: c.id, Sent: true, Body: errorBody(code, text), Limits: c.limits,
	}
}

// errorBody is the body of a refusal, in OpenAI's shape.
func errorBody(code, text string) []byte {
	type detail struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    string `json:"code"`
	}
	body, err := json.Marshal(map[string]detail{"error": {Message: text, Type: code, Code: code}})
	if err != nil {
		return nil
	}
	return body
}

// ended makes the error for a call whose context ended.
func (p *Provider) ended(ctx context.Context) *providers.Error {
	kind := providers.Cancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = providers.Timeout
	}
	return &providers.Error{Provider: p.config.Name, Kind: kind, Billing: providers.BillingUnknown, Sent: true, Err: ctx.Err()}
}

func (p *Provider) latency(c *call) time.Duration {
	if p.config.Latency < 0 {
		return 0
	}
	stray := max(p.config.LatencyJitter, 0) * (2*c.chance("latency") - 1)
	return time.Duration(float64(p.config.Latency) * (1 + stray))
}

// sum is the request hash of a call log: the SHA-256 of req's JSON.
func sum(req providers.Request) [32]byte {
	data, err := json.Marshal(req)
	if err != nil { // only broken raw JSON in Extra or a schema: still a stable hash
		data = []byte(req.Prompt)
	}
	return sha256.Sum256(data)
}

// key identifies the request among those that failed.
func (c *call) key() [8]byte { return [8]byte(c.hash[:8]) }

// seed is the number that the content is made from: the same at each try.
func (c *call) seed() uint64 { return binary.LittleEndian.Uint64(c.hash[8:]) }

// draw returns a number that depends on the request, the try and what it is for.
func (c *call) draw(what string) uint64 {
	h := sha256.New()
	h.Write(c.hash[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(c.try))) //nolint:gosec // positive
	h.Write([]byte(what))
	return binary.LittleEndian.Uint64(h.Sum(nil))
}

// chance is draw as a number from 0 up to but not including 1.
func (c *call) chance(what string) float64 { return float64(c.draw(what)>>11) / (1 << 53) }

package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// vendor is whose words refusals are read in.
const vendor = wire.OpenAI

// send makes one HTTP call through the official client: run calls one of its
// methods with the options it is given. The answer's body has at most limit bytes.
func (p *Provider) send(
	ctx context.Context, limit int64, run func(context.Context, ...option.RequestOption) error,
) (wire.Answer, *providers.Error) {
	x := &exchange{provider: p, limit: limit}
	var ignored []byte
	// The text of its error may hold anything; what counts is in x.
	_ = run(ctx, option.WithHTTPClient(x), option.WithResponseBodyInto(&ignored))
	switch {
	case x.failure != nil:
		return wire.Answer{}, x.failure
	case x.made:
		return x.answer, nil
	case ctx.Err() != nil:
		return wire.Answer{}, wire.Failure(p.config.Name, ctx.Err(), false)
	default: // the official client could not write the request
		return wire.Answer{}, p.unsent(providers.InvalidRequest, "request_not_encodable")
	}
}

// get makes one HTTP call that only reads, below the base URL.
func (p *Provider) get(ctx context.Context, secret, path, accept string, limit int64) (wire.Answer, *providers.Error) {
	client := openai.Client{Options: p.options(secret)}
	return p.send(ctx, limit, func(ctx context.Context, sending ...option.RequestOption) error {
		return client.Get(ctx, path, nil, nil, append(sending, option.WithHeader("Accept", accept))...)
	})
}

// exchange is the HTTP client that the official one is given for one call. It
// keeps what came back and hands on an empty success, so that the official client
// neither reads bodies without bound nor makes errors of them.
type exchange struct {
	provider *Provider
	limit    int64

	made    bool
	answer  wire.Answer
	failure *providers.Error
}

// Do sends req, once in the life of an exchange.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	if x.made || x.failure != nil {
		return nil, wire.ErrNotRepeated
	}
	config := x.provider.config
	ctx, start := req.Context(), time.Now()
	res, sent, err := wire.Do(ctx, config.Client, req)
	if err != nil {
		x.failure = wire.Failure(config.Name, err, sent)
		return nil, x.failure
	}
	success := res.StatusCode/100 == 2
	limit := wire.MaxErrorBody
	if success {
		limit = x.limit
	}
	body, err := wire.ReadBody(ctx, res.Body, limit, config.IdleTimeout)
	now := time.Now()
	x.answer = wire.Answer{Status: res.StatusCode, Header: res.Header, Body: body, Latency: now.Sub(start), At: now}
	switch {
	case !success: // a refusal is one however much of it could be read
		x.failure = wire.Classify(vendor, config.Name, res.StatusCode, res.Header, body, now)
		return nil, x.failure
	case err != nil:
		x.failure = wire.Failure(config.Name, err, true)
		x.failure.Status, x.failure.RequestID = res.StatusCode, wire.RequestID(res.Header)
		x.failure.Limits = wire.RateLimits(res.Header, now)
		return nil, x.failure
	}
	x.made = true
	return &http.Response{
		Status: "204 No Content", StatusCode: http.StatusNoContent,
		Proto: res.Proto, ProtoMajor: res.ProtoMajor, ProtoMinor: res.ProtoMinor,
		Header: http.Header{}, Body: http.NoBody, Request: req,
	}, nil
}

// response is what every successful answer says about itself.
func (p *Provider) response(a wire.Answer, requested, answered string, usage providers.Usage) providers.Response {
	if answered == "" {
		answered = requested
	}
	return providers.Response{
		Provider:  p.config.Name,
		Model:     answered,
		RequestID: wire.RequestID(a.Header),
		Status:    a.Status,
		Raw:       a.Body,
		Usage:     usage,
		Latency:   a.Latency,
		Limits:    wire.RateLimits(a.Header, a.At),
	}
}

// unusable is the failure of a call whose answer says success and is no use. An
// error that the answer reports decides, else it is malformed.
func (p *Provider) unusable(a wire.Answer, why wire.AnswerError, usage providers.Usage) *providers.Error {
	if failure := p.wrapped(a); failure != nil {
		return failure
	}
	failure := a.Malformed(vendor, p.config.Name, why)
	failure.Usage = usage
	if usage.TotalInput()+usage.TotalOutput() > 0 {
		failure.Billing = providers.Billed // it says what it used
	}
	return failure
}

// moderated is the failure of a call that was answered with a refusal. What was
// used until then is charged.
func (p *Provider) moderated(a wire.Answer, code string, usage providers.Usage) *providers.Error {
	failure := a.Malformed(vendor, p.config.Name, wire.ErrNoResult)
	failure.Kind, failure.Billing, failure.Code, failure.Usage = providers.Moderated, providers.Billed, code, usage
	return failure
}

// wrapped returns the failure that a compatible server, such as OpenRouter, may
// wrap in an answer that says success; nil where there is none.
func (p *Provider) wrapped(a wire.Answer) *providers.Error {
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	err := json.Unmarshal(a.Body, &body)
	if said := string(body.Error); err != nil || said == "" || said == "null" {
		return nil //nolint:nilerr // a body that is no JSON wraps nothing
	}
	var refusal struct {
		Code int `json:"code"`
	}
	status := http.StatusInternalServerError
	if json.Unmarshal(body.Error, &refusal) == nil && refusal.Code >= 400 && refusal.Code <= 599 {
		status = refusal.Code
	}
	failure := wire.Classify(vendor, p.config.Name, status, a.Header, a.Body, a.At)
	failure.Status = a.Status
	if status >= http.StatusInternalServerError {
		failure.Billing = providers.BillingUnknown // it had begun
	}
	return failure
}

func isObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) && json.Valid(body)
}

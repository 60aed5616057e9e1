package wire

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode"

	"oneflow/providers"
)

// Answer is a whole answer with a successful status.
type Answer struct {
	// Status is the HTTP status, 200 to 299.
	Status int
	// Header is the answer's header.
	Header http.Header
	// Body is the whole body.
	Body []byte
	// Latency is the time from sending the request to the last byte.
	Latency time.Duration
	// At is when the answer was complete.
	At time.Time
}

// Call sends req once, under ctx, and reads the whole answer. Anything but a whole
// answer with a successful status is an *providers.Error.
func Call(ctx context.Context, client *http.Client, vendor Vendor, provider string, req *http.Request) (Answer, error) {
	start := time.Now()
	res, sent, err := Do(ctx, client, req)
	if err != nil {
		return Answer{}, Failure(provider, err, sent)
	}
	defer func() { _ = res.Body.Close() }()
	success := res.StatusCode/100 == 2
	limit := MaxAnswer
	if !success {
		limit = MaxErrorBody
	}
	body, err := ReadBody(ctx, res.Body, limit, IdleTimeout)
	a := Answer{Status: res.StatusCode, Header: res.Header, Body: body, Latency: time.Since(start), At: time.Now()}
	if !success {
		// How much of the reason could be read changes nothing of the refusal.
		return Answer{}, Classify(vendor, provider, a.Status, a.Header, body, a.At)
	}
	if err != nil {
		e := Failure(provider, err, true)
		e.Status, e.RequestID, e.Limits = a.Status, RequestID(a.Header), RateLimits(a.Header, a.At)
		return Answer{}, e
	}
	return a, nil
}

// Malformed is the failure of an answer that has a successful status but cannot be
// used. It may have been charged. If the body reports an error, as some compatible
// servers do under 200, that decides.
func (a Answer) Malformed(vendor Vendor, provider string, why AnswerError) *providers.Error {
	e := Classify(vendor, provider, a.Status, a.Header, a.Body, a.At)
	e.Err = why
	return e
}

// Key asks source for a key and checks that it can stand in a header. Where there
// is none the failure is Unauthorised with the code "no_key", and nothing was sent.
func Key(ctx context.Context, provider string, source func(context.Context) (string, error)) (string, error) {
	key, err := source(ctx)
	if ctx.Err() != nil {
		return "", Failure(provider, ctx.Err(), false)
	}
	key = strings.TrimSpace(key)
	unfit := func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }
	if err != nil || key == "" || strings.ContainsFunc(key, unfit) {
		e := &providers.Error{
			Provider: provider,
			Kind:     providers.Unauthorised,
			Billing:  providers.Unbilled,
			Code:     "no_key",
		}
		if err != nil {
			e.Err = presentable(err)
		}
		return "", e
	}
	return key, nil
}

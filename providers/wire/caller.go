// Package wire holds what every HTTP client of a provider shares: a Caller that makes
// each paid call at most once, keeps keys on their host, decodes and bounds what
// comes back and says what a refusal means and whether it is billed; the reading of
// waits, rate limits and reports of use; a guard for addresses that come from
// outside; and the recognition of media by their bytes.
//
// It knows what vendors have in common. What one of them says in its own words are
// Rules in that client's package. It does not retry, wait or log.
//
// It imports providers, the standard library, and decoders of what net/http does
// not decode.
package wire

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"oneflow/providers"
)

// Caller makes the HTTP calls of one provider, each exactly once.
type Caller struct {
	// Provider is the configured name of the provider. Required.
	Provider string
	// Client sends the requests, best one of NewClient. Required.
	Client *http.Client
	// Rules say what the vendor's own refusals mean. They are asked before those
	// that hold for everybody.
	Rules []Rule
	// Idle is the time that an answer may stand still while it is read. The default is
	// IdleTimeout.
	Idle time.Duration
}

// Answer is a whole answer.
type Answer struct {
	// Status is the HTTP status.
	Status int
	// Header is the answer's header.
	Header http.Header
	// Body is the whole body, decoded where it was compressed.
	Body []byte
	// Latency is the time from sending the request to the last byte.
	Latency time.Duration
	// At is the time at which the answer was complete.
	At time.Time
	// URL is the address that was called: scheme, host and path.
	URL string
	// Hide are the key and the texts of the request, which no sentence of the
	// vendor's may repeat.
	Hide []string
}

// Send sends req once, under ctx, and reads an answer of at most limit bytes (0
// means MaxAnswer), before and after it is decompressed. Anything but a whole
// answer with a successful status is an *providers.Error. What is in hide, the key
// and the texts of the request, is cut out of what the vendor says about it.
func (c Caller) Send(ctx context.Context, req *http.Request, limit int64, hide ...string) (Answer, *providers.Error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "oneflow")
	}
	req.Header.Set("Accept-Encoding", acceptEncoding)
	start := time.Now()
	a := Answer{URL: address(req.URL), Hide: hide}
	res, sent, err := do(ctx, c.Client, req) //nolint:bodyclose // read closes it
	if err != nil {
		return a, c.failure(a, err, sent)
	}
	success := res.StatusCode/100 == 2
	switch {
	case !success:
		limit = MaxErrorBody
	case limit <= 0:
		limit = MaxAnswer
	}
	raw, err := readBody(ctx, res.Body, limit, positive(c.Idle, IdleTimeout))
	a.Status, a.Header, a.Latency, a.At = res.StatusCode, res.Header, time.Since(start), time.Now()
	var broken error
	a.Body, broken = decode(res.Header, raw, limit)
	switch {
	case !success:
		// How much of the reason could be read changes nothing of the refusal.
		return a, c.Refusal(a)
	case err == ErrTooLarge, err == nil && broken != nil: //nolint:errorlint // readBody returns it as it is
		if err == nil {
			err = broken
		}
		return a, c.Malformed(a, err, providers.Usage{})
	case err != nil:
		return a, c.failure(a, err, true)
	}
	return a, nil
}

// failure is the failure of a call that brought no whole answer.
func (c Caller) failure(a Answer, err error, sent bool) *providers.Error {
	e := asFailure(c.Provider, err, sent)
	e.URL = a.URL
	if a.Status != 0 {
		e.Status, e.RequestID, e.Limits = a.Status, RequestID(a.Header), RateLimits(a.Header, a.At)
	}
	return e
}

// Unsent is the failure of a call that was not made, with our own word for it.
func (c Caller) Unsent(kind providers.Kind, code string) *providers.Error {
	return &providers.Error{Provider: c.Provider, Kind: kind, Billing: providers.Unbilled, Code: code}
}

// Malformed is the failure of an answer that has a successful status and is none:
// no JSON, no media, broken off. It is charged, since nothing says otherwise, its
// body is kept whole, and it speaks against the provider. Where the body reports a
// refusal, as some servers do under 200, that decides; and a page of HTML comes
// from somebody else than the API, who charges nothing.
func (c Caller) Malformed(a Answer, why error, usage providers.Usage) *providers.Error {
	if e := c.reported(a); e != nil {
		return e
	}
	if isPage(a) {
		e := c.classify(a, a.Status)
		e.Kind, e.Billing, e.Err = providers.NotFound, providers.Unbilled, ErrPage
		return e
	}
	return c.unusable(a, providers.MalformedResponse, why, usage)
}

// Unreadable is the failure of an answer that is one, and holds nothing that can
// be used for the request: no result, or one of another sort. It is charged and
// kept whole; it says nothing against the provider. As with Malformed, a refusal
// that the body reports decides.
func (c Caller) Unreadable(a Answer, why error, usage providers.Usage) *providers.Error {
	if e := c.reported(a); e != nil {
		return e
	}
	return c.unusable(a, providers.Unreadable, why, usage)
}

func (c Caller) unusable(a Answer, kind providers.Kind, why error, usage providers.Usage) *providers.Error {
	return &providers.Error{
		Provider: c.Provider, Kind: kind, Billing: providers.Billed, Status: a.Status, RequestID: RequestID(a.Header),
		Sent: true, Body: a.Body[:min(len(a.Body), int(MaxAnswer))], Limits: RateLimits(a.Header, a.At), Usage: usage, URL: a.URL, Err: presentable(why),
	}
}

// Used adds what a call is known to have cost to a failure that is charged and does
// not say it.
func Used(failure *providers.Error, usage providers.Usage) *providers.Error {
	if failure != nil && failure.Billing == providers.Billed && failure.Usage == (providers.Usage{}) {
		failure.Usage = usage
	}
	return failure
}

// Refused is the failure of an answer in which the model or the service declined
// for the content, after it had worked: it is charged for what it used.
func (c Caller) Refused(a Answer, code string, usage providers.Usage) *providers.Error {
	e := c.unusable(a, providers.Moderated, nil, usage)
	e.Code = SanitiseCode(code)
	return e
}

// reported is the refusal that an answer with a successful status reports in its
// body; nil where it reports none.
func (c Caller) reported(a Answer) *providers.Error {
	said := parseRefusal(a.Body)
	if !said.reported {
		return nil
	}
	status := said.status
	if status == 0 || status >= http.StatusInternalServerError && status != http.StatusGatewayTimeout {
		status = http.StatusBadGateway // it had begun: how far it got is left open
	}
	return c.classify(a, status)
}

// Key asks source for a key and checks that it can stand in a header. Where there
// is none the failure is Unauthorised with the code "no_key", and nothing was sent.
func Key(ctx context.Context, provider string, source func(context.Context) (string, error)) (string, *providers.Error) {
	key, err := source(ctx)
	if ctx.Err() != nil {
		return "", asFailure(provider, ctx.Err(), false)
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

// CheckKey reports, with a nil error, that secret is a key that works: ask makes a call with
// it that is free, and answered says whether that brought the vendor's answer. Its error is
// always a *providers.Error.
func (c Caller) CheckKey(ctx context.Context, secret string, ask func(key string) (Answer, *providers.Error), answered func(Answer) bool) error {
	key, failure := Key(ctx, c.Provider, Given(secret))
	if failure != nil {
		return failure
	}
	a, failure := ask(key)
	if failure != nil {
		return failure
	}
	if !answered(a) {
		failure = c.Malformed(a, ErrNotJSON, providers.Usage{})
		failure.Billing = providers.Unbilled
		return failure
	}
	return nil
}

// Given is a source of a key that is at hand.
func Given(secret string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return secret, nil }
}

// Texts are the texts of a request, for Send to hide.
func Texts(req providers.Request) []string {
	texts := slices.Collect(req.Texts())
	for _, value := range req.Extra {
		texts = append(texts, string(value))
	}
	return texts
}

// address is a URL without its query, which may hold a key.
func address(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

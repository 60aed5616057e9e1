package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route is one path of one vendor. A "*" in the path stands for one segment.
type route struct {
	vendor    Vendor
	method    string
	path      string
	generates bool
	handle    handler
}

func routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{OpenAI, post, "/v1/chat/completions", true, openaiChat},
		{OpenAI, post, "/v1/images/generations", true, openaiImages},
		{OpenAI, get, "/v1/images/files/*/*", false, openaiImageFile},
		{OpenAI, post, "/v1/audio/speech", true, openaiSpeech},
		{OpenAI, post, "/v1/videos", true, openaiVideo},
		{OpenAI, get, "/v1/videos/*", false, openaiVideoState},
		{OpenAI, get, "/v1/videos/*/content", false, openaiVideoContent},
		{OpenAI, get, "/v1/models", false, openaiModels},
		{Anthropic, post, "/v1/messages", true, anthropicMessages},
		{Anthropic, get, "/v1/models", false, anthropicModels},
		{Stability, post, "/v2beta/stable-image/generate/*", true, stabilityGenerate},
		{Stability, get, "/v1/user/balance", false, stabilityBalance},
		{ElevenLabs, post, "/v1/text-to-speech/*", true, elevenLabsSpeech},
		{ElevenLabs, get, "/v1/models", false, elevenLabsModels},
		{ElevenLabs, get, "/v1/user", false, elevenLabsUser},
		{ElevenLabs, get, "/v1/user/subscription", false, elevenLabsSubscription},
	}
}

// route finds who answers c, and sets its vendor. named is the vendor that stood
// in the path, if any.
func (s *Server) route(c *call, named Vendor) handler {
	guess := named
	if guess == "" {
		guess = guessVendor(c.r, c.path)
	}
	var found *route
	wrongMethod := false
	for _, r := range routes() {
		if !matches(r.path, c.path) || named != "" && r.vendor != named {
			continue
		}
		if r.method != c.r.Method {
			wrongMethod = true
			continue
		}
		if found == nil || r.vendor == guess {
			found = &r
		}
	}
	if found == nil {
		c.vendor = guess
		status := http.StatusNotFound
		if wrongMethod {
			status = http.StatusMethodNotAllowed
		}
		return func(_ *Server, c *call) answer { return c.vendor.noSuchPath(c, status) }
	}
	c.vendor, c.generates = found.vendor, found.generates
	return found.handle
}

func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(w, g string) bool { return w == g || w == "*" && g != "" })
}

// segment returns part n of the path; the first is 0.
func (c *call) segment(n int) string { return strings.Split(c.path, "/")[n+1] }

func guessVendor(r *http.Request, path string) Vendor {
	switch {
	case r.Header.Get("Xi-Api-Key") != "":
		return ElevenLabs
	case r.Header.Get("X-Api-Key") != "" || r.Header.Get("Anthropic-Version") != "":
		return Anthropic
	case strings.HasPrefix(path, "/v2beta/"):
		return Stability
	}
	return OpenAI
}

// key returns the key in r, in the header that the vendor has it in.
func (v Vendor) key(r *http.Request) string {
	switch v {
	case Anthropic:
		return r.Header.Get("X-Api-Key")
	case ElevenLabs:
		return r.Header.Get("Xi-Api-Key")
	case OpenAI, Stability:
	}
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return strings.TrimSpace(key)
}

// authenticate checks the key, and what else the vendor wants in a header.
func (s *Server) authenticate(c *call) (answer, bool) {
	if strings.HasPrefix(c.path, "/v1/images/files/") {
		return answer{}, true // pictures are fetched without a key, as from a signed address
	}
	_, known := s.config.Keys[c.key]
	if c.key == "" || len(s.config.Keys) > 0 && !known {
		return c.vendor.unauthorised(c), false
	}
	if c.vendor == Anthropic && c.r.Header.Get("Anthropic-Version") != "2023-06-01" {
		return anthropicError(c, http.StatusBadRequest, "invalid_request_error", `anthropic-version: "2023-06-01" is the only valid version`), false
	}
	return answer{}, true
}

func (v Vendor) maxBody() int64 {
	if v == Stability {
		return 10 << 20
	}
	return 32 << 20
}

func (v Vendor) requestID(n int64) string {
	switch v {
	case Anthropic:
		return fmt.Sprintf("req_%024d", n)
	case Stability:
		return fmt.Sprintf("%032x", n)
	case OpenAI:
		return fmt.Sprintf("req_%032x", n)
	case ElevenLabs:
	}
	return fmt.Sprintf("eleven%014d", n)
}

// commonHeaders are on each answer of the vendor.
func (v Vendor) commonHeaders(c *call, h http.Header) {
	switch v {
	case OpenAI:
		h.Set("X-Request-Id", c.id)
		h.Set("Openai-Version", "2020-10-01")
		h.Set("Openai-Processing-Ms", "1")
	case Anthropic:
		h.Set("Request-Id", c.id)
		h.Set("Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000000")
	case Stability:
		h.Set("X-Request-Id", c.id)
	case ElevenLabs:
		h.Set("Request-Id", c.id)
	}
}

// rateHeaders tell how full the limits are, as far as the vendor does.
func (v Vendor) rateHeaders(c *call, h http.Header, levels map[dimension]level) {
	for d, l := range levels {
		limit, remaining := strconv.Itoa(l.limit), strconv.Itoa(l.remaining)
		switch v {
		case OpenAI:
			if d == requests || d == tokens {
				h.Set("X-Ratelimit-Limit-"+string(d), limit)
				h.Set("X-Ratelimit-Remaining-"+string(d), remaining)
				h.Set("X-Ratelimit-Reset-"+string(d), l.reset.Round(time.Millisecond).String())
			}
		case Anthropic:
			if d != concurrent {
				h.Set("Anthropic-Ratelimit-"+string(d)+"-Limit", limit)
				h.Set("Anthropic-Ratelimit-"+string(d)+"-Remaining", remaining)
				h.Set("Anthropic-Ratelimit-"+string(d)+"-Reset", c.arrived.Add(l.reset).UTC().Format(time.RFC3339))
			}
		case ElevenLabs:
			if d == concurrent {
				h.Set("Maximum-Concurrent-Requests", limit)
				h.Set("Current-Concurrent-Requests", strconv.Itoa(l.limit-l.remaining))
			}
		case Stability: // says nothing of its limits
		}
	}
}

func retryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
}

// limited refuses a call that broke a limit.
func (v Vendor) limited(c *call, r *refusal) answer {
	switch v {
	case OpenAI:
		return openaiLimited(c, r)
	case Anthropic:
		return anthropicLimited(c, r)
	case Stability:
		return stabilityError(c, http.StatusTooManyRequests, "rate_limit_exceeded", fmt.Sprintf(
			"You have exceeded the rate limit of %d requests within a %.0f second period, and have been timed out for %.0f seconds.",
			r.limit, c.behaviour.Limits.window().Seconds(), r.retryAfter.Seconds(),
		))
	case ElevenLabs:
	}
	if r.dimension == concurrent {
		return elevenLabsError(http.StatusTooManyRequests, "too_many_concurrent_requests", fmt.Sprintf(
			"Too many concurrent requests. Your current subscription is associated with a maximum of %d concurrent requests (running in parallel).", r.limit,
		))
	}
	a := elevenLabsError(http.StatusTooManyRequests, "rate_limit_exceeded", "Rate limit exceeded: "+r.text(string(r.dimension)))
	retryAfter(a.header(), r.retryAfter)
	return a
}

// failing is the vendor's own answer for c.fault; false if the fault is one of
// the transport or the body.
func (s *Server) failing(c *call, good answer) (answer, bool) {
	switch c.fault {
	case ServerError:
		return c.vendor.serverError(c), true
	case BadGateway:
		return answer{
			status: http.StatusBadGateway, contentType: "text/html",
			body: []byte("<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"),
		}, true
	case Unavailable:
		a := c.vendor.serverError(c)
		a.status = http.StatusServiceUnavailable
		return a, true
	case Overloaded:
		return c.vendor.overloaded(c), true
	case RateLimited:
		limit := max(c.behaviour.Limits.Requests, 1)
		return c.vendor.limited(c, &refusal{requests, limit, limit, 1, time.Second}), true
	case OutOfMoney:
		return c.vendor.outOfMoney(c), true
	case Unauthorised:
		return c.vendor.unauthorised(c), true
	case Moderated:
		return c.vendor.moderated(c), true
	case Refused: // the handlers of these two have seen to it
		if c.vendor == Anthropic || c.path == "/v1/chat/completions" {
			return good, true
		}
		return c.vendor.moderated(c), true
	case Blurred:
		if c.vendor == Stability {
			return good, true
		}
		return c.vendor.moderated(c), true
	case VideoFailed:
		if c.path == "/v1/videos" {
			return good, true
		}
		return c.vendor.serverError(c), true
	case Hang, Trickle, Truncated, ResetBefore, ResetAfter, Garbage, Empty, Huge:
	}
	return answer{}, false
}

package fakeprovider

import (
	"bytes"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is a way in which a call fails.
type Fault string

// The faults. Those above the line are answers of the vendor, in its own words;
// those below break the transport or the body.
const (
	ServerError  Fault = "server_error" // 500
	BadGateway   Fault = "bad_gateway"  // 502 with a page of HTML, from something in between
	Unavailable  Fault = "unavailable"  // 503
	Overloaded   Fault = "overloaded"   // in the vendor's own way
	RateLimited  Fault = "rate_limited" // 429, although no limit was reached: retry after 1 s
	OutOfMoney   Fault = "out_of_money" // no credit is left
	Unauthorised Fault = "unauthorised" // 401
	Moderated    Fault = "moderated"    // refused for its content, as the vendor usually does
	Flagged      Fault = "flagged"      // refused for its content with 403
	Region       Fault = "region"       // 403: not to be used from this country
	Refused      Fault = "refused"      // 200, but the model declines, where it is one that talks; else like Moderated
	Blurred      Fault = "blurred"      // 200 with a blurred picture, finish-reason CONTENT_FILTERED; else like Moderated
	VideoFailed  Fault = "video_failed" // a video is accepted and fails later; else like ServerError

	Firewall  Fault = "firewall"   // 403 with a page of HTML, from something in between
	LoginPage Fault = "login_page" // 200 with a page of HTML, as at a wrong address

	// Good answers in a form that is easily misread; no fault elsewhere.
	DataURL     Fault = "data_url"      // a picture in base64 as a data: URL
	OddBase64   Fault = "odd_base64"    // a picture in base64 of URLs, without padding, in lines
	PrivateURL  Fault = "private_url"   // a picture behind an address that is not public
	OffSchema   Fault = "off_schema"    // JSON that breaks the schema that was asked for, or no JSON
	AudioInChat Fault = "audio_in_chat" // speech in a chat's answer, and no text
	ImageInChat Fault = "image_in_chat" // a picture in a chat's answer, and no text

	Hang        Fault = "hang"         // no answer until the client gives up
	Trickle     Fault = "trickle"      // the right answer, a byte at a time
	Truncated   Fault = "truncated"    // half of the right answer, then the connection closes
	ResetBefore Fault = "reset_before" // the connection is reset before the body of the request was read
	ResetAfter  Fault = "reset_after"  // it is reset after that: a real vendor would charge
	Garbage     Fault = "garbage"      // 200 with bytes that are neither JSON nor media
	Empty       Fault = "empty"        // 200 with {}
	Huge        Fault = "huge"         // 200 with a body of Config.HugeBytes
)

// faults lists all faults.
func faults() []Fault {
	return []Fault{
		ServerError, BadGateway, Unavailable, Overloaded, RateLimited, OutOfMoney, Unauthorised, Moderated,
		Flagged, Region, Refused, Blurred, VideoFailed, Firewall, LoginPage, DataURL, OddBase64, PrivateURL, OffSchema, AudioInChat, ImageInChat,
		Hang, Trickle, Truncated, ResetBefore, ResetAfter, Garbage, Empty, Huge,
	}
}

// Injection asks for a fault in certain calls. Zero fields match anything.
type Injection struct {
	// Fault is their fault; "" is none, for a Variation alone.
	Fault Fault
	// Variation makes their answers differ from the vendor's own, beside the
	// configured one.
	Variation Variation
	// Times is the number of calls that fail; negative means all until Clear.
	Times int
	// Vendor and Key restrict it.
	Vendor Vendor
	Key    string
	// Path is the beginning of the call's path, such as "/v1/videos/", without
	// the vendor in front. Empty means all paths that generate something.
	Path string
}

func (i Injection) matches(c *call) bool {
	return (i.Vendor == "" || i.Vendor == c.vendor.name()) && (i.Key == "" || i.Key == c.key) &&
		(i.Path == "" && c.route.generates || i.Path != "" && strings.HasPrefix(c.path, i.Path))
}

// Next makes the next n generating calls fail with fault, all until Clear if n is
// negative. What was asked for before comes first.
func (s *Server) Next(fault Fault, n int) { s.Inject(Injection{Fault: fault, Times: n}) }

// Inject makes calls fail. What was asked for before comes first.
func (s *Server) Inject(i Injection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, i)
}

// Clear drops all injections; the configured faults stay.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
}

// inject applies the first injection that c matches, and reports whether there is one. The
// caller holds s.mu.
func (s *Server) inject(c *call) bool {
	for i, injection := range s.pending {
		if injection.Times == 0 || !injection.matches(c) {
			continue
		}
		if s.pending[i].Times--; s.pending[i].Times == 0 {
			s.pending = slices.Delete(s.pending, i, i+1)
		}
		c.variation, c.fault = c.variation.with(injection.Variation), injection.Fault
		return true
	}
	return false
}

// chance draws the fault of a call that was read. It depends on the seed, on what is asked and on
// how often that was asked before, and not on the order in which calls come: what a seed has
// shown can be seen again.
func (s *Server) chance(c *call) Fault {
	rates := c.behaviour.Faults
	if !c.route.generates || len(rates) == 0 {
		return ""
	}
	asked := c.asked()
	s.mu.Lock()
	before := s.asked[asked]
	s.asked[asked]++
	s.mu.Unlock()
	x := rand.New(rand.NewPCG(s.config.Seed^asked, before)).Float64()
	for _, fault := range slices.Sorted(maps.Keys(rates)) {
		if x -= rates[fault]; x < 0 {
			return fault
		}
	}
	return ""
}

// asked is a sum of what a call asks, and of whom; the bounds between the parts of a form, which
// are random, are not in it.
func (c *call) asked() uint64 {
	h := fnv.New64a()
	write := func(parts ...string) {
		for _, p := range parts {
			_, _ = io.WriteString(h, p+"\x00") // a hash takes all
		}
	}
	write(string(c.vendor.name()), c.path)
	if c.form == nil {
		write(string(c.body))
	}
	for _, name := range slices.Sorted(maps.Keys(c.form)) {
		write(name, c.form[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		write(name, string(c.file(name)))
	}
	return h.Sum64()
}

// failing is the answer to c with its fault; false if that is one of the transport or
// the body. good is the answer without it.
func (c *call) failing(good answer) (answer, bool) {
	if slices.Contains(c.route.faults, c.fault) {
		return good, true // its handler has seen to it
	}
	if words, ok := inWords()[c.fault]; ok {
		return c.refuse(words), true
	}
	switch c.fault { //nolint:exhaustive // the others are of the transport or the body
	case Unavailable:
		a := c.refuse(refusal{reason: serverError})
		a.status = http.StatusServiceUnavailable
		return a, true
	case RateLimited:
		limit := max(c.behaviour.Limits.Requests, 1)
		return c.refuse(refusal{reason: limited, limit: &brokenLimit{requests, limit, limit, 1, time.Second}}), true
	case BadGateway:
		return page(http.StatusBadGateway, "502 Bad Gateway"), true
	case Firewall:
		return page(http.StatusForbidden, "Attention Required!"), true
	case LoginPage:
		return page(http.StatusOK, "Sign in"), true
	case DataURL, OddBase64, PrivateURL, OffSchema, AudioInChat, ImageInChat:
		return good, true
	}
	return answer{}, false
}

// inWords are the faults that are a vendor's refusal and nothing more.
func inWords() map[Fault]refusal {
	return map[Fault]refusal{
		ServerError: {reason: serverError}, Overloaded: {reason: overloaded}, OutOfMoney: {reason: outOfMoney},
		Unauthorised: {reason: unauthorised}, Moderated: {reason: moderated}, Flagged: {reason: flagged}, Region: {reason: region},
		Refused: {reason: moderated}, Blurred: {reason: moderated}, VideoFailed: {reason: serverError},
	}
}

// page is a page of HTML.
func page(status int, title string) answer {
	return answer{
		status: status, contentType: "text/html; charset=utf-8",
		body: []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n"),
	}
}

// status returns the status that the client sees of the answer good with this fault; 0: none.
func (f Fault) status(good answer) int {
	switch f { //nolint:exhaustive // the others are answers
	case Trickle, Truncated:
		return good.status
	case Garbage, Empty, Huge:
		return http.StatusOK
	case Hang, ResetBefore, ResetAfter:
	default: // made by failing
	}
	return 0
}

// perform answers c with a fault of the transport or the body; good is the answer
// that it would have got.
func (s *Server) perform(w http.ResponseWriter, c *call, good answer) {
	switch c.fault { //nolint:exhaustive // the others are answers
	case Trickle:
		s.trickle(w, c, good)
	case Truncated:
		good.header().Set("Content-Length", strconv.Itoa(len(good.body)))
		good.body = good.body[:len(good.body)/2]
		good.write(w)
		flush(w)
		breakOff()
	case Garbage:
		(&answer{status: http.StatusOK, contentType: good.contentType, body: []byte("\x00\x01garbage<<<{\"")}).write(w)
	case Empty:
		(&answer{status: http.StatusOK, contentType: "application/json", body: []byte("{}")}).write(w)
	case Huge:
		s.huge(w, c)
	case ResetBefore, ResetAfter:
		reset(w)
	case Hang: // nothing is sent
	default: // made by failing
	}
}

func (s *Server) trickle(w http.ResponseWriter, c *call, good answer) {
	body := good.body
	good.header().Set("Content-Length", strconv.Itoa(len(body)))
	good.body = nil
	good.write(w)
	for i := range body {
		flush(w)
		if !c.wait(s, s.config.TrickleEvery) {
			breakOff()
		}
		if _, err := w.Write(body[i : i+1]); err != nil {
			return
		}
	}
}

// huge sends a JSON object with one very long string.
func (s *Server) huge(w http.ResponseWriter, c *call) {
	(&answer{status: http.StatusOK, contentType: "application/json", body: []byte(`{"x":"`)}).write(w)
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for left := s.config.HugeBytes; left > 0; left -= int64(len(chunk)) {
		if _, err := w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil || c.ctx.Err() != nil {
			return
		}
	}
	(&answer{body: []byte(`"}`)}).writeBody(w)
}

// reset closes the connection so that the client sees a reset. Over a connection
// that cannot be hijacked it only breaks off.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		breakOff()
	}
	raw := conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send a reset; without it the client sees an early end
	}
	_ = raw.Close() // it is broken on purpose
}

// breakOff ends the handler and the connection with it.
func breakOff() { panic(http.ErrAbortHandler) }

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // a client that went away is seen at the next write
}

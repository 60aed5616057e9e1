package fakeprovider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// call is one call under way.
type call struct {
	r         *http.Request
	ctx       context.Context //nolint:containedctx // the request's own, for waiting
	number    int64
	arrived   time.Time
	server    *Server
	vendor    vendor
	route     route
	path      string // without the vendor in front
	prefix    string // the vendor in front, such as "/gemini", where it stands there
	key       string
	behaviour Behaviour
	levels    map[dimension]level // of its limits; nil where it does not count
	fault     Fault
	variation Variation
	body      []byte
	sum       [32]byte
	form      map[string]string
	files     map[string][]*multipart.FileHeader
	id        string // the vendor's id of the call
	model     string
	job       string
}

// answer is a handler's response to a call.
type answer struct {
	status      int
	contentType string
	headers     http.Header
	body        []byte
	usage       Usage
	// billed counts what is charged, under billID, the vendor's id of the call by default.
	billed Billed
	billID string
	// render makes the body where that is dear, or changes something, and is
	// called only for calls that the limits let through.
	render func() []byte
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, named := s.withoutVendor(r)
	c := &call{server: s, r: r, ctx: r.Context(), path: r.URL.Path, arrived: s.config.Now()}
	c.job = r.Header.Get(s.config.JobHeader)
	if named != nil {
		c.prefix = "/" + string(named.name())
	}
	s.route(c, named)
	c.key = c.vendor.key(r)
	c.behaviour = s.behaviour(c)
	s.mu.Lock()
	s.numbers++
	c.number = s.numbers
	c.variation = c.behaviour.Variation
	injected := s.inject(c)
	s.mu.Unlock()
	c.id = c.vendor.requestID(c.number)

	if c.fault == ResetBefore {
		s.resetBefore(w, c)
		return
	}
	oversized, err := c.read(w)
	if err == nil && !injected {
		if c.fault = s.chance(c); c.fault == ResetBefore {
			c.body, c.sum, c.model = nil, [32]byte{}, "" // nobody has seen them
			s.resetBefore(w, c)
			return
		}
	}
	if err != nil {
		s.record(c)
		s.finish(c, "gone", 0, Usage{})
		return
	}
	s.record(c)
	if oversized {
		s.reply(w, c, "invalid", c.refuse(refusal{reason: tooLarge}))
		return
	}
	if _, known := s.config.Keys[c.key]; !c.route.open && (c.key == "" || len(s.config.Keys) > 0 && !known) {
		s.reply(w, c, string(Unauthorised), c.refuse(refusal{reason: unauthorised}))
		return
	}
	s.answer(w, c)
}

func (s *Server) resetBefore(w http.ResponseWriter, c *call) {
	s.record(c)
	s.finish(c, string(ResetBefore), 0, Usage{})
	reset(w)
}

// answer makes the answer, applies limits and faults, waits and sends.
func (s *Server) answer(w http.ResponseWriter, c *call) {
	good, outcome := c.route.handle(c), "ok"
	if good.status >= 400 {
		outcome = "invalid"
	}
	if c.route.generates {
		levels, broken := s.admit(c, good.usage)
		if broken == nil {
			defer s.release(c)
		} else {
			good, outcome, c.fault = c.refuse(refusal{reason: limited, limit: broken}), "limited", ""
		}
		c.levels = levels
	}
	if good.render != nil {
		good.body = good.render()
	}
	if c.fault != "" {
		outcome = string(c.fault)
		if other, ok := c.failing(good); ok {
			good, c.fault = other, ""
		}
	}
	if good.status < 300 && c.route.generates {
		s.charge(c, good.usage)
		s.bill(c, good, outcome)
	}
	delay := s.latency(c)
	if outcome == "limited" || outcome == "invalid" {
		delay = 0 // vendors are quick to refuse
	}
	if c.fault == Hang {
		c.wait(s, 1<<62) // until the client or the server goes
	} else if !c.wait(s, delay) {
		outcome, c.fault = "gone", Hang
	}
	if c.fault == "" {
		s.reply(w, c, outcome, good)
		return
	}
	if c.fault == Hang {
		s.finish(c, outcome, 0, good.usage)
		breakOff()
	}
	c.dress(&good)
	s.finish(c, outcome, c.fault.status(good), good.usage)
	s.perform(w, c, good)
}

// reply sends an answer and logs it.
func (s *Server) reply(w http.ResponseWriter, c *call, outcome string, a answer) {
	c.dress(&a)
	s.finish(c, outcome, a.status, a.usage) // before sending: whoever has the answer finds the line
	a.write(w)
}

// record and finish write the log. If that fails the call must not look as if
// nothing had happened, so the connection breaks.
func (s *Server) record(c *call) {
	if err := s.witness.begin(c); err != nil {
		breakOff()
	}
}

func (s *Server) finish(c *call, outcome string, status int, usage Usage) {
	if err := s.witness.end(c, outcome, status, usage); err != nil {
		breakOff()
	}
}

func (s *Server) latency(c *call) time.Duration {
	if !c.route.generates {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.behaviour.Latency.draw(s.rng)
}

func (s *Server) behaviour(c *call) Behaviour {
	if b := s.config.Keys[c.key]; b != nil {
		return *b
	}
	if b, ok := s.config.Vendors[c.vendor.name()]; ok {
		return b
	}
	return s.config.Default
}

// wait waits for d and reports whether the client and the server are still there.
func (c *call) wait(s *Server, d time.Duration) bool {
	if d <= 0 {
		return c.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	case <-s.closing.Done():
		return false
	}
}

// read reads the body, and the form in it.
func (c *call) read(w http.ResponseWriter) (oversized bool, err error) {
	limit := c.route.maxBody
	if limit == 0 {
		limit = 32 << 20
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, c.r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	c.sum = sha256.Sum256(c.body)
	c.model = peekModel(c.body)
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return false, nil //nolint:nilerr // another type, or none: the handler says what it wants
	}
	form, err := multipart.NewReader(bytes.NewReader(c.body), params["boundary"]).ReadForm(limit)
	if err != nil {
		return false, nil //nolint:nilerr // a broken form is an empty one
	}
	c.form = map[string]string{}
	for name, values := range form.Value {
		c.form[name] = values[0]
	}
	c.files = form.File
	if c.model = c.form["model"]; c.model == "" {
		c.model = path.Base(c.path) // Stability's core and ultra
	}
	return false, nil
}

// file returns the bytes of the first file of a form under a name; nil: there is none.
func (c *call) file(name string) []byte {
	if len(c.files[name]) == 0 {
		return nil
	}
	f, err := c.files[name][0].Open()
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil
	}
	return data
}

// peekModel returns the model that a JSON body names.
func peekModel(body []byte) string {
	var peek struct {
		Model   string `json:"model"`
		ModelID string `json:"model_id"` // ElevenLabs
	}
	if json.Unmarshal(body, &peek) != nil || peek.Model == "" {
		return peek.ModelID
	}
	return peek.Model
}

// seed is the number that the content is made from.
func (c *call) seed() uint64 { return binary.LittleEndian.Uint64(c.sum[:]) }

func (c *call) line(event string) LogLine {
	line := LogLine{
		Time: time.Now(), Event: event, PID: os.Getpid(), Call: c.number, Vendor: c.vendor.name(), Method: c.r.Method, Path: c.path,
		Model: c.model, Key: lastFour(c.key), ID: c.id, Job: c.job,
	}
	if c.sum != [32]byte{} {
		line.Request = hex.EncodeToString(c.sum[:])
	}
	return line
}

// header returns the answer's headers, to be added to.
func (a *answer) header() http.Header {
	if a.headers == nil {
		a.headers = http.Header{}
	}
	return a.headers
}

func (a *answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.headers)
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	}
	w.WriteHeader(a.status)
	a.writeBody(w)
}

func (a *answer) writeBody(w http.ResponseWriter) {
	_, _ = w.Write(a.body) // a client that went away is no fault of ours
}

// jsonAnswer is an answer with v as its body.
func jsonAnswer(status int, v any) answer {
	data, err := json.Marshal(v)
	if err != nil {
		return answer{status: http.StatusInternalServerError, contentType: "text/plain", body: []byte("the fake provider cannot encode its answer: " + err.Error())}
	}
	return answer{status: status, contentType: "application/json", body: data}
}

// withoutVendor takes the name of a vendor off the front of the path.
func (s *Server) withoutVendor(r *http.Request) (*http.Request, vendor) {
	for _, v := range s.vendors {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/"+string(v.name())+"/"); ok {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = "/"+rest, ""
			return r, v
		}
	}
	return r, nil
}

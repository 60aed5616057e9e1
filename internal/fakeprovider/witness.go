package fakeprovider

import (
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"
)

// LogLine is one line of the call log, as JSON. A call has two: "begin" when it
// was received and "end" when it was answered, with the same Call and PID.
type LogLine struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // "begin" or "end"
	PID   int       `json:"pid"`
	// Call counts the calls to this server, from 1.
	Call   int64  `json:"call"`
	Vendor Vendor `json:"vendor"`
	Method string `json:"method"`
	// Path is without the vendor in front and without the query.
	Path string `json:"path"`
	// Model is the one that the request named, or the vendor's default.
	Model string `json:"model,omitempty"`
	// Key is the end of the key, if it is long enough to have one.
	Key string `json:"key,omitempty"`
	// Request is the SHA-256 of the body in hex; empty if it was not read.
	Request string `json:"request,omitempty"`
	// ID is the vendor's id of the call, which its answer carries in a header.
	ID string `json:"id"`
	// Job is the value of Config.JobHeader.
	Job string `json:"job,omitempty"`
	// Outcome, at the end, is "ok", a Fault, "limited", "invalid" or "gone" for
	// a client that did not wait.
	Outcome string `json:"outcome,omitempty"`
	// Status is the HTTP status; 0 if none was sent.
	Status int `json:"status,omitempty"`
	// Usage is the use that the vendor would charge for, also where the answer was lost
	// on its way (hang, truncated, reset_after and the like).
	Usage *Usage `json:"usage,omitempty"`
}

// Usage counts what a call used. Fields that do not apply are 0.
type Usage struct {
	InputTokens  int64 `json:"input_tokens,omitempty"` // cached ones included
	OutputTokens int64 `json:"output_tokens,omitempty"`
	Characters   int64 `json:"characters,omitempty"`
	Images       int64 `json:"images,omitempty"`
	MilliSeconds int64 `json:"milliseconds,omitempty"`
	MilliCredits int64 `json:"millicredits,omitempty"`
}

// Call is one call as it was received.
type Call struct {
	Number int64
	Time   time.Time
	Vendor Vendor
	Method string
	// Path is without the vendor in front.
	Path   string
	Query  string
	Header http.Header
	// Body is nil if it was not read.
	Body []byte
	// Form has the values of a multipart form, without its files.
	Form map[string]string
}

// witness keeps and logs calls.
type witness struct {
	mu    sync.Mutex
	file  *os.File
	keep  int
	calls []Call
	count int64
}

func newWitness(path string, keep int) (*witness, error) {
	w := &witness{keep: keep}
	if path == "" {
		return w, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the path is the caller's own
	w.file = file
	return w, err
}

func (w *witness) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// Calls returns the last calls that were received, oldest first.
func (s *Server) Calls() []Call {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	return append([]Call(nil), s.witness.calls...)
}

// Count returns the number of calls that were received in all.
func (s *Server) Count() int64 {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	return s.witness.count
}

// begin keeps and logs a call.
func (w *witness) begin(c *call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	if w.keep > 0 {
		if len(w.calls) >= w.keep {
			w.calls = w.calls[1:]
		}
		w.calls = append(w.calls, Call{
			Number: c.number, Time: c.arrived, Vendor: c.vendor.name(), Method: c.r.Method, Path: c.path, Query: c.r.URL.RawQuery,
			Header: c.r.Header.Clone(), Body: c.body, Form: c.form,
		})
	}
	return w.write(c.line("begin"))
}

// end logs what came of a call.
func (w *witness) end(c *call, outcome string, status int, usage Usage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := c.line("end")
	line.Outcome, line.Status = outcome, status
	if usage != (Usage{}) {
		line.Usage = &usage
	}
	return w.write(line)
}

// write appends one line in one write, so that processes can share the file.
func (w *witness) write(line LogLine) error {
	if w.file == nil {
		return nil
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = w.file.Write(append(data, '\n'))
	return err
}

// lastFour returns the end of a key that is long enough to spare it.
func lastFour(key string) string {
	if len(key) < 8 {
		return ""
	}
	return key[len(key)-4:]
}

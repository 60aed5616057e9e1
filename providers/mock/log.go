package mock

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"time"

	"oneflow/providers"
)

// LogLine is one line of a call log, as JSON. A call has two: "begin" when it is
// received, before anything else happens to it, and "end". The pair shares PID,
// Provider and Call. A begin without an end means that the process died in it.
type LogLine struct {
	Time     time.Time `json:"time"`
	Event    string    `json:"event"` // "begin" or "end"
	Provider string    `json:"provider"`
	PID      int       `json:"pid"`
	// Call counts the calls to this provider in this process, from 1.
	Call int64 `json:"call"`
	// Try counts the calls of this request since it last succeeded, from 1.
	Try int `json:"try"`
	// Request is Hash of the request: the prompt itself is not in the log.
	Request string         `json:"request"`
	Task    providers.Task `json:"task"`
	Model   string         `json:"model,omitempty"`
	// Outcome is "ok" or the kind of failure, at the end only.
	Outcome string `json:"outcome,omitempty"`
	// Status is the HTTP status that a real provider would have sent.
	Status int `json:"status,omitempty"`
	// Usage is the use of a success.
	Usage *providers.Usage `json:"usage,omitempty"`
}

// callLog appends lines to a file; a nil one drops them.
type callLog struct{ file *os.File }

func openCallLog(path string) (*callLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the path is the caller's own
	if err != nil {
		return nil, err
	}
	return &callLog{file: file}, nil
}

func (l *callLog) close() error { return l.file.Close() }

func (l *callLog) begin(provider string, c *call) error {
	return l.write(line("begin", provider, c))
}

func (l *callLog) end(provider string, c *call, res providers.Response, err *providers.Error) error {
	out := line("end", provider, c)
	if err != nil {
		out.Outcome, out.Status = string(err.Kind), err.Status
	} else {
		out.Outcome, out.Status, out.Usage = "ok", res.Status, &res.Usage
	}
	return l.write(out)
}

func line(event, provider string, c *call) LogLine {
	return LogLine{
		Time: time.Now(), Event: event, Provider: provider, PID: os.Getpid(), Call: c.number, Try: c.try,
		Request: hex.EncodeToString(c.hash[:]), Task: c.req.Task, Model: c.req.Model,
	}
}

// write appends one line in one write, so that processes can share the file.
func (l *callLog) write(line LogLine) error {
	if l == nil {
		return nil
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(data, '\n'))
	return err
}

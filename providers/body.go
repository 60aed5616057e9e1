package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is a vendor's endpoint that takes bodies in the vendor's own words.
type Endpoint struct {
	// Path is its path, such as "/v1/chat/completions". Where the vendor has the model there
	// it holds ModelInPath.
	Path string
	// Task is the sort of its answers.
	Task Task
	// Read returns the request that a body is, in named options; what has no name goes
	// into Extra, and unknown lists what inside a field has none. Estimates, prices and
	// translation to other vendors go by it.
	Read func(body json.RawMessage) (req Request, unknown []string, err error)
	// Revise returns a body that asks again, or goes on. Nil: that cannot be said there.
	Revise func(body json.RawMessage, r Revision) (json.RawMessage, error)
}

// Revision holds what changes in a request after an answer that was no success. Zero fields
// change nothing.
type Revision struct {
	// Answer is the text that came, and Objection what was wrong with it: two turns
	// more.
	Answer, Objection string
	// MaxTokens is a new cap.
	MaxTokens int64
	// Paused is the body of an answer that the vendor asks to go on with.
	Paused json.RawMessage
}

// Revised returns a request that asks again, or goes on. It fails where the endpoint of
// its body has no words for that.
func (c Capabilities) Revised(req Request, r Revision) (Request, error) {
	if req.Body != nil {
		e, _ := c.Endpoint(req.Endpoint)
		if e.Revise == nil {
			return req, fmt.Errorf("%s: cannot be asked again there", req.Endpoint)
		}
		var err error
		req.Body, err = e.Revise(req.Body, r)
		return req, err
	}
	if r.Paused != nil {
		return req, errors.New("only a vendor's own body can go on with a paused answer")
	}
	if r.MaxTokens > 0 {
		req.MaxTokens = r.MaxTokens
	}
	if r.Objection == "" {
		return req, nil
	}
	req.Messages = slices.Clone(req.Messages)
	if req.Prompt != "" {
		req.Messages, req.Prompt = append(req.Messages, Message{Role: "user", Content: req.Prompt}), ""
	}
	if strings.TrimSpace(r.Answer) != "" {
		req.Messages = append(req.Messages, Message{Role: "assistant", Content: r.Answer})
	}
	req.Messages = append(req.Messages, Message{Role: "user", Content: r.Objection})
	return req, nil
}

// ReviseTurns returns a Revise for bodies whose turns are a list of objects with role and
// content in the field turns, and whose cap is the first of caps that they have, else
// the first.
func ReviseTurns(turns string, caps ...string) func(json.RawMessage, Revision) (json.RawMessage, error) {
	return func(body json.RawMessage, r Revision) (json.RawMessage, error) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			return nil, err
		}
		if r.MaxTokens > 0 {
			name := caps[0]
			for _, one := range caps {
				if _, ok := fields[one]; ok {
					name = one
				}
			}
			fields[name] = json.RawMessage(strconv.FormatInt(r.MaxTokens, 10))
		}
		var more []map[string]any
		if r.Paused != nil {
			var answer struct {
				Content json.RawMessage `json:"content"`
			}
			if err := json.Unmarshal(r.Paused, &answer); err != nil || len(answer.Content) == 0 {
				return nil, errors.New("the paused answer holds nothing to go on with")
			}
			more = append(more, map[string]any{"role": "assistant", "content": answer.Content})
		}
		if r.Objection != "" {
			if strings.TrimSpace(r.Answer) != "" {
				more = append(more, map[string]any{"role": "assistant", "content": r.Answer})
			}
			more = append(more, map[string]any{"role": "user", "content": r.Objection})
		}
		if err := appendTurns(fields, turns, more); err != nil {
			return nil, err
		}
		return encodeBody(fields)
	}
}

// appendTurns adds turns to the list in a field. A text in its place is a user's turn.
func appendTurns(fields map[string]json.RawMessage, name string, more []map[string]any) error {
	var have []json.RawMessage
	var text string
	if json.Unmarshal(fields[name], &text) == nil {
		first, err := json.Marshal(map[string]any{"role": "user", "content": text})
		if err != nil {
			return err
		}
		have = []json.RawMessage{first}
	} else if err := json.Unmarshal(fields[name], &have); err != nil {
		return err
	}
	for _, turn := range more {
		raw, err := json.Marshal(turn)
		if err != nil {
			return err
		}
		have = append(have, raw)
	}
	var err error
	fields[name], err = json.Marshal(have)
	return err
}

// ModelInPath stands in the path of an endpoint in the place of the model.
const ModelInPath = "{model}"

// ModelOf returns the model that an address of the endpoint names; empty: it names none.
func (e Endpoint) ModelOf(address string) string {
	address, _, _ = strings.Cut(address, "?")
	before, after, has := strings.Cut(e.Path, ModelInPath)
	rest, ok := strings.CutSuffix(address, after)
	if !has || !ok || after == "" {
		return ""
	}
	_, folder, _ := strings.Cut(before[1:], "/") // without the version
	if i := strings.LastIndex(rest, folder); i >= 0 && (i == 0 || rest[i-1] == '/') {
		rest = rest[i+len(folder):]
	}
	if rest == ModelInPath || strings.ContainsAny(rest, "/:") {
		return ""
	}
	return rest
}

// Endpoint returns the endpoint that a path or an address names; ok is false where
// this kind of provider has none of that name.
func (c Capabilities) Endpoint(address string) (e Endpoint, ok bool) {
	address, _, _ = strings.Cut(address, "?")
	for _, e := range c.Endpoints {
		_, short, _ := strings.Cut(e.Path[1:], "/") // without the version
		_, method, _ := strings.Cut(e.Path, ModelInPath)
		if address == e.Path || strings.HasSuffix(address, "/"+short) || address == short || method != "" && address == method[1:] || e.ModelOf(address) != "" {
			return e, true
		}
	}
	return Endpoint{}, false
}

// paths lists the endpoints' paths.
func (c Capabilities) paths() string {
	var paths []string
	for _, e := range c.Endpoints {
		paths = append(paths, e.Path)
	}
	return join(paths)
}

// Named returns a request in named options: as it is where it has no body of a
// vendor's. For unknown see Endpoint.
func (c Capabilities) Named(req Request) (named Request, unknown []string, err error) {
	if req.Body == nil {
		return req, nil, nil
	}
	e, ok := c.Endpoint(req.Endpoint)
	if !ok {
		return req, nil, fmt.Errorf("endpoint: this provider takes %s", c.paths())
	}
	named, unknown, err = e.Read(req.Body)
	if named.Task = e.Task; req.Model != "" {
		named.Model = req.Model
	}
	return named, unknown, err
}

// checkBody refuses a vendor's body that cannot be sent. Whether its fields are right is
// the vendor's to say.
func (c Capabilities) checkBody(req Request) error {
	e, ok := c.Endpoint(req.Endpoint)
	switch {
	case req.Endpoint == "":
		return errors.New("endpoint: is missing; a body needs one, such as /v1/chat/completions")
	case !ok:
		return fmt.Errorf("endpoint: this provider takes %s", c.paths())
	case e.Task != req.Task:
		return fmt.Errorf("task: %s answers with %s, got %s", e.Path, e.Task, req.Task)
	}
	for _, name := range req.set() {
		if name != "endpoint" && name != "body" {
			return fmt.Errorf("option %q: stands beside body, which says all: put it into the body", name)
		}
	}
	if len(req.Extra) > 0 {
		return errors.New("extra: stands beside body, which says all: put its fields into the body")
	}
	var body struct {
		Stream     json.RawMessage `json:"stream"`
		Background json.RawMessage `json:"background"`
	}
	switch {
	case !isObject(req.Body) || json.Unmarshal(req.Body, &body) != nil:
		return errors.New("body: must be a JSON object")
	case body.Stream != nil && !meansNo(body.Stream):
		return errors.New("body.stream: answers are read whole: leave it out")
	case string(body.Background) == "true": // a picture has one, in words
		return errors.New("body.background: answers are waited for: leave it out")
	}
	if path := repeated(req.Body); path != "" {
		return fmt.Errorf("body.%s: stands there twice: leave one out", path)
	}
	_, _, err := e.Read(req.Body)
	if err != nil {
		return fmt.Errorf("body.%w", err)
	}
	return nil
}

func meansNo(raw json.RawMessage) bool { return string(raw) == "false" || string(raw) == "null" }

// BodyFor is the body to send for a request with a vendor's own: as it was given, with
// the request's model in it.
func (r Request) BodyFor() (json.RawMessage, error) {
	var has struct {
		Model string `json:"model"`
	}
	if json.Unmarshal(r.Body, &has) == nil && has.Model == r.Model || r.Model == "" {
		return r.Body, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &fields); err != nil {
		return nil, err
	}
	var err error
	if fields["model"], err = json.Marshal(r.Model); err != nil {
		return nil, err
	}
	return encodeBody(fields)
}

func encodeBody(fields map[string]json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(fields)
	return bytes.TrimSpace(b.Bytes()), err
}

// stringsIn yields all strings that are values in a JSON text.
func stringsIn(raw json.RawMessage) iter.Seq[string] {
	return func(yield func(string) bool) {
		var value any
		if json.Unmarshal(raw, &value) == nil {
			walkStrings(value, yield)
		}
	}
}

func walkStrings(value any, yield func(string) bool) bool {
	switch v := value.(type) {
	case string:
		return yield(v)
	case []any:
		for _, one := range v {
			if !walkStrings(one, yield) {
				return false
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !walkStrings(v[name], yield) {
				return false
			}
		}
	}
	return true
}

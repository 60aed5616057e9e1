package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"oneflow/batches/rows"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// mapError says that a column which is to be mapped is not in a row.
type mapError struct {
	Field, Column string
	// Columns are those that the row has.
	Columns string
}

// Error names the column, and those that are there.
func (e *mapError) Error() string {
	return fmt.Sprintf("column %q, mapped to %s, is not there; the line has %s", e.Column, e.Field, e.Columns)
}

// rename applies Map.
func (in Input) rename(fields Fields) (Fields, error) {
	out := make(Fields, len(fields))
	known := FieldNames()
	for name, value := range fields {
		if slices.Contains(known, name) {
			out[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Map)) {
		column := in.Map[name]
		if column == "" {
			delete(out, name)
			continue
		}
		value, ok := fields[column]
		if !ok {
			return nil, &mapError{name, column, list(fields)}
		}
		out[name] = value
	}
	return out, nil
}

func list(fields Fields) string {
	names := slices.Sorted(maps.Keys(fields))
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return rows.Shorten(strings.Join(names, ", "))
}

// Shape is a vendor's form of a batch's rows.
type Shape string

// The shapes of rows that are not our own.
const (
	ShapeOpenAI    Shape = "openai"
	ShapeAnthropic Shape = "anthropic"
)

// isOpenAI reports whether a row is a line of OpenAI's batch input, and not one that
// has a column called body.
func isOpenAI(fields Fields) bool {
	return fields.has("body") && (fields.has("url") || fields["body"][0] == '{')
}

// isAnthropic reports whether a row is a request of Anthropic's batches, and not one
// that has a column called params.
func isAnthropic(fields Fields) bool {
	return fields.has("params") && fields["params"][0] == '{'
}

// transcriptionsPath is the endpoint whose body becomes a row of our own: it is sent as a form.
const transcriptionsPath = "/v1/audio/transcriptions"

// fromOpenAI takes a line of OpenAI's batch input, {custom_id, method, url, body}, or a
// row with an endpoint and a body.
func fromOpenAI(fields Fields) (Fields, error) {
	name := "url"
	if !fields.has(name) {
		name = "endpoint"
	}
	address, method := text(fields[name]), text(fields["method"])
	u, err := url.Parse(address)
	if err != nil || !fields.has(name) {
		u = &url.URL{}
	}
	if fields.has("method") && !strings.EqualFold(method, "POST") {
		return nil, fmt.Errorf("method %s: must be POST", rows.Quoted(method))
	}
	if strings.HasSuffix(u.Path, strings.TrimPrefix(transcriptionsPath, "/v1")) {
		return fromTranscription(fields)
	}
	_, can, ok := kinds.TakerOf(u.Path)
	if !ok {
		return nil, fmt.Errorf("%s %s: is not taken; bodies are taken for %s, %s", name, rows.Quoted(address), kinds.Endpoints(), transcriptionsPath)
	}
	return withBody(fields, "body", []string{"method", "url"}, u.Path, can)
}

// fromTranscription takes a body for OpenAI's transcriptions, which are sent as a form with
// the sound in it: its file lies beside the input, and its other fields arrive as they are.
func fromTranscription(fields Fields) (Fields, error) {
	var body Fields
	if json.Unmarshal(fields["body"], &body) != nil || body == nil {
		return nil, wrongType("body", "an object", fields["body"])
	}
	if !body.has("file") {
		return nil, errors.New("body.file: is missing; it names a file beside the input")
	}
	out, extra := maps.Clone(fields), Fields{}
	for _, name := range []string{"method", "url", "endpoint", "body"} {
		delete(out, name)
	}
	own := map[string]string{
		"file": "file", "model": "model", "prompt": "prompt", "language": "language", "temperature": "temperature", "response_format": "output_format",
	}
	for name, value := range body {
		field, named := own[name]
		switch {
		case named && out.has(field):
			return nil, fmt.Errorf("body.%s: stands beside body, too: give only one of them", name)
		case named:
			out[field] = value
		default:
			extra[name] = value
		}
	}
	if len(extra) > 0 {
		out["extra"] = encoded(extra)
	}
	out["task"] = quote(string(providers.Transcription))
	return out, nil
}

// fromAnthropic takes a line of Anthropic's batch input, {custom_id, params}.
func fromAnthropic(fields Fields) (Fields, error) {
	const path = "/v1/messages"
	_, can, _ := kinds.TakerOf(path)
	return withBody(fields, "params", nil, path, can)
}

// withBody keeps a vendor's request, which stands in the field inner, as it is. envelope
// are fields beside it that have been looked at.
func withBody(fields Fields, inner string, envelope []string, path string, can providers.Capabilities) (Fields, error) {
	var body Fields
	if json.Unmarshal(fields[inner], &body) != nil {
		return nil, wrongType(inner, "an object", fields[inner])
	}
	e, _ := can.Endpoint(path)
	out := maps.Clone(fields)
	for _, name := range append(envelope, inner) {
		delete(out, name)
	}
	out["endpoint"], out["body"] = quote(e.Path), fields[inner]
	if !out.has("task") {
		out["task"] = quote(string(e.Task))
	}
	switch model := e.ModelOf(path); {
	case model != "" && out.has("model") && text(out["model"]) != model:
		return nil, fmt.Errorf("model: the endpoint names another, %s: give only one of them", rows.Quoted(model))
	case model != "":
		out["model"] = quote(model)
	case body.has("model") && out.has("model"):
		return nil, fmt.Errorf("%s.model: stands beside %s, too: give only one of them", inner, inner)
	case body.has("model"):
		out["model"] = body["model"]
	}
	return out, nil
}

// translated turns a body that a provider of another kind takes into named options. name
// is the provider that is to be asked.
func translated(req providers.Request, name string) (providers.Request, error) {
	taker, can, ok := kinds.TakerOf(req.Endpoint)
	if !ok {
		return req, fmt.Errorf("endpoint %s: is not taken", rows.Quoted(req.Endpoint))
	}
	named, unknown, err := can.Named(req)
	if err != nil {
		return req, fmt.Errorf("body.%w", err)
	}
	for _, field := range slices.Sorted(maps.Keys(named.Extra)) {
		if !slices.Contains(can.Hints, field) {
			unknown = append(unknown, rows.Shorten(field))
		}
	}
	for i, t := range named.Tools {
		if t.Own != nil {
			unknown = append(unknown, fmt.Sprintf("tools[%d]", i))
		}
	}
	if len(unknown) > 0 {
		return req, fmt.Errorf("body.%s: %s has no equivalent; a provider of kind %s takes it as it is", unknown[0], name, taker)
	}
	named.Extra = nil
	return named, nil
}

// text is a JSON string's text, or the JSON itself.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	return s
}

func quote(s string) json.RawMessage {
	data, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return data
}

package gemini

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// googleTurn is a turn in a body of somebody else's.
type googleTurn struct {
	Role  string       `json:"role"`
	Parts []googlePart `json:"parts"`
}

// googlePart is a part there, by its fields.
type googlePart map[string]json.RawMessage

// read adds a turn to the request: what tools said as turns of their own.
func (t googleTurn) read(b *providers.BodyReader, path string, calls *openCalls, req *providers.Request) {
	m := providers.Message{Role: "user"}
	if t.Role == "model" {
		m.Role = "assistant"
		calls.open = nil
	}
	for i, p := range t.Parts {
		at := fmt.Sprintf("%s.parts[%d]", path, i)
		p.clear()
		if raw := p["functionResponse"]; raw != nil {
			var said functionResponse
			if json.Unmarshal(raw, &said) != nil {
				b.Unknown(at + ".functionResponse")
				continue
			}
			noteOthers(b, at+".functionResponse", raw, "id", "name", "response")
			if len(m.Parts) > 0 {
				b.Unknown(at + " (functionResponse after other parts)")
			}
			req.Messages = append(req.Messages, providers.Message{Role: "tool", ToolCallID: cmp.Or(said.ID, calls.answered(said.Name)), Content: string(said.Response)})
			continue
		}
		called := len(m.ToolCalls)
		one := p.read(b, at, &m)
		if one.Type != "" && called > 0 && !p.signs(one) {
			b.Unknown(at + " (a part after functionCall)")
		}
		if raw := p["functionCall"]; raw != nil && len(m.ToolCalls) > 0 {
			if last := &m.ToolCalls[len(m.ToolCalls)-1]; last.ID == "" {
				last.ID = calls.called(last.Name)
			}
		}
		if one.Type != "" && !p.signs(one) {
			m.Parts = append(m.Parts, one)
		}
	}
	if len(m.Parts) == 1 && m.Parts[0].Type == providers.TextPart {
		m.Content, m.Parts = m.Parts[0].Text, nil
	}
	if m.Content != "" || len(m.Parts) > 0 || len(m.ToolCalls) > 0 {
		req.Messages = append(req.Messages, m)
	}
}

// clear takes out the fields that say nothing.
func (p googlePart) clear() {
	maps.DeleteFunc(p, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
}

// signs reports whether a part is nothing but the signature of a thought, which stands beside a text
// without a word.
func (p googlePart) signs(read providers.Part) bool {
	return read.Type == providers.TextPart && read.Text == "" && p["thoughtSignature"] != nil
}

// read reads a part; a call of a tool goes into m. Its type is empty where it is no part
// of ours.
func (p googlePart) read(b *providers.BodyReader, at string, m *providers.Message) providers.Part {
	var out providers.Part
	p.clear()
	for _, name := range slices.Sorted(maps.Keys(p)) {
		raw := p[name]
		switch name {
		case "text":
			out.Type = providers.TextPart
			if json.Unmarshal(raw, &out.Text) != nil {
				b.Unknown(at + ".text")
			}
		case "inlineData", "inline_data", "fileData", "file_data":
			out = media(b, at+"."+name, raw)
		case "mediaResolution", "media_resolution": // after the medium, by its name
			if out.Detail = detail(raw); out.Detail == "" || out.Type == "" {
				b.Unknown(at + "." + name)
			}
		case "functionCall":
			var call functionCall
			if m == nil || json.Unmarshal(raw, &call) != nil {
				b.Unknown(at + ".functionCall")
				continue
			}
			noteOthers(b, at+".functionCall", raw, "id", "name", "args")
			arguments := string(call.Args)
			if arguments == "" {
				arguments = "{}"
			}
			m.ToolCalls = append(m.ToolCalls, providers.ToolCall{ID: call.ID, Name: call.Name, Arguments: arguments})
		case "thoughtSignature", "thought_signature": // means nothing to another model
		default:
			b.Unknown(at + "." + strings.Map(printable, name))
		}
	}
	return out
}

// printable keeps the characters of a name that can be shown.
func printable(r rune) rune {
	if r <= ' ' || r > '~' {
		return '…'
	}
	return r
}

// openCalls gives ids to the calls of tools to which Google gave none: it tells answers to the
// same tool apart by their order.
type openCalls struct {
	made map[string]int // the calls of each tool
	open []openCall     // those of the last turn that were not answered
}

type openCall struct{ name, id string }

// called returns the id of a call.
func (c *openCalls) called(name string) string {
	id := "call_" + name
	if c.made[name]++; c.made[name] > 1 {
		id += "_" + strconv.Itoa(c.made[name])
	}
	c.open = append(c.open, openCall{name, id})
	return id
}

// answered returns the id of the first call of a tool that has no answer yet.
func (c *openCalls) answered(name string) string {
	for i, call := range c.open {
		if call.name == name {
			c.open = slices.Delete(c.open, i, i+1)
			return call.id
		}
	}
	return "call_" + name
}

// noteOthers notes the fields of an object that are none of those that are read.
func noteOthers(b *providers.BodyReader, at string, raw json.RawMessage, read ...string) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(raw, &fields) // it is read as an object elsewhere
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(read, name) && string(fields[name]) != "null" {
			b.Unknown(at + "." + strings.Map(printable, name))
		}
	}
}

// googles reports whether an address is of a file that Google keeps, which nobody else can fetch.
func googles(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "gs" || u.Hostname() == "generativelanguage.googleapis.com")
}

// media reads media, or where they are. It notes those of which nobody else can tell what they are, or
// fetch them.
func media(b *providers.BodyReader, at string, raw json.RawMessage) providers.Part {
	var m struct {
		MIMEType  string `json:"mimeType"`
		MIMEOther string `json:"mime_type"`
		Data      string `json:"data"`
		URI       string `json:"fileUri"`
		URIOther  string `json:"file_uri"`
		Name      string `json:"displayName"`
		NameOther string `json:"display_name"`
	}
	p := providers.Part{Type: providers.DocumentPart}
	if json.Unmarshal(raw, &m) != nil {
		b.Unknown(at)
		return p
	}
	noteOthers(b, at, raw, "mimeType", "mime_type", "data", "fileUri", "file_uri", "displayName", "display_name")
	p.MIME, p.URL, p.Name = providers.StandardType(m.MIMEType+m.MIMEOther), m.URI+m.URIOther, m.Name+m.NameOther
	switch kind, _, _ := strings.Cut(p.MIME, "/"); kind {
	case "", "video":
		b.Unknown(at)
	case "image":
		p.Type = providers.ImagePart
	case "audio":
		p.Type = providers.AudioPart
	}
	if m.Data != "" {
		var err error
		if p.Data, err = wire.Base64(m.Data); err != nil {
			b.Unknown(at + ".data")
		}
	}
	if googles(p.URL) {
		b.Unknown(at)
	}
	return p
}

// detail is the resolution at which a medium is to be read; empty: nobody else has a word for it.
func detail(raw json.RawMessage) string {
	var resolution mediaResolution
	_ = json.Unmarshal(raw, &resolution) // of another form: no word
	switch resolution.Level {
	case "MEDIA_RESOLUTION_UNSPECIFIED":
		return "auto"
	case "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_HIGH":
		return strings.ToLower(strings.TrimPrefix(resolution.Level, "MEDIA_RESOLUTION_"))
	}
	return ""
}

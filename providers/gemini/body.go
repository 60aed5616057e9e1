package gemini

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"oneflow/providers"
)

// The endpoints that take bodies in Google's own words. The model is in the path.
const (
	generatePath  = version + "/models/" + providers.ModelInPath + generate
	embedPath     = version + "/models/" + providers.ModelInPath + embedOne
	embedManyPath = version + "/models/" + providers.ModelInPath + embedMany
)

// Google's methods of a model.
const (
	generate  = ":generateContent"
	embedOne  = ":embedContent"
	embedMany = ":batchEmbedContents"
	film      = ":predictLongRunning"
)

// prefix stands before the name of a model where Google names it in full.
const prefix = "models/"

func endpoints() []providers.Endpoint {
	return []providers.Endpoint{
		{Path: generatePath, Task: providers.Text, Read: readBody, Revise: revise},
		{Path: embedPath, Task: providers.Embedding, Read: readVectorBody},
		{Path: embedManyPath, Task: providers.Embedding, Read: readVectorBody},
	}
}

// readBody reads a body for :generateContent.
func readBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	req.Model = strings.TrimPrefix(req.Model, prefix)
	var system googleTurn
	for _, name := range []string{"systemInstruction", "system_instruction"} {
		if raw := b.Take(name); raw != nil {
			if err := json.Unmarshal(raw, &system); err != nil {
				return req, nil, fmt.Errorf("%s: must be a content with parts", name)
			}
			for i, p := range system.Parts {
				at := fmt.Sprintf("%s.parts[%d]", name, i)
				one := p.read(b, at, nil)
				if req.System += one.Text; one.Type != providers.TextPart && one.Type != "" {
					b.Unknown(at)
				}
			}
		}
	}
	var turns []googleTurn
	b.Into("contents", &turns)
	calls := &openCalls{made: map[string]int{}}
	for i, turn := range turns {
		turn.read(b, fmt.Sprintf("contents[%d]", i), calls, &req)
	}
	readTools(b, &req)
	b.Into("serviceTier", &req.ServiceTier)
	switch req.ServiceTier {
	case "standard":
		req.ServiceTier = "default"
	case "unspecified":
		req.ServiceTier = ""
	}
	readConfig(b, &req)
	return b.End(req)
}

// readConfig reads the options of generation.
func readConfig(b *providers.BodyReader, req *providers.Request) {
	b.Inside("generationConfig", func(config *providers.BodyReader) {
		var mime string
		var modalities []string
		config.Into("maxOutputTokens", &req.MaxTokens)
		config.Into("temperature", &req.Temperature)
		config.Into("topP", &req.TopP)
		config.Into("stopSequences", &req.Stop)
		config.Seed("seed", &req.Seed)
		config.Into("candidateCount", &req.N)
		if req.N == 1 {
			req.N = 0
		}
		config.Into("responseMimeType", &mime)
		schema := config.Take("responseJsonSchema")
		switch {
		case schema != nil:
			req.ResponseFormat = &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "answer", Schema: schema}}
		case mime == "application/json":
			req.ResponseFormat = &providers.ResponseFormat{Type: "json_object"}
		case mime != "" && mime != "text/plain":
			config.Unknown("responseMimeType")
		}
		config.Into("responseModalities", &modalities)
		if slices.ContainsFunc(modalities, func(m string) bool { return m != "TEXT" }) {
			config.Unknown("responseModalities")
		}
		config.Inside("thinkingConfig", func(thinking *providers.BodyReader) {
			thinking.Into("thinkingLevel", &req.Effort)
			req.Effort = strings.ToLower(req.Effort)
		})
	})
}

// readTools reads definitions of functions, Google's own tools, and the choice of one.
func readTools(b *providers.BodyReader, req *providers.Request) {
	var all []map[string]json.RawMessage
	b.Into("tools", &all)
	for i, one := range all {
		for _, name := range slices.Sorted(maps.Keys(one)) {
			raw := one[name]
			if name != "functionDeclarations" {
				req.Tools = append(req.Tools, providers.Tool{Own: mustJSON(map[string]json.RawMessage{name: raw})})
				continue
			}
			var functions []struct {
				Name                 string          `json:"name"`
				Description          string          `json:"description"`
				ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema"`
				Parameters           json.RawMessage `json:"parameters"`
			}
			var declared []json.RawMessage
			if json.Unmarshal(raw, &functions) != nil || json.Unmarshal(raw, &declared) != nil {
				b.Unknown(fmt.Sprintf("tools[%d].functionDeclarations", i))
				continue
			}
			for j, f := range functions {
				if f.Parameters != nil { // Google's own form of a schema
					b.Unknown(fmt.Sprintf("tools[%d].functionDeclarations[%d].parameters", i, j))
				}
				noteOthers(b, fmt.Sprintf("tools[%d].functionDeclarations[%d]", i, j), declared[j], "name", "description", "parametersJsonSchema", "parameters")
				req.Tools = append(req.Tools, providers.Tool{Name: f.Name, Description: f.Description, Parameters: f.ParametersJSONSchema})
			}
		}
	}
	b.Inside("toolConfig", func(config *providers.BodyReader) {
		config.Inside("functionCallingConfig", func(calling *providers.BodyReader) {
			var mode string
			var names []string
			calling.Into("mode", &mode)
			calling.Into("allowedFunctionNames", &names)
			choice := &providers.ToolChoice{Mode: map[string]string{"AUTO": "auto", "NONE": "none", "ANY": "required"}[mode]}
			switch {
			case choice.Mode == "required" && len(names) == 1:
				choice.Mode, choice.Name = "tool", names[0]
			case len(names) > 0:
				calling.Unknown("allowedFunctionNames")
			}
			if choice.Mode == "" {
				calling.Unknown("mode")
				return
			}
			req.ToolChoice = choice
		})
	})
}

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
		if raw := p["functionResponse"]; raw != nil {
			var said functionResponse
			if json.Unmarshal(raw, &said) != nil {
				b.Unknown(at + ".functionResponse")
				continue
			}
			noteOthers(b, at+".functionResponse", raw, "id", "name", "response")
			req.Messages = append(req.Messages, providers.Message{Role: "tool", ToolCallID: cmp.Or(said.ID, calls.answered(said.Name)), Content: string(said.Response)})
			continue
		}
		one := p.read(b, at, &m)
		if raw := p["functionCall"]; raw != nil && len(m.ToolCalls) > 0 {
			if last := &m.ToolCalls[len(m.ToolCalls)-1]; last.ID == "" {
				last.ID = calls.called(last.Name)
			}
		}
		if one.Type != "" {
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

// read reads a part; a call of a tool goes into m. Its type is empty where it is no part
// of ours.
func (p googlePart) read(b *providers.BodyReader, at string, m *providers.Message) providers.Part {
	var out providers.Part
	for _, name := range slices.Sorted(maps.Keys(p)) {
		raw := p[name]
		switch name {
		case "text":
			out.Type = providers.TextPart
			if json.Unmarshal(raw, &out.Text) != nil {
				b.Unknown(at + ".text")
			}
		case "inlineData", "inline_data", "fileData", "file_data":
			if out = media(raw); strings.HasPrefix(out.MIME, "video/") || googles(out.URL) {
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
		case "thoughtSignature": // means nothing to another model
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

// media reads media, or where they are.
func media(raw json.RawMessage) providers.Part {
	var m struct {
		MIMEType  string `json:"mimeType"`
		MIMEOther string `json:"mime_type"`
		Data      []byte `json:"data"`
		URI       string `json:"fileUri"`
		URIOther  string `json:"file_uri"`
	}
	_ = json.Unmarshal(raw, &m) // what is not base64 is the vendor's to refuse
	p := providers.Part{Type: providers.DocumentPart, MIME: m.MIMEType + m.MIMEOther, Data: m.Data, URL: m.URI + m.URIOther}
	switch kind, _, _ := strings.Cut(p.MIME, "/"); kind {
	case "image":
		p.Type = providers.ImagePart
	case "audio":
		p.Type = providers.AudioPart
	}
	return p
}

// revise asks again in Google's words.
func revise(body json.RawMessage, r providers.Revision) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if r.Paused != nil {
		return nil, errors.New("no answer is paused by Google")
	}
	if r.MaxTokens > 0 {
		config := map[string]json.RawMessage{}
		if raw := fields["generationConfig"]; raw != nil && json.Unmarshal(raw, &config) != nil {
			return nil, errors.New("generationConfig: must be an object")
		}
		config["maxOutputTokens"] = json.RawMessage(strconv.FormatInt(r.MaxTokens, 10))
		fields["generationConfig"] = mustJSON(config)
	}
	if r.Objection != "" {
		var turns []json.RawMessage
		if err := json.Unmarshal(fields["contents"], &turns); err != nil {
			return nil, err
		}
		if strings.TrimSpace(r.Answer) != "" {
			turns = append(turns, mustJSON(content{"model", []part{{Text: r.Answer}}}))
		}
		turns = append(turns, mustJSON(content{"user", []part{{Text: r.Objection}}}))
		fields["contents"] = mustJSON(turns)
	}
	return mustJSON(fields), nil
}

// readVectorBody reads a body for :embedContent or :batchEmbedContents.
func readVectorBody(body json.RawMessage) (providers.Request, []string, error) {
	type one struct {
		Model     string     `json:"model"`
		Content   googleTurn `json:"content"`
		Dimension int        `json:"outputDimensionality"`
	}
	var req providers.Request
	b := providers.ReadBody(body)
	var single one
	var many []one
	b.Into("model", &single.Model)
	b.Into("content", &single.Content)
	b.Into("outputDimensionality", &req.Dimensions)
	b.Into("requests", &many)
	if len(many) > 0 {
		b.Unknown("requests")
	}
	for i, each := range append(many, single) {
		if each.Model != "" {
			req.Model = strings.TrimPrefix(each.Model, prefix)
		}
		for j, p := range each.Content.Parts {
			if text := p.read(b, fmt.Sprintf("content.parts[%d]", j), nil); text.Type == providers.TextPart {
				req.Prompt += text.Text
			} else {
				b.Unknown(fmt.Sprintf("content[%d].parts[%d]", i, j))
				req.Messages = append(req.Messages, providers.Message{Role: "user", Parts: []providers.Part{text}}) // so that it is counted
			}
		}
	}
	return b.End(req)
}

// mustJSON encodes what was decoded from JSON, or holds texts alone.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

package providers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// ReadMessages reads a conversation in our form, in OpenAI's (chat and Responses) or in
// Anthropic's. Anthropic's results of tools, which stand inside a turn of the user,
// become turns of their own. unknown lists the paths of what has no meaning here, such
// as "messages[0].content[1] (search_result)"; it was passed over.
func ReadMessages(raw json.RawMessage) (messages []Message, unknown []string, err error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, nil, wrong("messages", "a list", raw)
	}
	r := &formReader{}
	for i, one := range list {
		turn, err := r.message(fmt.Sprintf("messages[%d]", i), one)
		if err != nil {
			return nil, nil, err
		}
		if n := len(messages); r.item && n > 0 && messages[n-1].Role == "assistant" { // a turn in pieces
			messages[n-1].ToolCalls = append(messages[n-1].ToolCalls, turn[0].ToolCalls...)
			continue
		}
		messages = append(messages, turn...)
	}
	return messages, r.unknown, nil
}

// ReadTools reads definitions of tools in our form, in OpenAI's or in Anthropic's, and
// tools of a vendor's own as they are. For unknown see ReadMessages.
func ReadTools(raw json.RawMessage) (tools []Tool, unknown []string, err error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, nil, wrong("tools", "a list", raw)
	}
	r := &formReader{}
	for i, one := range list {
		tool, err := r.tool(fmt.Sprintf("tools[%d]", i), one)
		if err != nil {
			return nil, nil, err
		}
		tools = append(tools, tool)
	}
	return tools, r.unknown, nil
}

// ReadToolChoice reads the choice of a tool in our form, in OpenAI's or in
// Anthropic's, and whether tools may be called side by side, which Anthropic says in
// the same place; nil: it does not say. For unknown see ReadMessages.
func ReadToolChoice(raw json.RawMessage) (choice *ToolChoice, parallel *bool, unknown []string, err error) {
	const path = "tool_choice"
	var word string
	if json.Unmarshal(raw, &word) == nil {
		return &ToolChoice{Mode: word}, nil, nil, nil
	}
	r := &formReader{}
	o, err := r.open(path, raw)
	if err != nil {
		return nil, nil, nil, err
	}
	choice = &ToolChoice{Mode: o.text("mode"), Name: o.text("name")}
	kind := o.text("type")
	function := o.within("function")
	if kind == "function" {
		choice.Mode = "tool"
		if function != nil {
			choice.Name = function.text("name")
		}
	} else if kind != "" {
		choice.Mode = kind
	}
	if choice.Mode == "any" {
		choice.Mode = "required"
	}
	if alone := o.flag("disable_parallel_tool_use"); alone != nil {
		both := !*alone
		parallel = &both
	}
	return choice, parallel, r.unknown, o.end(function)
}

// message reads a turn. It may become several.
func (r *formReader) message(path string, raw json.RawMessage) ([]Message, error) {
	o, err := r.open(path, raw)
	if err != nil {
		return nil, err
	}
	kind := o.text("type") // of an item of the Responses API
	if r.item = false; kind != "" {
		o.take("id")
		o.take("status")
	}
	if kind != "" && kind != "message" {
		turn, ok := r.callItem(kind, o)
		if !ok { // whether it is right is its vendor's to say
			r.unknown = append(r.unknown, fmt.Sprintf("%s (%s)", path, shortName(kind)))
		}
		r.item = ok && kind == "function_call"
		return turn, nil
	}
	m := Message{Role: o.text("role"), Name: o.text("name"), ToolCallID: o.text("tool_call_id")}
	if failed := o.flag("is_error"); failed != nil {
		m.IsError = *failed
	}
	if calls := o.take("tool_calls"); calls != nil {
		if m.ToolCalls, err = r.toolCalls(path+".tool_calls", calls); err != nil {
			return nil, err
		}
	}
	content := o.take("content")
	if err := o.end(); err != nil {
		return nil, err
	}
	var results []Message
	switch {
	case content == nil:
	case content[0] == '"':
		if json.Unmarshal(content, &m.Content) != nil {
			return nil, wrong(path+".content", "a string", content)
		}
	case content[0] == '[':
		if results, err = r.content(path+".content", content, &m); err != nil {
			return nil, err
		}
	default:
		return nil, wrong(path+".content", "a string or a list of parts", content)
	}
	if len(results) > 0 && len(m.Parts) == 0 && m.Content == "" {
		return results, nil
	}
	return append(results, m), nil
}

// callItem reads a call of a tool, or what a tool said, as the Responses API has them; ok is false for
// any other item.
func (r *formReader) callItem(kind string, o *object) (turn []Message, ok bool) {
	switch kind {
	case "function_call":
		call := ToolCall{ID: o.text("call_id"), Name: o.text("name"), Arguments: o.text("arguments")}
		turn = []Message{{Role: "assistant", ToolCalls: []ToolCall{call}}}
		ok = o.end() == nil
	case "function_call_output":
		m, err := r.callOutput(o)
		turn, ok = []Message{m}, err == nil
	}
	if !ok {
		return nil, false
	}
	return turn, true
}

// callOutput reads what a tool said.
func (r *formReader) callOutput(o *object) (Message, error) {
	m := Message{Role: "tool", ToolCallID: o.text("call_id")}
	output := o.take("output")
	if err := o.end(); err != nil {
		return m, err
	}
	var err error
	switch {
	case len(output) > 0 && output[0] == '[':
		_, err = r.content(o.path+".output", output, &m)
	case len(output) > 0 && json.Unmarshal(output, &m.Content) != nil:
		err = wrong(o.path+".output", "a string or a list of parts", output)
	}
	return m, err
}

// content reads a list of parts into m, and returns results of tools that stand in it.
func (r *formReader) content(path string, raw json.RawMessage, m *Message) (results []Message, err error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: must not be an empty list", path)
	}
	for i, one := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		o, err := r.open(at, one)
		if err != nil {
			return nil, err
		}
		switch kind := o.text("type"); kind {
		case "tool_use":
			call := ToolCall{ID: o.text("id"), Name: o.text("name"), Arguments: string(o.take("input"))}
			m.ToolCalls = append(m.ToolCalls, call)
			if err := o.end(); err != nil {
				return nil, err
			}
		case "tool_result":
			result, err := r.toolResult(o)
			if err != nil {
				return nil, err
			}
			if results = append(results, result); len(m.Parts) > 0 {
				r.unknown = append(r.unknown, at+" (tool_result after other parts)")
			}
		default:
			part, known, err := r.part(o, kind)
			if err != nil {
				return nil, err
			}
			if known {
				m.Parts = append(m.Parts, part)
			}
			if known && len(m.ToolCalls) > 0 && m.Role == "assistant" {
				r.unknown = append(r.unknown, at+" (a part after tool_use)")
			}
		}
	}
	if len(m.Parts) == 1 && m.Parts[0].Type == TextPart && m.Parts[0].Cache == NoCache {
		m.Content, m.Parts = m.Parts[0].Text, nil
	}
	return results, nil
}

// toolResult reads Anthropic's block for what a tool said.
func (r *formReader) toolResult(o *object) (Message, error) {
	m := Message{Role: "tool", ToolCallID: o.text("tool_use_id")}
	if failed := o.flag("is_error"); failed != nil {
		m.IsError = *failed
	}
	cache, content := o.cache(), o.take("content")
	if err := o.end(); err != nil {
		return m, err
	}
	if len(content) > 0 && content[0] == '[' {
		if _, err := r.content(o.path+".content", content, &m); err != nil {
			return m, err
		}
	} else if len(content) > 0 && json.Unmarshal(content, &m.Content) != nil {
		return m, wrong(o.path+".content", "a string or a list of parts", content)
	}
	if cache != NoCache {
		if len(m.Parts) == 0 {
			m.Parts, m.Content = []Part{{Type: TextPart, Text: m.Content}}, ""
		}
		m.Parts[len(m.Parts)-1].Cache = cache
	}
	return m, nil
}

// part reads a text, or media. known reports whether its type has a meaning here.
func (r *formReader) part(o *object, kind string) (p Part, known bool, err error) {
	p = Part{Cache: o.cache()}
	var inner *object
	switch kind {
	case "text", "input_text", "output_text":
		p.Type, p.Text = TextPart, o.text("text")
	case "image_url": // OpenAI's chat
		p.Type = ImagePart
		if inner = o.within("image_url"); inner != nil {
			p.setURL(inner.text("url"))
			p.Detail = inner.text("detail")
		}
	case "input_image": // OpenAI's Responses
		p.Type, p.Detail = ImagePart, o.text("detail")
		p.setURL(o.text("image_url"))
	case "input_audio":
		p.Type = AudioPart
		if inner = o.within("input_audio"); inner != nil {
			p.Data, p.MIME = inner.bytes("data"), audioType(inner.text("format"))
		}
	case "file", "input_file":
		p.Type = DocumentPart
		if inner = o.within("file"); inner == nil {
			inner = o
		}
		p.Name = inner.text("filename")
		p.setURL(inner.text("file_data"))
		if p.URL != "" { // base64 without the head of a data: URL
			p.Data, err = fromBase64(p.URL)
			if p.URL = ""; err != nil {
				return p, false, fmt.Errorf("%s: file_data must be base64", o.path)
			}
		}
		if address := inner.text("file_url"); address != "" {
			p.URL = address
		}
		if inner == o {
			inner = nil
		}
	case "image", "document", "audio":
		p.Type = PartType(kind)
		p.Data, p.MIME, p.File, p.Detail = o.bytes("data"), o.text("mime"), o.text("file"), o.text("detail")
		if p.Name = o.text("title"); p.Name == "" {
			p.Name = o.text("name")
		}
		p.setURL(o.text("url"))
		if inner = o.within("source"); inner != nil { // Anthropic's
			p.readSource(inner)
		}
	default:
		r.unknown = append(r.unknown, fmt.Sprintf("%s (%s)", o.path, shortName(kind)))
		return p, false, nil
	}
	if p.MIME = StandardType(p.MIME); p.MIME == "" && len(p.Data) > 0 {
		p.MIME = MediaType(p.Data)
	}
	return p, true, o.end(inner)
}

// readSource reads where Anthropic has the content of a part.
func (p *Part) readSource(o *object) {
	switch kind := o.text("type"); kind {
	case "base64":
		p.MIME, p.Data = o.text("media_type"), o.bytes("data")
	case "url":
		if p.URL = o.text("url"); p.Type == DocumentPart {
			p.MIME = "application/pdf" // it fetches no others
		}
	case "text":
		p.MIME, p.Data = o.text("media_type"), []byte(o.text("data"))
	default:
		o.left["type"] = json.RawMessage(`"` + shortName(kind) + `"`)
	}
}

// setURL takes an address, which may hold its content itself.
func (p *Part) setURL(address string) {
	head, body, found := strings.Cut(address, ",")
	kind, isBase64 := strings.CutSuffix(strings.TrimPrefix(head, "data:"), ";base64")
	if found && isBase64 && strings.HasPrefix(head, "data:") {
		if data, err := fromBase64(body); err == nil {
			p.MIME, p.Data = kind, data
			return
		}
	}
	if address != "" {
		p.URL = address
	}
}

// audioType is the media type of one of OpenAI's names of formats.
func audioType(format string) string {
	switch format {
	case "":
		return ""
	case "mp3":
		return "audio/mpeg"
	}
	return "audio/" + format
}

// toolCalls reads OpenAI's calls of tools, or ours.
func (r *formReader) toolCalls(path string, raw json.RawMessage) ([]ToolCall, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, wrong(path, "a list", raw)
	}
	var calls []ToolCall
	for i, one := range list {
		o, err := r.open(fmt.Sprintf("%s[%d]", path, i), one)
		if err != nil {
			return nil, err
		}
		call := ToolCall{ID: o.text("id")}
		kind := o.text("type")
		inner := o.within("function")
		from := inner
		if from == nil {
			from = o
		}
		call.Name, call.Arguments = from.text("name"), from.text("arguments")
		if kind != "" && kind != "function" {
			r.unknown = append(r.unknown, fmt.Sprintf("%s (%s)", o.path, shortName(kind)))
			continue
		}
		if err := o.end(inner); err != nil {
			return nil, err
		}
		calls = append(calls, call)
	}
	return calls, nil
}

// tool reads a definition: of a function, or of a tool of the vendor's own.
func (r *formReader) tool(path string, raw json.RawMessage) (t Tool, err error) {
	o, err := r.open(path, raw)
	if err != nil {
		return t, err
	}
	if own := o.take("own"); own != nil {
		return Tool{Own: bytes.Clone(own)}, o.end()
	}
	if kind := o.text("type"); kind != "" && kind != "function" && kind != "custom" || o.left["custom"] != nil {
		return Tool{Own: bytes.Clone(raw)}, o.err
	}
	inner := o.within("function")
	from := inner
	if from == nil {
		from = o
	}
	t = Tool{Name: from.text("name"), Description: from.text("description"), Strict: from.flag("strict"), Cache: o.cache()}
	if t.Parameters = from.take("parameters"); t.Parameters == nil {
		t.Parameters = from.take("input_schema")
	}
	t.Parameters = bytes.Clone(t.Parameters)
	return t, o.end(inner)
}

// fromBase64 decodes the standard and the URL-safe alphabet, with padding or without.
func fromBase64(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(text), "=")
	return base64.RawStdEncoding.DecodeString(text)
}

// wrong says what a value must be, and not what it is: that may be of a prompt.
func wrong(path, want string, raw json.RawMessage) error {
	got := "a JSON number"
	switch trimmed := bytes.TrimLeft(raw, " \t\r\n"); {
	case len(trimmed) == 0:
		got = "nothing"
	case trimmed[0] == '"':
		got = "a JSON string"
	case trimmed[0] == '{':
		got = "a JSON object"
	case trimmed[0] == '[':
		got = "a JSON list"
	case trimmed[0] == 't', trimmed[0] == 'f':
		got = "a JSON boolean"
	case trimmed[0] == 'n':
		got = "null"
	}
	return fmt.Errorf("%s: must be %s, got %s", path, want, got)
}

// shortName is a name of somebody else's, as far as it is fit to be shown.
func shortName(name string) string {
	for i, c := range name {
		if i >= 40 || c <= ' ' || c > '~' {
			return name[:i] + "…"
		}
	}
	return name
}

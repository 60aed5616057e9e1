package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"oneflow/providers"
)

// content is one turn of a conversation, or the system prompt.
type content struct {
	Role  string `json:"role,omitempty"`
	Parts []part `json:"parts"`
}

// part is a piece of a turn: one of its fields is set.
type part struct {
	Text             string            `json:"text,omitempty"`
	InlineData       *inlineData       `json:"inlineData,omitempty"`
	FileData         *fileData         `json:"fileData,omitempty"`
	MediaResolution  *mediaResolution  `json:"mediaResolution,omitempty"`
	FunctionCall     *functionCall     `json:"functionCall,omitempty"`
	FunctionResponse *functionResponse `json:"functionResponse,omitempty"`
	ThoughtSignature string            `json:"thoughtSignature,omitempty"`
}

// inlineData are media themselves, which JSON has in base64.
type inlineData struct {
	MIMEType string `json:"mimeType"`
	Data     []byte `json:"data"`
}

// fileData names media that Google fetches.
type fileData struct {
	MIMEType string `json:"mimeType,omitempty"`
	FileURI  string `json:"fileUri"`
}

type mediaResolution struct {
	Level string `json:"level"`
}

type functionCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args,omitempty"`
}

type functionResponse struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Response json.RawMessage `json:"response"`
}

// foreignCall stands in the place of the signature of a call that the model did not
// sign, as one of another model: https://ai.google.dev/gemini-api/docs/thought-signatures.
const foreignCall = "skip_thought_signature_validator"

// conversation is the system prompt and the turns. What tools say one after the other
// stands in one turn of the user.
func conversation(req providers.Request) (system []part, contents []content) {
	if req.System != "" {
		system = append(system, part{Text: req.System})
	}
	answered := false // the last turn is what tools said
	for i, m := range req.Messages {
		switch m.Role {
		case "system", "developer":
			system = append(system, parts(m)...)
			continue
		case "tool":
			said := part{FunctionResponse: response(m, called(req.Messages[:i], m.ToolCallID))}
			if answered {
				last := &contents[len(contents)-1]
				last.Parts = append(last.Parts, said)
			} else {
				contents = append(contents, content{"user", []part{said}})
			}
		case "assistant":
			contents = append(contents, content{"model", append(parts(m), calls(m, req.Model)...)})
		default:
			contents = append(contents, content{"user", parts(m)})
		}
		answered = m.Role == "tool"
	}
	if req.Prompt != "" {
		contents = append(contents, content{"user", []part{{Text: req.Prompt}}})
	}
	return system, contents
}

// parts are the parts of a turn, but for calls of tools. Google keeps prompts by itself: a
// mark for the cache has no form there.
func parts(m providers.Message) []part {
	if len(m.Parts) == 0 {
		if m.Content == "" {
			return nil
		}
		return []part{{Text: m.Content}}
	}
	out := make([]part, len(m.Parts))
	for i, p := range m.Parts {
		switch {
		case p.Type == providers.TextPart:
			out[i].Text = p.Text
		case p.URL != "":
			out[i].FileData = &fileData{MIMEType: mediaType(p.MIME), FileURI: p.URL}
		default:
			out[i].InlineData = &inlineData{MIMEType: mediaType(p.MIME), Data: p.Data}
		}
		if p.Detail == "low" || p.Detail == "high" {
			out[i].MediaResolution = &mediaResolution{"MEDIA_RESOLUTION_" + strings.ToUpper(p.Detail)}
		}
	}
	return out
}

// calls are the calls of tools that a turn of the model holds.
func calls(m providers.Message, model string) []part {
	var out []part
	for i, c := range m.ToolCalls {
		p := part{FunctionCall: &functionCall{ID: c.ID, Name: c.Name, Args: json.RawMessage(c.Arguments)}}
		if i == 0 && strings.HasPrefix(model, "gemini-3") {
			p.ThoughtSignature = foreignCall
		}
		out = append(out, p)
	}
	return out
}

// called is the name of the tool that a call of an id is of; empty: no turn holds it.
func called(before []providers.Message, id string) string {
	name := ""
	for _, m := range before {
		for _, c := range m.ToolCalls {
			if c.ID == id {
				name = c.Name
			}
		}
	}
	return name
}

// response returns what a tool said: an object as it is, anything else as the output, or the
// error, that Google's documentation names so.
func response(m providers.Message, name string) *functionResponse {
	text := m.Text()
	said := json.RawMessage(text)
	var object map[string]json.RawMessage
	if m.IsError || json.Unmarshal(said, &object) != nil || object == nil {
		key := "output"
		if m.IsError {
			key = "error"
		}
		said = mustJSON(map[string]string{key: text})
	}
	return &functionResponse{ID: m.ToolCallID, Name: name, Response: said}
}

// mediaType is Google's name for a media type.
func mediaType(mime string) string {
	mime, _, _ = strings.Cut(mime, ";")
	switch mime {
	case "audio/mpeg":
		return "audio/mp3"
	case "audio/x-wav", "audio/wave":
		return "audio/wav"
	case "audio/x-flac":
		return "audio/flac"
	case "application/ogg":
		return "audio/ogg"
	}
	return mime
}

// pictures, documents and sounds are the media types that Google takes:
// https://ai.google.dev/gemini-api/docs/image-understanding, document-processing and audio.
func pictures() []string {
	return []string{"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}
}

func documents() []string { return []string{"application/pdf", "text/plain"} }

func sounds() []string {
	return []string{"audio/wav", "audio/mp3", "audio/aiff", "audio/aac", "audio/ogg", "audio/flac"}
}

// tools are definitions of functions, and Google's own tools as they are.
func tools(all []providers.Tool) []any {
	var functions []map[string]any
	var out []any
	for _, t := range all {
		if t.Own != nil {
			out = append(out, t.Own)
			continue
		}
		f := map[string]any{"name": t.Name}
		if t.Description != "" {
			f["description"] = t.Description
		}
		if t.Parameters != nil {
			f["parametersJsonSchema"] = t.Parameters
		}
		functions = append(functions, f)
	}
	if len(functions) > 0 {
		out = append([]any{map[string]any{"functionDeclarations": functions}}, out...)
	}
	return out
}

// functionCalling says whether tools must be called; nil: Google's own choice. Where the
// arguments must fit their schemas, and the model may choose, Google calls it VALIDATED.
func functionCalling(req providers.Request) map[string]any {
	strict := false
	for _, t := range req.Tools {
		strict = strict || t.Strict != nil && *t.Strict
	}
	mode, name := "auto", ""
	if c := req.ToolChoice; c != nil {
		mode, name = c.Mode, c.Name
	} else if !strict {
		return nil
	}
	config := map[string]any{}
	switch mode {
	case "none":
		config["mode"] = "NONE"
	case "required":
		config["mode"] = "ANY"
	case "tool":
		config["mode"], config["allowedFunctionNames"] = "ANY", []string{name}
	default:
		if config["mode"] = "AUTO"; strict {
			config["mode"] = "VALIDATED"
		}
	}
	return map[string]any{"functionCallingConfig": config}
}

// checkTurns refuses what Google has no form for.
func checkTurns(req providers.Request) error {
	begun, speaks := false, req.Prompt != ""
	for i, m := range req.Messages {
		at := fmt.Sprintf("messages[%d]", i)
		if m.Role == "system" || m.Role == "developer" {
			if begun {
				return fmt.Errorf("%s.role: a system message must come first", at)
			}
		} else {
			begun, speaks = true, true
		}
		switch {
		case m.Name != "":
			return fmt.Errorf("%s.name: Google knows no names: say it in the content", at)
		case len(m.Parts) == 0 && len(m.ToolCalls) == 0 && m.Content == "" && m.Role != "tool":
			return fmt.Errorf("%s.content: must not be empty", at)
		case m.Role == "tool" && called(req.Messages[:i], m.ToolCallID) == "":
			return fmt.Errorf("%s.tool_call_id: answers no call of a turn before it", at)
		}
		for j, p := range m.Parts {
			if err := checkPart(m.Role, p, req.Model); err != nil {
				return fmt.Errorf("%s.content[%d] (%s): %w", at, j, p.Type, err)
			}
		}
	}
	if !speaks {
		return errors.New("messages: at least one user message is needed")
	}
	if req.ToolChoice != nil && req.ToolChoice.Mode != "auto" && len(tools(req.Tools)) == 0 {
		return errors.New("tool_choice: needs tools, and there are none")
	}
	return req.CheckCalls()
}

func checkPart(role string, p providers.Part, model string) error {
	types := map[providers.PartType][]string{providers.ImagePart: pictures(), providers.DocumentPart: documents(), providers.AudioPart: sounds()}[p.Type]
	switch {
	case p.Type == providers.TextPart && p.Text == "":
		return errors.New("must not be empty")
	case p.Type == providers.TextPart:
		return nil
	case role == "tool":
		return errors.New("only texts are taken from tools here: give it in a turn of role user")
	case p.Detail != "" && p.Detail != "auto" && model != "" && !strings.HasPrefix(model, "gemini-3"):
		return fmt.Errorf("detail: %s takes none: leave it out", model)
	}
	if err := providers.OneOf("detail", p.Detail, "low", "high", "auto"); err != nil {
		return err
	}
	if p.URL != "" && p.MIME == "" {
		return nil
	}
	return providers.OneOf("media type", mediaType(p.MIME), types...)
}

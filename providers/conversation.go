package providers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkMessages refuses turns and tools that no provider takes, and parts that this one
// does not.
func (r Request) checkMessages(parts []PartType) error {
	for i, m := range r.Messages {
		if err := m.check(parts); err != nil {
			return fmt.Errorf("messages[%d]%w", i, err)
		}
	}
	for i, t := range r.Tools {
		switch {
		case t.Own != nil:
		case t.Name == "":
			return fmt.Errorf("tools[%d].name: must not be empty", i)
		case t.Parameters != nil && !isObject(t.Parameters):
			return fmt.Errorf("tools[%d].parameters: must be a JSON schema, which is an object", i)
		}
	}
	c := r.ToolChoice
	switch {
	case c == nil:
		return nil
	case len(r.Tools) == 0:
		return errors.New("tool_choice: needs tools, and there are none")
	case !slices.Contains([]string{"auto", "none", "required", "tool"}, c.Mode):
		return fmt.Errorf("tool_choice: must be auto, none, required or the name of a tool")
	case c.Mode == "tool" && !slices.ContainsFunc(r.Tools, func(t Tool) bool { return t.Name == c.Name }):
		return errors.New("tool_choice: names a tool that is not among tools")
	}
	return nil
}

// check refuses a turn. Its error begins with the field, as in ".role: …".
func (m Message) check(parts []PartType) error {
	switch m.Role {
	case "system", "developer", "user", "assistant", "tool":
	default:
		return errors.New(".role: must be system, developer, user, assistant or tool")
	}
	switch {
	case m.Role == "tool" && m.ToolCallID == "":
		return errors.New(".tool_call_id: is needed for role tool")
	case m.Role != "tool" && m.ToolCallID != "":
		return fmt.Errorf(".tool_call_id: belongs to role tool, not to %s", m.Role)
	case m.Role != "tool" && m.IsError:
		return fmt.Errorf(".is_error: belongs to role tool, not to %s", m.Role)
	case m.Role != "assistant" && len(m.ToolCalls) > 0:
		return fmt.Errorf(".tool_calls: belong to role assistant, not to %s", m.Role)
	}
	for i, c := range m.ToolCalls {
		switch {
		case c.ID == "":
			return fmt.Errorf(".tool_calls[%d].id: must not be empty", i)
		case c.Name == "":
			return fmt.Errorf(".tool_calls[%d].name: must not be empty", i)
		}
	}
	for i, p := range m.Parts {
		if err := p.check(m.Role, parts); err != nil {
			return fmt.Errorf(".content[%d]%w", i, err)
		}
	}
	return nil
}

// check refuses a part. Its error begins with what it is about.
func (p *Part) check(role string, types []PartType) error {
	if p.Type == TextPart {
		return nil
	}
	media := role == "user" || role == "tool"
	switch {
	case p.File != "":
		return errors.New(".file: was not read")
	case !media:
		return fmt.Errorf(" (%s): only turns of role user or tool hold media, this one is of %s", p.Type, role)
	case !slices.Contains(types, p.Type):
		return fmt.Errorf(" (%s): not taken by this provider, which takes %s", p.Type, join(append([]PartType{TextPart}, types...)))
	case p.URL == "" && len(p.Data) == 0:
		return fmt.Errorf(" (%s): holds nothing: give url, data or file", p.Type)
	case strings.HasPrefix(p.URL, "data:"):
		return fmt.Errorf(" (%s): its data: URL holds no base64: give its content as data, in base64", p.Type)
	case p.Name != "" && p.Type != DocumentPart:
		return fmt.Errorf(" (%s): name: only documents have one: leave it out", p.Type)
	case p.URL != "" && len(p.Data) > 0:
		return fmt.Errorf(" (%s): give either url or data, not both", p.Type)
	case len(p.Data) > 0 && p.MIME == "":
		return fmt.Errorf(" (%s): its media type is not known: give mime, such as \"image/png\"", p.Type)
	}
	return nil
}

// arguments reports whether the arguments of a call are a JSON object.
func (c ToolCall) arguments() bool { return isObject(json.RawMessage(c.Arguments)) }

// CheckCalls refuses calls of tools whose arguments are no JSON object, for providers
// that take nothing else.
func (r Request) CheckCalls() error {
	for i, m := range r.Messages {
		for j, c := range m.ToolCalls {
			if !c.arguments() {
				return fmt.Errorf("messages[%d].tool_calls[%d].arguments: must be a JSON object", i, j)
			}
		}
	}
	return nil
}

package fakeprovider

import (
	"fmt"
	"slices"
	"strings"
)

// check returns why Google would refuse r, or "".
func (r *googleRequest) check(model string) string {
	c := r.Config
	switch {
	case len(r.Contents) == 0:
		return "* GenerateContentRequest.contents: contents is not specified\n"
	case c.MaxOutputTokens != nil && *c.MaxOutputTokens < 1:
		return fmt.Sprintf("max_output_tokens must be positive, got %d", *c.MaxOutputTokens)
	case c.Temperature != nil && (*c.Temperature < 0 || *c.Temperature > 2):
		return fmt.Sprintf("* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0], got %g.", *c.Temperature)
	case c.TopP != nil && (*c.TopP < 0 || *c.TopP > 1):
		return "* GenerateContentRequest.generation_config.top_p: top_p must be in the range [0.0, 1.0]."
	case len(c.StopSequences) > 5:
		return "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed."
	case c.CandidateCount != nil && *c.CandidateCount != 1:
		return "Multiple candidates is not enabled for this model"
	case c.ResponseJSONSchema != nil && c.ResponseMimeType != "application/json":
		return "* GenerateContentRequest.generation_config.response_json_schema: requires response_mime_type application/json."
	case !slices.Contains([]string{"", "text/plain", "application/json"}, c.ResponseMimeType):
		return "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are `text/plain`, `application/json`."
	case !slices.Contains([]string{"", "unspecified", "standard", "flex", "priority"}, r.ServiceTier):
		return "Invalid value at 'service_tier'"
	case !slices.Contains([]string{"", "THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"}, c.ThinkingConfig.ThinkingLevel):
		return "Invalid value at 'generation_config.thinking_config.thinking_level'"
	}
	if reason := r.checkTools(); reason != "" {
		return reason
	}
	all := r.Contents
	if r.SystemInstruction != nil {
		all = append(slices.Clone(all), googleContent{Role: "user", Parts: r.SystemInstruction.Parts})
	}
	for i, turn := range all {
		if reason := turn.check(i, model); reason != "" {
			return reason
		}
		calls, responses := turn.calls()
		before := 0
		if i > 0 {
			before, _ = all[i-1].calls()
		}
		if responses > 0 && responses != before {
			return "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
		}
		if calls > 0 && turn.Role != "model" {
			return "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
		}
	}
	return ""
}

func (r *googleRequest) checkTools() string {
	functions := r.functions()
	for i, f := range functions {
		if f.Name == "" || strings.ContainsAny(f.Name, " \t") || len(f.Name) > 128 {
			return fmt.Sprintf("* GenerateContentRequest.tools[0].function_declarations[%d].name: Invalid function name. Must start with a letter or an underscore.", i)
		}
	}
	calling := r.ToolConfig.Calling
	switch {
	case !slices.Contains([]string{"", "MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"}, calling.Mode):
		return "Invalid value at 'tool_config.function_calling_config.mode'"
	case calling.Mode == "ANY" && len(functions) == 0:
		return "Function calling config is set without function_declarations."
	case len(calling.Allowed) > 0 && calling.Mode != "ANY" && calling.Mode != "VALIDATED":
		return "Allowed function names are only supported with mode ANY or VALIDATED."
	}
	for _, name := range calling.Allowed {
		if !slices.ContainsFunc(functions, func(f googleFunction) bool { return f.Name == name }) {
			return fmt.Sprintf("The allowed function name %q is not declared.", name)
		}
	}
	return ""
}

// check returns why Google would refuse turn i, or "".
func (c googleContent) check(i int, model string) string {
	known := strings.Fields(`functionResponse mediaProcessing thoughtSignature partMetadata codeExecutionResult mediaResolution videoMetadata
		toolCall thought text fileData inlineData functionCall executableCode toolResponse inline_data file_data`)
	if !slices.Contains([]string{"", "user", "model", "function"}, c.Role) {
		return "Please use a valid role: user, model."
	}
	if len(c.Parts) == 0 {
		return fmt.Sprintf("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.\n", i)
	}
	called := false
	for j, p := range c.Parts {
		at := fmt.Sprintf("contents[%d].parts[%d]", i, j)
		for name := range p.fields {
			if !slices.Contains(known, name) {
				return fmt.Sprintf("Invalid JSON payload received. Unknown name %q at '%s': Cannot find field.", name, at)
			}
		}
		switch {
		case p.Text == nil && p.InlineData == nil && p.FileData == nil && p.FunctionCall == nil && p.FunctionResponse == nil:
			return fmt.Sprintf("* GenerateContentRequest.%s.data: required oneof field 'data' must have one initialized field\n", at)
		case p.InlineData != nil && !googleTakes(p.InlineData.MimeType):
			return "Unsupported MIME type: " + p.InlineData.MimeType
		case p.FunctionResponse != nil && (p.FunctionResponse.Name == "" || p.FunctionResponse.Response == nil):
			return fmt.Sprintf("* GenerateContentRequest.%s.function_response.name: Name cannot be empty.", at)
		case p.FunctionCall != nil && !called && strings.HasPrefix(model, "gemini-3") && p.ThoughtSignature == "":
			return "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly."
		}
		called = called || p.FunctionCall != nil
	}
	return ""
}

// googleTakes reports whether Google's documentation lists a media type.
func googleTakes(mime string) bool {
	return slices.Contains(strings.Fields(`image/png image/jpeg image/webp image/heic image/heif application/pdf text/plain
		audio/wav audio/mp3 audio/aiff audio/aac audio/ogg audio/flac video/mp4 video/webm`), mime)
}

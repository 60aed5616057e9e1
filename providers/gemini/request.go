package gemini

import (
	"encoding/json"

	"oneflow/providers"
)

// part is a piece of a turn.
type part struct {
	Text string `json:"text"`
}

// content is one turn of a conversation, or the system prompt.
type content struct {
	Role  string `json:"role,omitempty"`
	Parts []part `json:"parts"`
}

// fields is req in Google's words.
func fields(req providers.Request) map[string]any {
	fields := map[string]any{}
	for name, value := range req.Extra {
		fields[name] = value
	}
	var system []part
	if req.System != "" {
		system = append(system, part{req.System})
	}
	var contents []content
	for _, m := range req.Messages {
		switch m.Role {
		case "system":
			system = append(system, part{m.Content})
		case "assistant":
			contents = append(contents, content{"model", []part{{m.Content}}})
		default:
			contents = append(contents, content{"user", []part{{m.Content}}})
		}
	}
	if req.Prompt != "" {
		contents = append(contents, content{"user", []part{{req.Prompt}}})
	}
	fields["contents"] = contents
	if len(system) > 0 {
		fields["systemInstruction"] = content{Parts: system}
	}
	if config := generationConfig(req); len(config) > 0 {
		fields["generationConfig"] = config
	}
	return fields
}

// generationConfig holds the options of generation, with what the request adds to it in Google's
// words.
func generationConfig(req providers.Request) map[string]any {
	config := map[string]any{}
	var extra map[string]json.RawMessage
	_ = json.Unmarshal(req.Extra["generationConfig"], &extra) // it was checked
	for name, value := range extra {
		config[name] = value
	}
	if req.MaxTokens > 0 {
		config["maxOutputTokens"] = req.MaxTokens
	}
	if req.Temperature != nil {
		config["temperature"] = *req.Temperature
	}
	if req.TopP != nil {
		config["topP"] = *req.TopP
	}
	if len(req.Stop) > 0 {
		config["stopSequences"] = req.Stop
	}
	if req.Seed != nil {
		config["seed"] = *req.Seed
	}
	if f := req.ResponseFormat; f != nil && f.Type != "text" {
		config["responseMimeType"] = "application/json"
		if f.JSONSchema != nil {
			config["responseJsonSchema"] = f.JSONSchema.Schema
		}
	}
	if req.Task == providers.Image {
		config["responseModalities"] = []string{"IMAGE"}
		image := map[string]string{}
		if req.AspectRatio != "" {
			image["aspectRatio"] = req.AspectRatio
		}
		if req.Quality != "" {
			image["imageSize"] = req.Quality
		}
		if len(image) > 0 {
			config["imageConfig"] = image
		}
	}
	return config
}

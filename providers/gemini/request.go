package gemini

import (
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// fields is req in Google's words.
func fields(req providers.Request) (map[string]any, error) {
	fields := map[string]any{}
	if req.Task == providers.Transcription {
		fields["contents"] = transcribe(req)
	} else {
		system, contents := conversation(req)
		fields["contents"] = contents
		if len(system) > 0 {
			fields["systemInstruction"] = content{Parts: system}
		}
	}
	if len(req.Tools) > 0 {
		fields["tools"] = tools(req.Tools)
		if config := functionCalling(req); config != nil {
			fields["toolConfig"] = config
		}
	}
	if config := generationConfig(req); len(config) > 0 {
		fields["generationConfig"] = config
	}
	switch req.ServiceTier {
	case "", "auto":
	case "default": // OpenAI's word
		fields["serviceTier"] = "standard"
	default:
		fields["serviceTier"] = req.ServiceTier
	}
	return fields, wire.Merge(fields, req.Extra)
}

// generationConfig holds the options of generation.
func generationConfig(req providers.Request) map[string]any {
	config := map[string]any{}
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
	if req.Effort != "" {
		config["thinkingConfig"] = map[string]string{"thinkingLevel": strings.ToUpper(req.Effort)}
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

// transcribe returns the turn that asks for what is said in a sound: Google has no endpoint for it.
func transcribe(req providers.Request) []content {
	ask := "Transcribe what is said, word for word. Answer with the transcript alone, and with nothing where nobody speaks."
	if req.Language != "" {
		ask += " The language is " + req.Language + "."
	}
	if req.Prompt != "" {
		ask += " A hint at what is said: " + req.Prompt
	}
	all := []part{{Text: ask}}
	for _, m := range req.Messages {
		all = append(all, parts(m)...)
	}
	return []content{{"user", all}}
}

// bodyFor is a vendor's body as it is sent: as it was given, but where it names the model,
// which is in the path too, that is the one that is asked.
func bodyFor(req providers.Request) (json.RawMessage, error) {
	var has struct {
		Model string `json:"model"`
	}
	_ = json.Unmarshal(req.Body, &has) // of another form: it names none
	if has.Model == "" || strings.TrimPrefix(has.Model, prefix) == req.Model {
		return req.Body, nil
	}
	req.Model = prefix + req.Model
	return req.BodyFor()
}

package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"oneflow/providers"
)

// capabilities lists what Google's Gemini API can do. The defaults are models of the
// cheap class that have no day on which they are shut down.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Text: {
				DefaultModel: "gemini-3.5-flash-lite",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "seed", "response_format",
					"tools", "tool_choice", "effort", "service_tier",
				},
				Aliases: map[string]string{"serviceTier": "service_tier"},
				Parts:   []providers.PartType{providers.ImagePart, providers.DocumentPart, providers.AudioPart},
			},
			providers.Image: {
				DefaultModel: "gemini-3.1-flash-image",
				Options:      []string{"prompt", "aspect_ratio", "quality", "seed"},
			},
			providers.Video: {
				DefaultModel: "veo-3.1-lite-generate-preview",
				Options:      []string{"prompt", "size", "aspect_ratio", "seconds", "negative_prompt"},
			},
			providers.Embedding: {
				DefaultModel: "gemini-embedding-2",
				Options:      []string{"prompt", "dimensions"},
			},
			providers.Transcription: {
				DefaultModel: "gemini-3.5-flash-lite",
				Options:      []string{"prompt", "messages", "language", "temperature"},
				Parts:        []providers.PartType{providers.AudioPart},
			},
		},
		Endpoints:   endpoints(),
		Extra:       true,
		Kept:        []string{"cachedContent", "urlContext", "codeExecution", "fileSearch", "googleMaps", "mcpServers"},
		AnyModel:    true,
		MediaTokens: mediaTokens,
		Refuse:      check,
	}
}

// ratios are the shapes that a picture may have.
func ratios() []string {
	return []string{"1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9"}
}

// check refuses what Google's API documents that it refuses.
func check(req providers.Request) error {
	if model := strings.TrimPrefix(req.Model, prefix); strings.ContainsAny(model, "/:?#") {
		return fmt.Errorf("model: must be a name such as %s, got %.60q", capabilities().Tasks[providers.Text].DefaultModel, req.Model)
	}
	if req.Seed != nil && (*req.Seed < math.MinInt32 || *req.Seed > math.MaxInt32) {
		return fmt.Errorf("seed: Google takes 32 bits, got %d", *req.Seed)
	}
	if len(req.Stop) > 5 {
		return fmt.Errorf("stop: at most 5 sequences, got %d", len(req.Stop))
	}
	if slices.Contains(req.Stop, "") {
		return errors.New("stop: a sequence must not be empty")
	}
	if err := req.ResponseFormat.Check("text", "json_object", "json_schema"); err != nil {
		return err
	}
	switch req.Task {
	case providers.Text:
		if err := checkText(req); err != nil {
			return err
		}
	case providers.Image:
		if err := providers.OneOf("aspect_ratio", req.AspectRatio, ratios()...); err != nil {
			return err
		}
		if err := providers.OneOf("quality", req.Quality, "512", "1K", "2K", "4K"); err != nil {
			return err
		}
	case providers.Video:
		return checkFilm(req)
	case providers.Embedding:
		return req.RefuseExtra("content", "model", "embedContentConfig", "outputDimensionality")
	case providers.Transcription:
		for sound := range req.Media() {
			if sound.URL != "" {
				return errors.New("file: its length is not known: give its bytes as file or data")
			}
			if err := providers.OneOf("file", mediaType(sound.MIME), sounds()...); err != nil {
				return err
			}
		}
	case providers.Audio, providers.Moderation: // not done here
	}
	if err := checkConfig(req.Extra["generationConfig"]); err != nil {
		return err
	}
	return req.RefuseExtra("contents", "systemInstruction", "system_instruction", "generation_config", "model")
}

// checkText refuses what the models for text do not take.
func checkText(req providers.Request) error {
	if err := checkTurns(req); err != nil {
		return err
	}
	if err := providers.OneOf("service_tier", req.ServiceTier, "auto", "default", "standard", "flex", "priority"); err != nil {
		return err
	}
	if err := providers.OneOf("effort", req.Effort, "minimal", "low", "medium", "high"); err != nil {
		return err
	}
	if model := strings.TrimPrefix(req.Model, prefix); req.Effort != "" && (strings.HasPrefix(model, "gemini-2") || strings.HasPrefix(model, "gemini-1")) {
		return fmt.Errorf("effort: %s does not take it: leave it out, or name another model", model)
	}
	return nil
}

// checkConfig refuses fields of a generationConfig that have options of their own,
// or whose answer could not be read.
func checkConfig(raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return errors.New("extra.generationConfig: must be an object")
	}
	own := map[string]string{
		"maxOutputTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop", "seed": "seed",
		"responseMimeType": "response_format", "responseJsonSchema": "response_format", "responseSchema": "response_format",
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch option := own[name]; {
		case option != "":
			return fmt.Errorf("extra.generationConfig.%s: has a name of its own, set %q beside extra", name, option)
		case name == "candidateCount", name == "responseModalities":
			return fmt.Errorf("extra.generationConfig.%s: cannot be used here: leave it out", name)
		}
	}
	return nil
}

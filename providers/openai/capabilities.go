package openai

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"oneflow/providers"
)

// capabilities returns the abilities of OpenAI and of the servers that speak its
// protocol. The two share a kind, so that rules which only OpenAI itself has are bound
// to the names of its models: any other name is left to the server to judge.
//
// The defaults are models of the cheap class that OpenAI has not announced to retire.
// Its speech models are all shut down in January 2027, so that there is no default for
// sound; nor for film, of which OpenAI no longer makes any and compatible servers often
// have one model only.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Text: {
				DefaultModel: "gpt-6-luna",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "seed", "response_format",
					"tools", "tool_choice", "parallel_tool_calls", "effort", "service_tier", "n", "logprobs", "top_logprobs",
				},
				Aliases: map[string]string{"max_completion_tokens": "max_tokens", "reasoning_effort": "effort"},
				Parts:   []providers.PartType{providers.ImagePart, providers.DocumentPart, providers.AudioPart},
			},
			providers.Image: {
				DefaultModel: "gpt-image-2",
				Options:      []string{"prompt", "n", "size", "quality", "background", "style", "output_format"},
			},
			providers.Audio: {
				Options: []string{"prompt", "voice", "speed", "output_format"},
			},
			providers.Embedding: {
				DefaultModel: "text-embedding-3-small",
				Options:      []string{"prompt", "dimensions"},
				Pack:         2048,
				PackTokens:   300_000,
			},
			providers.Transcription: {
				DefaultModel: "gpt-transcribe",
				Options:      []string{"prompt", "messages", "language", "temperature", "output_format"},
				Parts:        []providers.PartType{providers.AudioPart},
			},
		},
		Endpoints:   endpoints(false),
		Extra:       true,
		Hints:       []string{"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"},
		Kept:        []string{"previous_response_id", "conversation", "prompt", "file_search", "code_interpreter", "mcp", "computer"},
		AnyModel:    true,
		MediaTokens: mediaTokens,
		Refuse:      check,
	}
}

// compatiblePack and compatibleTokens bound the texts of one call for embeddings of other
// servers. Text Embeddings Inference takes 32 by default, Mistral 16,384 tokens.
const (
	compatiblePack   = 32
	compatibleTokens = 16_000
)

// compatibleCapabilities returns the abilities of other servers that speak OpenAI's protocol:
// film too, and with models of their own.
func compatibleCapabilities() providers.Capabilities {
	c := capabilities()
	c.Endpoints = endpoints(true)
	c.Tasks[providers.Video] = providers.TaskCapabilities{
		Options: []string{"prompt", "size", "seconds", "seed", "negative_prompt", "aspect_ratio"},
	}
	for task, can := range c.Tasks {
		can.DefaultModel = ""
		can.Pack, can.PackTokens = min(can.Pack, compatiblePack), min(can.PackTokens, compatibleTokens)
		c.Tasks[task] = can
	}
	return c
}

// check refuses what OpenAI's API documents that it refuses.
func check(req providers.Request) error {
	model := req.Model
	if model == "" {
		model = capabilities().Tasks[req.Task].DefaultModel
	}
	switch req.Task {
	case providers.Text:
		return checkText(req, model)
	case providers.Image:
		return checkImage(req, model)
	case providers.Audio:
		return checkAudio(req, model)
	case providers.Video:
		if req.Size != "" && !pixels(req.Size) {
			return fmt.Errorf("size: must be WIDTHxHEIGHT, such as 1280x720, got %q", req.Size)
		}
		return req.RefuseExtra("stream")
	case providers.Embedding:
		return checkEmbedding(req, model)
	case providers.Transcription:
		return checkTranscription(req, model)
	case providers.Moderation: // only as a body of its own
	}
	return nil
}

func checkText(req providers.Request, model string) error {
	if len(req.Stop) > 4 {
		return fmt.Errorf("stop: at most 4 sequences, got %d", len(req.Stop))
	}
	if slices.Contains(req.Stop, "") {
		return errors.New("stop: a sequence must not be empty")
	}
	if reasons(model) {
		switch {
		case req.Temperature != nil && *req.Temperature != 1:
			return fmt.Errorf("temperature: %s takes 1 only, got %g: leave it out, or name another model", model, *req.Temperature)
		case req.TopP != nil && *req.TopP != 1:
			return fmt.Errorf("top_p: %s takes 1 only, got %g: leave it out, or name another model", model, *req.TopP)
		case len(req.Stop) > 0:
			return fmt.Errorf("stop: %s does not take it: leave it out, or name another model", model)
		}
	}
	if efforts(model) && req.Effort != "none" {
		switch {
		case req.Temperature != nil && *req.Temperature != 1:
			return fmt.Errorf("temperature: %s takes another than 1 with effort none only, got %g: set that, or leave it out", model, *req.Temperature)
		case req.TopP != nil && *req.TopP != 1:
			return fmt.Errorf("top_p: %s takes another than 1 with effort none only, got %g: set that, or leave it out", model, *req.TopP)
		}
	}
	if alwaysThinks(model) && (req.Effort == "none" || req.Effort == "minimal") {
		return fmt.Errorf("effort: %s always thinks, and does not take %q: leave it out, or name low to max", model, req.Effort)
	}
	if err := req.ResponseFormat.Check("text", "json_object", "json_schema"); err != nil {
		return err
	}
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" && !schemaName(f.JSONSchema.Name) {
		return fmt.Errorf("response_format.json_schema.name: must be 1 to 64 letters, digits, _ or -, got %q", f.JSONSchema.Name)
	}
	if err := checkTurns(req); err != nil {
		return err
	}
	if err := checkTools(req, model); err != nil {
		return err
	}
	if err := checkSenses(req, model); err != nil {
		return err
	}
	return req.RefuseExtra("stream")
}

// checkSenses refuses sound for those of OpenAI's models that do not hear, pictures and documents for
// those that do, as these do not see, and pictures that none of them takes:
// https://platform.openai.com/docs/guides/images-vision#image-input-requirements.
func checkSenses(req providers.Request, model string) error {
	hears := strings.Contains(model, "audio") || strings.Contains(model, "realtime")
	if !hears && !own(model) {
		return nil
	}
	for i, m := range req.Messages {
		for j, p := range m.Parts {
			place := fmt.Sprintf("messages[%d].content[%d] (%s): %s", i, j, p.Type, model)
			switch {
			case p.Type == providers.AudioPart && !hears:
				return fmt.Errorf("%s does not hear: name a model that does, such as gpt-audio", place)
			case (p.Type == providers.ImagePart || p.Type == providers.DocumentPart) && hears && own(model):
				return fmt.Errorf("%s does not see: name another model", place)
			case p.Type == providers.ImagePart && len(p.Data) > 0 && own(model):
				if err := providers.OneOf("media type", p.MIME, "image/png", "image/jpeg", "image/gif", "image/webp"); err != nil {
					return fmt.Errorf("messages[%d].content[%d] (%s): %w", i, j, p.Type, err)
				}
			}
		}
	}
	return nil
}

// own reports whether model is named as OpenAI names its own for chats.
func own(model string) bool {
	name, _, _ := strings.Cut(model, "-")
	return !strings.HasPrefix(model, "gpt-oss") && slices.Contains([]string{"gpt", "chatgpt", "o1", "o3", "o4"}, name)
}

// reasons reports whether model is one of OpenAI's that take no sampling options
// whatever the effort of their reasoning.
func reasons(model string) bool {
	name, _, _ := strings.Cut(model, "-20") // a dated snapshot
	return slices.Contains([]string{
		"o1", "o1-mini", "o1-pro", "o3", "o3-mini", "o3-pro", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5-pro",
	}, name)
}

// efforts reports whether model is one of OpenAI's that take sampling options only
// where their effort is none.
func efforts(model string) bool {
	return strings.HasPrefix(model, "gpt-5.6") || strings.HasPrefix(model, "gpt-6")
}

// checkTools refuses what OpenAI's own models refuse of tools in a chat:
// https://github.com/openai/openai-openapi/issues/541 and
// https://github.com/BerriAI/litellm/pull/34569 have the vendor's words.
func checkTools(req providers.Request, model string) error {
	functions := false
	for i, t := range req.Tools {
		functions = functions || t.Own == nil
		if kind := t.Kind(); t.Own != nil && kind != "function" && kind != "custom" && (efforts(model) || reasons(model)) {
			return fmt.Errorf("tools[%d]: %s takes functions in a chat, and not %q: bring a body for /v1/responses", i, model, kind)
		}
	}
	explicit := strings.HasPrefix(model, "gpt-5.4") || strings.HasPrefix(model, "gpt-5.5")
	if functions && req.Effort != "none" && (efforts(model) && !alwaysThinks(model) || explicit && req.Effort != "") {
		return fmt.Errorf("tools: %s takes functions in a chat with effort none only, got %q: set that, or bring a body for /v1/responses", model, req.Effort)
	}
	return nil
}

// alwaysThinks reports whether model is one of OpenAI's that cannot be told not to:
// https://developers.openai.com/api/docs/models/gpt-6.2-sol and
// https://github.com/BerriAI/litellm/discussions/52347.
func alwaysThinks(model string) bool {
	return strings.HasPrefix(model, "gpt-6.2-") || strings.HasPrefix(model, "gpt-6.1-sol")
}

func checkImage(req providers.Request, model string) error {
	switch {
	case strings.HasPrefix(model, "gpt-image-"), strings.HasPrefix(model, "chatgpt-image-"):
		if err := checkGPTImage(req, model); err != nil {
			return err
		}
	case model == "dall-e-3", model == "dall-e-2":
		if err := checkDallE(req, model); err != nil {
			return err
		}
	default:
		if req.Size != "" && req.Size != "auto" && !pixels(req.Size) {
			return fmt.Errorf("size: must be WIDTHxHEIGHT, such as 1024x1024, or auto, got %q", req.Size)
		}
	}
	if err := providers.OneOf("background", req.Background, "transparent", "opaque", "auto"); err != nil {
		return err
	}
	if format := req.OutputFormat; req.Background == "transparent" && (format == "jpeg" || format == "jpg") {
		return fmt.Errorf("background: transparent needs output_format png or webp, got %q", format)
	}
	return req.RefuseExtra("stream", "partial_images")
}

func checkGPTImage(req providers.Request, model string) error {
	if req.Style != "" {
		return fmt.Errorf("style: %s does not take it: describe the style in the prompt", model)
	}
	if err := providers.OneOf("quality", req.Quality, "auto", "low", "medium", "high", "xhigh", "max"); err != nil {
		return err
	}
	if err := providers.OneOf("output_format", req.OutputFormat, "png", "jpeg", "webp", "gif", "svg"); err != nil {
		return err
	}
	if req.OutputFormat == "svg" && req.N > 1 {
		return fmt.Errorf("n: svg is made one at a time, got %d: leave it out", req.N)
	}
	if strings.HasPrefix(model, "gpt-image-2") && req.Background == "transparent" {
		return fmt.Errorf("background: %s makes no transparent pictures: leave it out, or name another model", model)
	}
	if strings.HasPrefix(model, "gpt-image-1") {
		return providers.OneOf("size", req.Size, "auto", "1024x1024", "1536x1024", "1024x1536")
	}
	if req.Size == "" || req.Size == "auto" {
		return nil
	}
	w, h, ok := providers.Pixels(req.Size)
	if !ok || w%16 != 0 || h%16 != 0 || w > 3*h || h > 3*w || max(w, h) > 3840 || min(w, h) > 2160 {
		return fmt.Errorf("size: must be auto or WIDTHxHEIGHT, both divisible by 16, "+
			"from 1:3 to 3:1 and at most 3840x2160, got %q", req.Size)
	}
	return nil
}

func checkDallE(req providers.Request, model string) error {
	sizes, qualities, prompt := []string{"256x256", "512x512", "1024x1024"}, []string{"standard"}, 1000
	if model == "dall-e-3" {
		sizes, qualities, prompt = []string{"1024x1024", "1792x1024", "1024x1792"}, []string{"standard", "hd"}, 4000
	}
	switch {
	case req.Background != "":
		return fmt.Errorf("background: %s does not take it: only the gpt-image models do", model)
	case req.OutputFormat != "":
		return fmt.Errorf("output_format: %s always makes PNG: only the gpt-image models take it", model)
	case req.Style != "" && model != "dall-e-3":
		return fmt.Errorf("style: %s does not take it: only dall-e-3 does", model)
	case req.N > 1 && model == "dall-e-3":
		return fmt.Errorf("n: dall-e-3 makes one picture a call, got %d: enqueue one job for each", req.N)
	case utf8.RuneCountInString(req.Prompt) > prompt:
		return fmt.Errorf("prompt: %s takes at most %d characters, got %d", model, prompt, utf8.RuneCountInString(req.Prompt))
	}
	if err := providers.OneOf("size", req.Size, sizes...); err != nil {
		return err
	}
	if err := providers.OneOf("quality", req.Quality, qualities...); err != nil {
		return err
	}
	return providers.OneOf("style", req.Style, "vivid", "natural")
}

func checkAudio(req providers.Request, model string) error {
	if strings.HasPrefix(model, "tts-1") || strings.HasPrefix(model, "gpt-4o-mini-tts") {
		if n := utf8.RuneCountInString(req.Prompt); n > 4096 {
			return fmt.Errorf("prompt: %s speaks at most 4096 characters a call, got %d: split it", model, n)
		}
		if err := providers.OneOf("output_format", req.OutputFormat, "mp3", "opus", "aac", "flac", "wav", "pcm"); err != nil {
			return err
		}
	}
	if strings.HasPrefix(model, "tts-1") {
		if err := req.RefuseExtra("instructions"); err != nil {
			return err
		}
	}
	return req.RefuseExtra("input", "stream_format")
}

func schemaName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "_-0123456789"+
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func pixels(size string) bool {
	_, _, ok := providers.Pixels(size)
	return ok
}

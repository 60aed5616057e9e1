package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// openaiCapabilities is what OpenAI and the servers that speak its protocol can
// do. The two share a kind, so that rules which only OpenAI itself has are bound
// to the names of its models: any other name is left to the server to judge.
//
// The defaults are models that OpenAI has not announced to retire and that have a
// list price; its speech models all go in January 2027, and tts-1 is the one that
// is charged by the character, so that its cost is known without a usage report.
// Film has no default: OpenAI no longer makes any, compatible servers often have
// one model only.
func openaiCapabilities() Capabilities {
	return Capabilities{
		Tasks: map[Task]TaskCapabilities{
			Text: {
				DefaultModel: "gpt-5.4-mini",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "seed", "response_format",
				},
			},
			Image: {
				DefaultModel: "gpt-image-2",
				Options:      []string{"prompt", "n", "size", "quality", "background", "style", "output_format"},
			},
			Audio: {
				DefaultModel: "tts-1",
				Options:      []string{"prompt", "voice", "speed", "output_format"},
			},
		},
		Extra:    true,
		AnyModel: true,
		check:    checkOpenAI,
	}
}

// compatibleCapabilities is what other servers do that speak OpenAI's protocol:
// film too, and with models of their own.
func compatibleCapabilities() Capabilities {
	c := openaiCapabilities()
	c.Tasks[Video] = TaskCapabilities{
		Options: []string{"prompt", "size", "seconds", "seed", "negative_prompt", "aspect_ratio"},
	}
	for task, can := range c.Tasks {
		can.DefaultModel = ""
		c.Tasks[task] = can
	}
	return c
}

// anthropicCapabilities is what Anthropic's Messages API can do.
func anthropicCapabilities() Capabilities {
	return Capabilities{
		Tasks: map[Task]TaskCapabilities{
			Text: {
				DefaultModel: "claude-haiku-4-5",
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "response_format",
				},
			},
		},
		Extra:    true,
		AnyModel: true,
		check:    checkAnthropic,
	}
}

// checkOpenAI refuses what OpenAI's API documents that it refuses.
func checkOpenAI(req Request) error {
	model := req.Model
	if model == "" {
		model = openaiCapabilities().Tasks[req.Task].DefaultModel
	}
	switch req.Task {
	case Text:
		return checkOpenAIText(req, model)
	case Image:
		return checkOpenAIImage(req, model)
	case Audio:
		return checkOpenAIAudio(req, model)
	case Video:
		if req.Size != "" && !pixels(req.Size) {
			return fmt.Errorf("size: must be WIDTHxHEIGHT, such as 1280x720, got %q", req.Size)
		}
		return refuseExtra(req, "stream")
	}
	return nil
}

func checkOpenAIText(req Request, model string) error {
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
	if err := checkFormat(req.ResponseFormat, "text", "json_object", "json_schema"); err != nil {
		return err
	}
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" && !schemaName(f.JSONSchema.Name) {
		return fmt.Errorf("response_format.json_schema.name: must be 1 to 64 letters, digits, _ or -, got %q", f.JSONSchema.Name)
	}
	if _, ok := req.Extra["max_completion_tokens"]; ok && req.MaxTokens != 0 {
		return errors.New("extra.max_completion_tokens: says the same as max_tokens, give only that")
	}
	return refuseExtra(req, "stream")
}

// reasons tells whether model is one of OpenAI's that take no sampling options
// whatever the effort of their reasoning.
func reasons(model string) bool {
	name, _, _ := strings.Cut(model, "-20") // a dated snapshot
	return slices.Contains([]string{
		"o1", "o1-mini", "o1-pro", "o3", "o3-mini", "o3-pro", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5-pro",
	}, name)
}

func checkOpenAIImage(req Request, model string) error {
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
	if err := oneOf("background", req.Background, "transparent", "opaque", "auto"); err != nil {
		return err
	}
	if format := req.OutputFormat; req.Background == "transparent" && (format == "jpeg" || format == "jpg") {
		return fmt.Errorf("background: transparent needs output_format png or webp, got %q", format)
	}
	return refuseExtra(req, "stream", "partial_images")
}

func checkGPTImage(req Request, model string) error {
	if req.Style != "" {
		return fmt.Errorf("style: %s does not take it: describe the style in the prompt", model)
	}
	if err := oneOf("quality", req.Quality, "auto", "low", "medium", "high", "xhigh", "max"); err != nil {
		return err
	}
	if err := oneOf("output_format", req.OutputFormat, "png", "jpeg", "webp", "gif", "svg"); err != nil {
		return err
	}
	if req.OutputFormat == "svg" && req.N > 1 {
		return fmt.Errorf("n: svg is made one at a time, got %d: leave it out", req.N)
	}
	if strings.HasPrefix(model, "gpt-image-1") {
		return oneOf("size", req.Size, "auto", "1024x1024", "1536x1024", "1024x1536")
	}
	if req.Size == "" || req.Size == "auto" {
		return nil
	}
	w, h, ok := dimensions(req.Size)
	if !ok || w%16 != 0 || h%16 != 0 || w > 3*h || h > 3*w || max(w, h) > 3840 || min(w, h) > 2160 {
		return fmt.Errorf("size: must be auto or WIDTHxHEIGHT, both divisible by 16, "+
			"from 1:3 to 3:1 and at most 3840x2160, got %q", req.Size)
	}
	return nil
}

func checkDallE(req Request, model string) error {
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
	if err := oneOf("size", req.Size, sizes...); err != nil {
		return err
	}
	if err := oneOf("quality", req.Quality, qualities...); err != nil {
		return err
	}
	return oneOf("style", req.Style, "vivid", "natural")
}

func checkOpenAIAudio(req Request, model string) error {
	if strings.HasPrefix(model, "tts-1") || strings.HasPrefix(model, "gpt-4o-mini-tts") {
		if n := utf8.RuneCountInString(req.Prompt); n > 4096 {
			return fmt.Errorf("prompt: %s speaks at most 4096 characters a call, got %d: split it", model, n)
		}
		if err := oneOf("output_format", req.OutputFormat, "mp3", "opus", "aac", "flac", "wav", "pcm"); err != nil {
			return err
		}
	}
	if strings.HasPrefix(model, "tts-1") {
		if err := refuseExtra(req, "instructions"); err != nil {
			return err
		}
	}
	return refuseExtra(req, "input", "stream_format")
}

// checkAnthropic refuses what Anthropic's API documents that it refuses.
func checkAnthropic(req Request) error {
	model := req.Model
	if model == "" {
		model = anthropicCapabilities().Tasks[Text].DefaultModel
	}
	switch {
	case req.Temperature != nil && *req.Temperature > 1:
		return fmt.Errorf("temperature: Anthropic takes 0 to 1, got %g", *req.Temperature)
	case req.Temperature != nil && req.TopP != nil && strings.HasPrefix(model, "claude-"):
		return errors.New("top_p: Anthropic takes either temperature or top_p, not both")
	case req.Temperature != nil && *req.Temperature != 1 && !samples(model):
		return fmt.Errorf("temperature: %s takes 1 only, got %g: leave it out, or name another model", model, *req.Temperature)
	case req.TopP != nil && *req.TopP < 0.99 && !samples(model):
		return fmt.Errorf("top_p: %s takes 0.99 to 1 only, got %g: leave it out, or name another model", model, *req.TopP)
	}
	for i, stop := range req.Stop {
		if strings.TrimSpace(stop) == "" {
			return fmt.Errorf("stop[%d]: must hold more than blanks", i)
		}
	}
	for i, m := range req.Messages {
		if m.Role == "system" && i > 0 {
			return fmt.Errorf("messages[%d].role: a system message must come first", i)
		}
		if strings.TrimSpace(m.Content) == "" {
			return fmt.Errorf("messages[%d].content: must hold more than blanks", i)
		}
	}
	if req.Prompt != "" && strings.TrimSpace(req.Prompt) == "" {
		return errors.New("prompt: must hold more than blanks")
	}
	if n := len(req.Messages); n > 0 && req.Messages[n-1].Role == "system" {
		return errors.New("messages: at least one user message is needed")
	}
	if err := checkFormat(req.ResponseFormat, "text", "json_schema"); err != nil {
		return err
	}
	if _, ok := req.Extra["output_config"]; ok && req.ResponseFormat != nil && req.ResponseFormat.Type == "json_schema" {
		return errors.New("extra.output_config: cannot stand beside response_format, give it all in one of them")
	}
	return refuseExtra(req, "stop_sequences", "stream")
}

// samples tells whether an Anthropic model takes sampling options: those after
// Claude Opus 4.6 do not. A name that is not known is left to the server.
func samples(model string) bool {
	for _, family := range []string{
		"claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5", "claude-haiku-5", "claude-fable", "claude-mythos",
	} {
		if strings.HasPrefix(model, family) {
			return false
		}
	}
	return true
}

// checkFormat refuses a response format that is not one of types or is incomplete.
func checkFormat(f *ResponseFormat, types ...string) error {
	if f == nil {
		return nil
	}
	if err := oneOf("response_format.type", f.Type, types...); err != nil {
		return err
	}
	switch {
	case f.Type == "":
		return fmt.Errorf("response_format.type: must be %s", join(types))
	case f.Type == "json_schema" && f.JSONSchema == nil:
		return errors.New("response_format.json_schema: is needed for type json_schema")
	case f.Type != "json_schema" && f.JSONSchema != nil:
		return fmt.Errorf("response_format.type: must be json_schema where a schema is given, got %q", f.Type)
	case f.Type == "json_schema" && !isObject(f.JSONSchema.Schema):
		return errors.New("response_format.json_schema.schema: must be a JSON object")
	}
	return nil
}

func isObject(raw json.RawMessage) bool {
	return json.Valid(raw) && bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{"))
}

func schemaName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "_-0123456789"+
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// refuseExtra refuses fields of the provider's own request that this client
// writes itself, or whose answer it could not read.
func refuseExtra(req Request, names ...string) error {
	for _, name := range names {
		if _, ok := req.Extra[name]; ok {
			return fmt.Errorf("extra.%s: cannot be used with %s here: leave it out", name, req.Task)
		}
	}
	return nil
}

// oneOf refuses a value that is set and is not one of those allowed.
func oneOf(name, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: must be %s, got %q", name, join(allowed), value)
}

func pixels(size string) bool {
	_, _, ok := dimensions(size)
	return ok
}

// dimensions reads WIDTHxHEIGHT.
func dimensions(size string) (width, height int, ok bool) {
	w, h, found := strings.Cut(size, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	return width, height, found && errW == nil && errH == nil && width > 0 && height > 0
}

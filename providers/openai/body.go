package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// The endpoints that take bodies in OpenAI's own words.
const (
	chatPath        = "/v1/chat/completions"
	responsesPath   = "/v1/responses"
	embeddingsPath  = "/v1/embeddings"
	moderationsPath = "/v1/moderations"
	imagesPath      = "/v1/images/generations"
	editsPath       = "/v1/images/edits"
	speechPath      = "/v1/audio/speech"
	videosPath      = "/v1/videos"
)

// endpoints are those of OpenAI itself; film is made by compatible servers only.
func endpoints(compatible bool) []providers.Endpoint {
	all := []providers.Endpoint{
		{Path: chatPath, Task: providers.Text, Read: readChatBody, Revise: providers.ReviseTurns("messages", "max_completion_tokens", "max_tokens")},
		{Path: responsesPath, Task: providers.Text, Read: readResponsesBody, Revise: providers.ReviseTurns("input", "max_output_tokens")},
		{Path: embeddingsPath, Task: providers.Embedding, Read: readInputBody},
		{Path: moderationsPath, Task: providers.Moderation, Read: readInputBody},
		{Path: imagesPath, Task: providers.Image, Read: readImageBody},
		{Path: editsPath, Task: providers.Image, Read: readImageBody},
		{Path: speechPath, Task: providers.Audio, Read: readSpeechBody},
	}
	if compatible {
		all = append(all, providers.Endpoint{Path: videosPath, Task: providers.Video, Read: readVideoBody})
	}
	return all
}

// mostAnswers is the number of answers that a body is believed to ask for, where their length is
// bounded: a server may pass over a number, and answer once.
const mostAnswers = 128

// own sends a body as it was given.
func (p *Provider) own(ctx context.Context, secret string, req providers.Request) (providers.Response, *providers.Error) {
	e, _ := p.caps.Endpoint(req.Endpoint)
	named, _, err := p.caps.Named(req)
	body, errBody := req.BodyFor()
	if err != nil || errBody != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	if e.Path == videosPath {
		return p.video(ctx, secret, req.Model, named)
	}
	accept, limit := "application/json", wire.MaxAnswer*int64(min(max(1, named.N), mostAnswers))
	if e.Task == providers.Audio {
		accept = "application/octet-stream"
	}
	a, failure := p.post(ctx, secret, e.Path[len("/v1"):], "application/json", body, accept, limit, req)
	spoken := providers.Usage{Characters: int64(utf8.RuneCountInString(named.Prompt))}
	switch {
	case failure != nil && e.Task == providers.Audio:
		return providers.Response{}, wire.Used(failure, spoken)
	case failure != nil:
		return providers.Response{}, failure
	}
	switch e.Path {
	case chatPath:
		return p.readText(ctx, a, req.Model, named)
	case responsesPath:
		return p.readResponse(ctx, a, req.Model, named)
	case embeddingsPath:
		return p.readVectors(a, req.Model)
	case moderationsPath:
		return p.readModeration(a, req.Model)
	case speechPath:
		return p.readSpeech(a, req.Model, named, spoken)
	}
	return p.readImage(ctx, a, req.Model, named)
}

// readChatBody reads a body for /chat/completions.
func readChatBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	b.Conversation(&req)
	b.Into("max_tokens", &req.MaxTokens)
	b.Into("max_completion_tokens", &req.MaxTokens)
	b.Into("temperature", &req.Temperature)
	b.Into("top_p", &req.TopP)
	b.Seed("seed", &req.Seed)
	b.Strings("stop", &req.Stop)
	b.Into("n", &req.N)
	b.Into("logprobs", &req.LogProbs)
	b.Into("top_logprobs", &req.TopLogProbs)
	b.Into("reasoning_effort", &req.Effort)
	b.Into("service_tier", &req.ServiceTier)
	b.Into("parallel_tool_calls", &req.ParallelToolCalls)
	b.Into("response_format", &req.ResponseFormat)
	if req.N == 1 {
		req.N = 0
	}
	return b.End(req)
}

// readResponsesBody reads a body for /responses.
func readResponsesBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	b.Into("instructions", &req.System)
	if input := b.Take("input"); len(input) > 0 {
		if json.Unmarshal(input, &req.Prompt) != nil {
			messages, unknown, err := providers.ReadMessages(input)
			if err != nil {
				return req, nil, fmt.Errorf("input: %w", err)
			}
			for _, path := range unknown {
				b.Unknown("input (" + path + ")")
			}
			req.Messages = messages
		}
	}
	b.Tools(&req)
	b.Into("max_output_tokens", &req.MaxTokens)
	b.Into("temperature", &req.Temperature)
	b.Into("top_p", &req.TopP)
	b.Into("service_tier", &req.ServiceTier)
	b.Into("parallel_tool_calls", &req.ParallelToolCalls)
	if req.ParallelToolCalls != nil && *req.ParallelToolCalls && len(req.Tools) == 0 {
		req.ParallelToolCalls = nil // its default
	}
	b.Inside("reasoning", func(inner *providers.BodyReader) { inner.Into("effort", &req.Effort) })
	b.Inside("text", func(inner *providers.BodyReader) {
		inner.Inside("format", func(format *providers.BodyReader) {
			f := &providers.ResponseFormat{}
			schema := &providers.JSONSchema{}
			format.Into("type", &f.Type)
			format.Into("name", &schema.Name)
			format.Into("description", &schema.Description)
			format.Into("schema", &schema.Schema)
			format.Into("strict", &schema.Strict)
			if f.Type == "json_schema" {
				f.JSONSchema = schema
			}
			req.ResponseFormat = f
		})
	})
	return b.End(req)
}

// readInputBody reads a body for /embeddings or /moderations: its input is one text, or
// several, or tokens.
func readInputBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	input := b.Take("input")
	if json.Unmarshal(input, &req.Prompt) != nil {
		req.Prompt = string(input) // several: as much text as they are
		b.Unknown("input")
	}
	return b.End(req)
}

// readImageBody reads a body for /images/generations or /images/edits.
func readImageBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	for name, v := range map[string]any{
		"model": &req.Model, "prompt": &req.Prompt, "n": &req.N, "size": &req.Size, "quality": &req.Quality,
		"background": &req.Background, "style": &req.Style, "output_format": &req.OutputFormat,
	} {
		b.Into(name, v)
	}
	var format string
	if b.Into("response_format", &format); format != "" && format != "b64_json" {
		b.Unknown("response_format")
	}
	var images []struct {
		URL string `json:"image_url"`
	}
	if b.Into("images", &images); len(images) > 0 {
		b.Unknown("images")
	}
	var parts []providers.Part
	for _, image := range images {
		parts = append(parts, providers.Part{Type: providers.ImagePart, URL: image.URL})
	}
	if mask := b.Take("mask"); mask != nil { // a picture, too
		b.Unknown("mask")
		parts = append(parts, providers.Part{Type: providers.ImagePart})
	}
	if len(parts) > 0 { // so that they are counted
		req.Messages = []providers.Message{{Role: "user", Parts: parts}}
	}
	return b.End(req)
}

// readSpeechBody reads a body for /audio/speech.
func readSpeechBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	b.Into("input", &req.Prompt)
	b.Into("response_format", &req.OutputFormat)
	b.Into("speed", &req.Speed)
	if voice := b.Take("voice"); json.Unmarshal(voice, &req.Voice) != nil {
		var own struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal(voice, &own) // what it is, the vendor says
		req.Voice = own.ID
	}
	return b.End(req)
}

// readVideoBody reads a body for /videos.
func readVideoBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	var seconds json.Number
	b := providers.ReadBody(body)
	for name, v := range map[string]any{
		"model": &req.Model, "prompt": &req.Prompt, "size": &req.Size, "negative_prompt": &req.NegativePrompt, "aspect_ratio": &req.AspectRatio, "seed": &req.Seed,
		"seconds": &seconds,
	} {
		b.Into(name, v)
	}
	if n, err := seconds.Int64(); err == nil {
		req.Seconds = int(n)
	}
	return b.End(req)
}

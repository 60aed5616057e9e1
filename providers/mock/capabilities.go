package mock

import (
	"fmt"

	"oneflow/providers"
)

// capabilities returns the abilities of the mock provider: something small and valid
// for every task.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Text: {
				DefaultModel: "mock-text",
				Models:       []string{"mock-text"},
				Options: []string{
					"prompt", "system", "messages", "max_tokens", "temperature", "top_p", "stop", "seed", "response_format",
					"tools", "tool_choice", "parallel_tool_calls", "effort", "service_tier", "n", "logprobs", "top_logprobs",
				},
				Parts: []providers.PartType{providers.ImagePart, providers.DocumentPart, providers.AudioPart},
			},
			providers.Image:     {DefaultModel: "mock-image", Models: []string{"mock-image"}, Options: []string{"prompt", "size", "n", "seed"}},
			providers.Audio:     {DefaultModel: "mock-audio", Models: []string{"mock-audio"}, Options: []string{"prompt", "voice", "speed", "seed"}},
			providers.Video:     {DefaultModel: "mock-video", Models: []string{"mock-video"}, Options: []string{"prompt", "size", "seconds", "seed"}},
			providers.Embedding: {DefaultModel: "mock-embedding", Models: []string{"mock-embedding"}, Options: []string{"prompt", "dimensions"}, Pack: 2048, PackTokens: 300_000},
			providers.Transcription: {
				DefaultModel: "mock-transcription", Models: []string{"mock-transcription"}, Options: []string{"prompt", "messages", "language"},
				Parts: []providers.PartType{providers.AudioPart},
			},
		},
		Refuse: check,
	}
}

// check refuses what would be large or is no size at all.
func check(req providers.Request) error {
	const maxSide, maxSeconds, maxDimensions = 1024, 20, 4096
	if req.Size != "" {
		w, h, ok := providers.Pixels(req.Size)
		switch {
		case !ok || w < 1 || h < 1 || w > maxSide || h > maxSide:
			return fmt.Errorf("size: must be WIDTHxHEIGHT, each from 1 to %d, got %q", maxSide, req.Size)
		case req.Task == providers.Video && (w%2 != 0 || h%2 != 0):
			return fmt.Errorf("size: both sides of a film must be even, got %q", req.Size)
		}
	}
	if req.Dimensions > maxDimensions {
		return fmt.Errorf("dimensions: must be at most %d, got %d", maxDimensions, req.Dimensions)
	}
	if req.Seconds > maxSeconds {
		return fmt.Errorf("seconds: must be at most %d, got %d", maxSeconds, req.Seconds)
	}
	return req.ResponseFormat.Check("text", "json_object", "json_schema")
}

package stability

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"oneflow/providers"
)

// capabilities returns the abilities of Stability's generate operations (v2beta).
// The model names the operation: core, ultra, or one of the sd3 family.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Image: {
				DefaultModel: "core",
				Models:       []string{"core", "ultra", "sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash"},
				Options:      []string{"prompt", "negative_prompt", "aspect_ratio", "seed", "style", "output_format"},
			},
		},
		Extra:  true,
		Refuse: check,
	}
}

// check refuses what Stability's description of its API does not allow.
func check(req providers.Request) error {
	const longest, greatest = 10_000, 4294967294
	switch {
	case utf8.RuneCountInString(req.Prompt) > longest:
		return fmt.Errorf("prompt: must be at most %d characters, got %d", longest, utf8.RuneCountInString(req.Prompt))
	case utf8.RuneCountInString(req.NegativePrompt) > longest:
		return fmt.Errorf("negative_prompt: must be at most %d characters, got %d", longest, utf8.RuneCountInString(req.NegativePrompt))
	case req.Seed != nil && (*req.Seed < 0 || *req.Seed > greatest):
		return fmt.Errorf("seed: must be from 0 to %d, got %d", greatest, *req.Seed)
	}
	if err := providers.OneOf("aspect_ratio", req.AspectRatio, "21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21"); err != nil {
		return err
	}
	if err := providers.OneOf("style", req.Style, "enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art",
		"line-art", "analog-film", "neon-punk", "isometric", "low-poly", "origami", "modeling-compound", "cinematic",
		"3d-model", "pixel-art", "tile-texture"); err != nil {
		return err
	}
	if err := providers.OneOf("output_format", req.OutputFormat, "png", "jpeg", "webp"); err != nil {
		return err
	}
	// image, mode and strength start from a picture, which a request cannot hold.
	if err := req.RefuseExtra("image", "mode", "strength"); err != nil {
		return err
	}
	if _, ok := req.Extra["style_preset"]; ok {
		return errors.New(`extra.style_preset: has a name of its own, set "style" beside extra`)
	}
	for name, value := range req.Extra {
		if !simple(value) {
			return fmt.Errorf("extra.%s: must be a string, a number or a boolean, since it is sent as a form field", name)
		}
	}
	return nil
}

// simple reports whether a JSON value is a string, a number or a boolean.
func simple(value json.RawMessage) bool {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return false
	}
	switch v.(type) {
	case string, float64, bool:
		return true
	}
	return false
}

package providers

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// stabilityCapabilities is what Stability's generate operations (v2beta) can do.
// The model names the operation: core, ultra, or one of the sd3 family.
func stabilityCapabilities() Capabilities {
	return Capabilities{
		Tasks: map[Task]TaskCapabilities{
			Image: {
				DefaultModel: "core",
				Models:       []string{"core", "ultra", "sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash"},
				Options:      []string{"prompt", "negative_prompt", "aspect_ratio", "seed", "style", "output_format"},
			},
		},
		Extra: true,
		check: checkStability,
	}
}

// elevenlabsCapabilities is what ElevenLabs' text to speech can do. Any model may
// be named: new ones come often, and the service refuses what it does not know.
func elevenlabsCapabilities() Capabilities {
	return Capabilities{
		Tasks: map[Task]TaskCapabilities{
			Audio: {
				DefaultModel: "eleven_multilingual_v2",
				Options:      []string{"prompt", "voice", "voice_settings", "speed", "seed", "output_format"},
			},
		},
		Extra:    true,
		AnyModel: true,
		check:    checkElevenLabs,
	}
}

// checkStability refuses what Stability's description of its API does not allow.
func checkStability(req Request) error {
	const longest, greatest = 10_000, 4294967294
	switch {
	case utf8.RuneCountInString(req.Prompt) > longest:
		return fmt.Errorf("prompt: must be at most %d characters, got %d", longest, utf8.RuneCountInString(req.Prompt))
	case utf8.RuneCountInString(req.NegativePrompt) > longest:
		return fmt.Errorf("negative_prompt: must be at most %d characters, got %d", longest, utf8.RuneCountInString(req.NegativePrompt))
	case req.Seed != nil && (*req.Seed < 0 || *req.Seed > greatest):
		return fmt.Errorf("seed: must be from 0 to %d, got %d", greatest, *req.Seed)
	}
	if err := oneOf("aspect_ratio", req.AspectRatio, "21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21"); err != nil {
		return err
	}
	if err := oneOf("style", req.Style, "enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art",
		"line-art", "analog-film", "neon-punk", "isometric", "low-poly", "origami", "modeling-compound", "cinematic",
		"3d-model", "pixel-art", "tile-texture"); err != nil {
		return err
	}
	if err := oneOf("output_format", req.OutputFormat, "png", "jpeg", "webp"); err != nil {
		return err
	}
	// image, mode and strength start from a picture, which a request cannot hold.
	if err := refuseExtra(req, "image", "mode", "strength"); err != nil {
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

// checkElevenLabs refuses what ElevenLabs' description of its API does not allow.
func checkElevenLabs(req Request) error {
	const longest, greatest = 40_000, 4294967295
	switch {
	case utf8.RuneCountInString(req.Prompt) > longest:
		return fmt.Errorf("prompt: no model takes more than %d characters, got %d", longest, utf8.RuneCountInString(req.Prompt))
	case req.Seed != nil && (*req.Seed < 0 || *req.Seed > greatest):
		return fmt.Errorf("seed: must be from 0 to %d, got %d", greatest, *req.Seed)
	case req.Speed != nil && (*req.Speed < 0.7 || *req.Speed > 1.2):
		return fmt.Errorf("speed: must be from 0.7 to 1.2, got %g", *req.Speed)
	case strings.Trim(strings.ToLower(req.Voice), "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || len(req.Voice) > 64:
		return errors.New("voice: must be the id of a voice, such as 21m00Tcm4TlvDq8ikWAM, not its name")
	}
	if v := req.VoiceSettings; v != nil {
		for name, value := range map[string]*float64{"stability": v.Stability, "similarity_boost": v.SimilarityBoost, "style": v.Style} {
			if value != nil && (*value < 0 || *value > 1) {
				return fmt.Errorf("voice_settings.%s: must be from 0 to 1, got %g", name, *value)
			}
		}
	}
	if !elevenLabsFormat(req.OutputFormat) {
		return fmt.Errorf("output_format: must be mp3, opus, wav or pcm, or a codec with its rates, such as mp3_44100_128, got %q", req.OutputFormat)
	}
	for name, own := range map[string]string{"text": "prompt", "model_id": "model", "voice_id": "voice"} {
		if _, ok := req.Extra[name]; ok {
			return fmt.Errorf("extra.%s: has a name of its own, set %q beside extra", name, own)
		}
	}
	return nil
}

// elevenLabsFormat tells that s names a codec, alone where the client knows good
// rates for it, or with its rates.
func elevenLabsFormat(s string) bool {
	codec, rates, ok := strings.Cut(s, "_")
	switch codec {
	case "":
		return s == ""
	case "mp3", "opus", "wav", "pcm":
		return !ok || rates != "" && strings.Trim(rates, "0123456789_") == ""
	case "ulaw", "alaw":
		return rates == "8000"
	}
	return false
}

// simple tells that a JSON value is a string, a number or a boolean.
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

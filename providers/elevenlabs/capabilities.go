package elevenlabs

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"oneflow/providers"
)

// capabilities returns the abilities of ElevenLabs' text to speech. Any model may
// be named: new ones come often, and the service refuses what it does not know.
func capabilities() providers.Capabilities {
	return providers.Capabilities{
		Tasks: map[providers.Task]providers.TaskCapabilities{
			providers.Audio: {
				DefaultModel: "eleven_multilingual_v2",
				Options:      []string{"prompt", "voice", "voice_settings", "speed", "seed", "output_format"},
			},
		},
		Extra:    true,
		AnyModel: true,
		Refuse:   check,
	}
}

// check refuses what ElevenLabs' description of its API does not allow.
func check(req providers.Request) error {
	const longest, greatest = 40_000, 4294967295
	switch {
	case utf8.RuneCountInString(req.Prompt) > longest:
		return fmt.Errorf("prompt: no model takes more than %d characters, got %d", longest, utf8.RuneCountInString(req.Prompt))
	case req.Seed != nil && (*req.Seed < 0 || *req.Seed > greatest):
		return fmt.Errorf("seed: must be from 0 to %d, got %d", greatest, *req.Seed)
	case req.Speed != nil && (*req.Speed < 0.7 || *req.Speed > 1.2):
		return fmt.Errorf("speed: must be from 0.7 to 1.2, got %g", *req.Speed)
	case req.Voice != "" && !voiceID(req.Voice):
		return errors.New("voice: must be the id of a voice, such as 21m00Tcm4TlvDq8ikWAM, not its name")
	}
	if v := req.VoiceSettings; v != nil {
		for name, value := range map[string]*float64{"stability": v.Stability, "similarity_boost": v.SimilarityBoost, "style": v.Style} {
			if value != nil && (*value < 0 || *value > 1) {
				return fmt.Errorf("voice_settings.%s: must be from 0 to 1, got %g", name, *value)
			}
		}
	}
	if !knownFormat(req.OutputFormat) {
		return fmt.Errorf("output_format: must be mp3, opus, wav or pcm, or a codec with its rates, such as mp3_44100_128, got %q", req.OutputFormat)
	}
	for name, own := range map[string]string{"text": "prompt", "model_id": "model", "voice_id": "voice"} {
		if _, ok := req.Extra[name]; ok {
			return fmt.Errorf("extra.%s: has a name of its own, set %q beside extra", name, own)
		}
	}
	return nil
}

// voiceID reports whether a voice may be an id: they have 20 letters and digits, and names of
// voices, such as Rachel or alloy, are shorter.
func voiceID(voice string) bool {
	return len(voice) >= 20 && len(voice) <= 64 && strings.Trim(strings.ToLower(voice), "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// knownFormat reports whether s names a codec, alone where the client knows good
// rates for it, or with its rates.
func knownFormat(s string) bool {
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

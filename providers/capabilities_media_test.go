package providers_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"oneflow/providers"
)

func TestWhatStabilityAndElevenLabsTakeIsKnownBeforehand(t *testing.T) {
	t.Parallel()
	extra := func(name, value string) map[string]json.RawMessage {
		return map[string]json.RawMessage{name: json.RawMessage(value)}
	}
	image, audio := providers.Request{Task: providers.Image, Prompt: "p"}, providers.Request{Task: providers.Audio, Prompt: "p"}
	with := func(req providers.Request, change func(*providers.Request)) providers.Request {
		change(&req)
		return req
	}
	for _, c := range []struct {
		kind string
		req  providers.Request
		want string // the start of the error; empty: it is taken
	}{
		{"stability", image, ""},
		{"stability", with(image, func(r *providers.Request) {
			r.Model, r.NegativePrompt, r.AspectRatio, r.Style, r.OutputFormat, r.Seed = "sd3.5-large", "n", "21:9", "3d-model", "webp", new(int64(4294967294))
			r.Extra = extra("cfg_scale", "4.5")
		}), ""},
		{"stability", audio, `task "audio"`},
		{"stability", with(image, func(r *providers.Request) { r.Model = "sdxl" }), `model "sdxl": this provider offers core, ultra`},
		{"stability", with(image, func(r *providers.Request) { r.Size = "1024x1024" }), `option "size"`},
		{"stability", with(image, func(r *providers.Request) { r.N = 2 }), `option "n"`},
		{"stability", with(image, func(r *providers.Request) { r.Prompt = strings.Repeat("é", 10_001) }), "prompt: must be at most 10000 characters, got 10001"},
		{"stability", with(image, func(r *providers.Request) { r.NegativePrompt = strings.Repeat("é", 10_001) }), "negative_prompt: "},
		{"stability", with(image, func(r *providers.Request) { r.AspectRatio = "7:3" }), `aspect_ratio: must be 21:9, 16:9`},
		{"stability", with(image, func(r *providers.Request) { r.Style = "vivid" }), `style: must be enhance`},
		{"stability", with(image, func(r *providers.Request) { r.OutputFormat = "gif" }), `output_format: must be png, jpeg, webp, got "gif"`},
		{"stability", with(image, func(r *providers.Request) { r.Seed = new(int64(-1)) }), "seed: must be from 0 to 4294967294, got -1"},
		{"stability", with(image, func(r *providers.Request) { r.Seed = new(int64(4294967295)) }), "seed: "},
		{"stability", with(image, func(r *providers.Request) { r.Extra = extra("image", `"x"`) }), "extra.image: "},
		{"stability", with(image, func(r *providers.Request) { r.Extra = extra("style_preset", `"anime"`) }), "extra.style_preset: has a name of its own"},
		{"stability", with(image, func(r *providers.Request) { r.Extra = extra("seed", `1`) }), "extra.seed: has a name of its own"},
		{"stability", with(image, func(r *providers.Request) { r.Extra = extra("list", `[1]`) }), "extra.list: must be a string"},
		{"stability", with(image, func(r *providers.Request) { r.Extra = extra("nothing", `null`) }), "extra.nothing: must be a string"},
		{"elevenlabs", audio, ""},
		{"elevenlabs", with(audio, func(r *providers.Request) {
			r.Model, r.Voice, r.OutputFormat, r.Seed, r.Speed = "eleven_v9", "21m00Tcm4TlvDq8ikWAM", "mp3_44100_128", new(int64(0)), new(1.2)
			r.VoiceSettings = &providers.VoiceSettings{Stability: new(0.0), SimilarityBoost: new(1.0), Style: new(0.5), UseSpeakerBoost: new(true)}
			r.Extra = extra("pronunciation_dictionary_locators", `[{"pronunciation_dictionary_id":"a"}]`)
		}), ""},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "mp3" }), ""},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "ulaw_8000" }), ""},
		{"elevenlabs", image, `task "image"`},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "ulaw" }), "output_format: "},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "flac" }), "output_format: "},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "mp3_&x=1" }), "output_format: "},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.OutputFormat = "_" }), "output_format: "},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Voice = "../user" }), "voice: must be the id of a voice"},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Speed = new(1.5) }), "speed: must be from 0.7 to 1.2, got 1.5"},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Seed = new(int64(4294967296)) }), "seed: "},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Prompt = strings.Repeat("é", 40_001) }), "prompt: no model takes more than 40000"},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.VoiceSettings = &providers.VoiceSettings{Style: new(1.5)} }), "voice_settings.style: must be from 0 to 1, got 1.5"},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Extra = extra("text", `"x"`) }), `extra.text: has a name of its own, set "prompt"`},
		{"elevenlabs", with(audio, func(r *providers.Request) { r.Extra = extra("model_id", `"x"`) }), `extra.model_id: `},
	} {
		caps, ok := providers.CapabilitiesOf(c.kind)
		if !ok || !slices.Contains(providers.Kinds(), c.kind) {
			t.Fatalf("%s is no kind of provider", c.kind)
		}
		err := caps.Check(c.req)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.kind, err, c.want)
		}
	}
}

func TestTheMediaProvidersDefaultsAreOnOffer(t *testing.T) {
	t.Parallel()
	for kind, task := range map[string]providers.Task{"stability": providers.Image, "elevenlabs": providers.Audio} {
		caps, _ := providers.CapabilitiesOf(kind)
		if err := caps.Check(providers.Request{Task: task, Prompt: "p", Model: caps.Tasks[task].DefaultModel}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

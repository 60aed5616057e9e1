package elevenlabs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/elevenlabs"
)

func TestWhatItTakesIsKnownBeforehand(t *testing.T) {
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
		req  providers.Request
		want string // the start of the error; empty: it is taken
	}{
		{audio, ""},
		{with(audio, func(r *providers.Request) {
			r.Model, r.Voice, r.OutputFormat, r.Seed, r.Speed = "eleven_v9", "21m00Tcm4TlvDq8ikWAM", "mp3_44100_128", new(int64(0)), new(1.2)
			r.VoiceSettings = &providers.VoiceSettings{Stability: new(0.0), SimilarityBoost: new(1.0), Style: new(0.5), UseSpeakerBoost: new(true)}
			r.Extra = extra("pronunciation_dictionary_locators", `[{"pronunciation_dictionary_id":"a"}]`)
		}), ""},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "mp3" }), ""},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "ulaw_8000" }), ""},
		{image, `task "image"`},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "ulaw" }), "output_format: "},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "flac" }), "output_format: "},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "mp3_&x=1" }), "output_format: "},
		{with(audio, func(r *providers.Request) { r.OutputFormat = "_" }), "output_format: "},
		{with(audio, func(r *providers.Request) { r.Voice = "../user" }), "voice: must be the id of a voice"},
		{with(audio, func(r *providers.Request) { r.Voice = "../../v1/user/subscription" }), "voice: must be the id of a voice"},
		{with(audio, func(r *providers.Request) { r.Voice = "Rachel" }), "voice: must be the id of a voice"},
		{with(audio, func(r *providers.Request) { r.Voice = "alloy" }), "voice: must be the id of a voice"},
		{with(audio, func(r *providers.Request) { r.Speed = new(1.5) }), "speed: must be from 0.7 to 1.2, got 1.5"},
		{with(audio, func(r *providers.Request) { r.Seed = new(int64(4294967296)) }), "seed: "},
		{with(audio, func(r *providers.Request) { r.Prompt = strings.Repeat("é", 40_001) }), "prompt: no model takes more than 40000"},
		{with(audio, func(r *providers.Request) { r.VoiceSettings = &providers.VoiceSettings{Style: new(1.5)} }), "voice_settings.style: must be from 0 to 1, got 1.5"},
		{with(audio, func(r *providers.Request) { r.Extra = extra("text", `"x"`) }), `extra.text: has a name of its own, set "prompt"`},
		{with(audio, func(r *providers.Request) { r.Extra = extra("model_id", `"x"`) }), `extra.model_id: `},
	} {
		err := elevenlabs.Descriptor().Capabilities().Check(c.req)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestTheDefaultModelIsOnOffer(t *testing.T) {
	t.Parallel()
	caps := elevenlabs.Descriptor().Capabilities()
	if err := caps.Check(providers.Request{Task: providers.Audio, Prompt: "p", Model: caps.Tasks[providers.Audio].DefaultModel}); err != nil {
		t.Error(err)
	}
}

package stability_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/stability"
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
		{image, ""},
		{with(image, func(r *providers.Request) {
			r.Model, r.NegativePrompt, r.AspectRatio, r.Style, r.OutputFormat, r.Seed = "sd3.5-large", "n", "21:9", "3d-model", "webp", new(int64(4294967294))
			r.Extra = extra("cfg_scale", "4.5")
		}), ""},
		{audio, `task "audio"`},
		{with(image, func(r *providers.Request) { r.Model = "sdxl" }), `model "sdxl": this provider offers core, ultra`},
		{with(image, func(r *providers.Request) { r.Size = "1024x1024" }), `option "size"`},
		{with(image, func(r *providers.Request) { r.N = 2 }), `option "n"`},
		{with(image, func(r *providers.Request) { r.Prompt = strings.Repeat("é", 10_001) }), "prompt: must be at most 10000 characters, got 10001"},
		{with(image, func(r *providers.Request) { r.NegativePrompt = strings.Repeat("é", 10_001) }), "negative_prompt: "},
		{with(image, func(r *providers.Request) { r.AspectRatio = "7:3" }), `aspect_ratio: must be 21:9, 16:9`},
		{with(image, func(r *providers.Request) { r.Style = "vivid" }), `style: must be enhance`},
		{with(image, func(r *providers.Request) { r.OutputFormat = "gif" }), `output_format: must be png, jpeg, webp, got "gif"`},
		{with(image, func(r *providers.Request) { r.Seed = new(int64(-1)) }), "seed: must be from 0 to 4294967294, got -1"},
		{with(image, func(r *providers.Request) { r.Seed = new(int64(4294967295)) }), "seed: "},
		{with(image, func(r *providers.Request) { r.Extra = extra("image", `"x"`) }), "extra.image: "},
		{with(image, func(r *providers.Request) { r.Extra = extra("style_preset", `"anime"`) }), "extra.style_preset: has a name of its own"},
		{with(image, func(r *providers.Request) { r.Extra = extra("seed", `1`) }), "extra.seed: has a name of its own"},
		{with(image, func(r *providers.Request) { r.Extra = extra("list", `[1]`) }), "extra.list: must be a string"},
		{with(image, func(r *providers.Request) { r.Extra = extra("nothing", `null`) }), "extra.nothing: must be a string"},
	} {
		err := stability.Descriptor().Capabilities().Check(c.req)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestTheDefaultModelIsOnOffer(t *testing.T) {
	t.Parallel()
	caps := stability.Descriptor().Capabilities()
	if err := caps.Check(providers.Request{Task: providers.Image, Prompt: "p", Model: caps.Tasks[providers.Image].DefaultModel}); err != nil {
		t.Error(err)
	}
}

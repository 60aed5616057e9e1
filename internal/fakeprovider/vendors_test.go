package fakeprovider_test

import (
	"bytes"
	"image/png"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
)

type message struct {
	Type       string `json:"type"`
	StopReason string `json:"stop_reason"`
	Stop       string `json:"stop_sequence"`
	Content    []struct {
		Text string `json:"text"`
	} `json:"content"`
	Usage struct {
		Input      int64 `json:"input_tokens"`
		Output     int64 `json:"output_tokens"`
		CacheWrite int64 `json:"cache_creation_input_tokens"`
		CacheRead  int64 `json:"cache_read_input_tokens"`
	} `json:"usage"`
}

func TestAnthropicAnswersAndCountsItsCacheBeside(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	body := `{"model":"m","max_tokens":1000,"system":"12345678","cache_control":{"type":"ephemeral"},"messages":[{"role":"user","content":"12345"}]}`
	for i, want := range [][2]int64{{2, 0}, {0, 2}} {
		r := send(t, request(t, s, fakeprovider.Anthropic, body))
		r.has(t, 200)
		var m message
		r.into(t, &m)
		if m.Type != "message" || m.StopReason != "end_turn" || m.Usage.Input != 2 || m.Usage.Output != int64(len(m.Content[0].Text)+3)/4 {
			t.Errorf("call %d: %+v", i, m)
		}
		if m.Usage.CacheWrite != want[0] || m.Usage.CacheRead != want[1] {
			t.Errorf("call %d: cache %+v", i, m.Usage)
		}
		if r.header.Get("Request-Id") == "" {
			t.Error("no request id")
		}
	}
	var m message
	send(t, request(t, s, fakeprovider.Anthropic, `{"model":"m","max_tokens":2,"messages":[{"role":"user","content":"a"}]}`)).into(t, &m)
	if m.StopReason != "max_tokens" || m.Usage.Output != 2 {
		t.Errorf("%+v", m)
	}
	send(t, request(t, s, fakeprovider.Anthropic, `{"model":"m","max_tokens":999,"stop_sequences":["."],"messages":[{"role":"user","content":"a"}]}`)).into(t, &m)
	if m.StopReason != "stop_sequence" || m.Stop != "." {
		t.Errorf("%+v", m)
	}
}

func TestAnthropicRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{Models: []string{"m"}})
	user := `"messages":[{"role":"user","content":"a"}]`
	for body, want := range map[string]string{
		`{`:                             "not valid JSON",
		`{"max_tokens":1,` + user + `}`: "model: Field required",
		`{"model":"m",` + user + `}`:    "max_tokens: Field required",
		`{"model":"m","max_tokens":1}`:  "messages: Field required",
		`{"model":"m","max_tokens":0,` + user + `}`:                                 "greater than or equal to 1",
		`{"model":"m","max_tokens":1,"seed":1,` + user + `}`:                        "seed: Extra inputs are not permitted",
		`{"model":"m","max_tokens":1,"temperature":1.5,` + user + `}`:               "temperature: Input should be less than or equal to 1",
		`{"model":"m","max_tokens":"1",` + user + `}`:                               "max_tokens: Input should be a valid",
		`{"model":"m","max_tokens":1,"messages":[{"role":"system","content":"a"}]}`: "top-level `system` parameter",
		`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":""}]}`:    "must be non-empty",
		`{"model":"m","max_tokens":1,"stop_sequences":[" "],` + user + `}`:          "non-whitespace",
	} {
		send(t, request(t, s, fakeprovider.Anthropic, body)).has(t, 400, want, `"type":"error"`, `"type":"invalid_request_error"`, `"request_id":"req_`)
	}
	send(t, request(t, s, fakeprovider.Anthropic, `{"model":"other","max_tokens":1,`+user+`}`)).has(t, 404, `"type":"not_found_error"`)
	r := request(t, s, fakeprovider.Anthropic, `{}`)
	r.Header.Del("Anthropic-Version")
	send(t, r).has(t, 400, "anthropic-version")
}

func TestStabilityDrawsAndTakesCredits(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	r := send(t, formRequest(t, s, "/v2beta/stable-image/generate/core", map[string]string{"prompt": "a fox", "aspect_ratio": "16:9", "seed": "7"}))
	r.has(t, 200)
	img, err := png.Decode(bytes.NewReader(r.body))
	if err != nil || img.Bounds().Dx() != 1344 || img.Bounds().Dy() != 768 {
		t.Errorf("no PNG of 1344x768: %v", err)
	}
	if r.header.Get("Finish-Reason") != "SUCCESS" || r.header.Get("Seed") != "7" || r.header.Get("Content-Type") != "image/png" {
		t.Errorf("%v", r.header)
	}
	get(t, s, fakeprovider.Stability, "/v1/user/balance").has(t, 200, `{"credits":997}`)

	asJSON := formRequest(t, s, "/v2beta/stable-image/generate/sd3", map[string]string{"prompt": "a", "model": "sd3.5-medium", "output_format": "jpeg"})
	asJSON.Header.Set("Accept", "application/json")
	r = send(t, asJSON)
	r.has(t, 200, `"finish_reason":"SUCCESS"`, `"image":"/9j/`)
	if got := r.header.Get("Content-Type"); got != "application/json; type=image/jpeg" {
		t.Error(got)
	}
	get(t, s, fakeprovider.Stability, "/v1/user/balance").has(t, 200, `{"credits":993.5}`)
}

func TestStabilityRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	const core, sd3 = "/v2beta/stable-image/generate/core", "/v2beta/stable-image/generate/sd3"
	for _, c := range []struct {
		path   string
		fields map[string]string
		want   string
	}{
		{core, map[string]string{"seed": "1"}, "prompt: is required"},
		{core, map[string]string{"prompt": strings.Repeat("a", 10001)}, "prompt: cannot exceed 10000 characters"},
		{core, map[string]string{"prompt": "a", "aspect_ratio": "4:3"}, "aspect_ratio: must be one of"},
		{core, map[string]string{"prompt": "a", "seed": "-1"}, "seed: must be a number"},
		{core, map[string]string{"prompt": "a", "style_preset": "ugly"}, "style_preset"},
		{core, map[string]string{"prompt": "a", "model": "sd3.5-large"}, "model: is not a known field"},
		{core, map[string]string{"prompt": "a", "output_format": "gif"}, "output_format: must be one of"},
		{sd3, map[string]string{"prompt": "a", "model": "sd2"}, "model: must be one of"},
	} {
		send(t, formRequest(t, s, c.path, c.fields)).has(t, 400, c.want, `"name":"bad_request"`, `"errors":["`, `"id":"`)
	}
	send(t, post(t, s, fakeprovider.Stability, core, `{"prompt":"a"}`)).has(t, 400, "content-type: must be multipart/form-data")
	r := formRequest(t, s, core, map[string]string{"prompt": "a"})
	r.Header.Set("Accept", "text/html")
	send(t, r).has(t, 400, "accept: must be one of")
	send(t, formRequest(t, s, core, map[string]string{"prompt": strings.Repeat("a", 11<<20)})).has(t, 413, "payload_too_large")
	send(t, formRequest(t, s, "/v2beta/stable-image/generate/sd9", map[string]string{"prompt": "a"})).has(t, 404)
}

func TestElevenLabsSpeaksAndSaysWhatItCost(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	r := send(t, request(t, s, fakeprovider.ElevenLabs, `{"text":"Grüße"}`))
	r.has(t, 200)
	if r.header.Get("Character-Cost") != "5" || r.header.Get("Content-Type") != "audio/mpeg" || r.header.Get("Request-Id") == "" || r.body[0] != 0xff {
		t.Errorf("%v", r.header)
	}
	r = send(t, post(t, s, fakeprovider.ElevenLabs, "/v1/text-to-speech/anna?output_format=wav_16000", `{"text":"12345","model_id":"eleven_flash_v2_5"}`))
	if r.header.Get("Character-Cost") != "3" || !strings.HasPrefix(string(r.body), "RIFF") {
		t.Errorf("%v", r.header)
	}
	get(t, s, fakeprovider.ElevenLabs, "/v1/user").has(t, 200, `"character_count":8`, `"character_limit":1000`, `"tier"`)
	get(t, s, fakeprovider.ElevenLabs, "/v1/user/subscription").has(t, 200, `"character_count":8`)
}

func TestElevenLabsRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{Voices: []string{"anna"}, Models: []string{"eleven_v3", "eleven_multilingual_v2"}})
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"anna", `{}`, 422, `"loc":["body","text"]`},
		{"anna", `{"text":1}`, 422, `"loc":["body","text"]`},
		{"anna", `{"text":"a","colour":"red"}`, 422, `"loc":["body","colour"]`},
		{"anna", `{"text":"a","voice_settings":{"stability":2}}`, 422, `"stability"`},
		{"anna", `{"text":""}`, 400, `"status":"input_text_empty"`},
		{"anna", `{"text":"` + strings.Repeat("a", 5001) + `","model_id":"eleven_v3"}`, 400, `"status":"max_character_limit_exceeded"`},
		{"anna", `{"text":"a","model_id":"other"}`, 400, `"status":"model_not_found"`},
		{"anna?output_format=wax_1", `{"text":"a"}`, 400, `"status":"invalid_output_format"`},
		{"bert", `{"text":"a"}`, 404, `"status":"voice_not_found"`},
	} {
		send(t, post(t, s, fakeprovider.ElevenLabs, "/v1/text-to-speech/"+c.path, c.body)).has(t, c.status, c.want, `{"detail":`)
	}
}

func TestEachVendorListsItsModelsAtTheSamePath(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	get(t, s, fakeprovider.OpenAI, "/v1/models").has(t, 200, `"object":"list"`)
	get(t, s, fakeprovider.Anthropic, "/v1/models").has(t, 200, `"has_more":false`)
	get(t, s, fakeprovider.ElevenLabs, "/v1/models").has(t, 200, `"model_id"`)
	get(t, s, fakeprovider.ElevenLabs, "/elevenlabs/v1/models").has(t, 200, `"model_id"`)
}

func TestKeysAreCheckedInEachVendorsOwnHeader(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{Keys: map[string]*fakeprovider.Behaviour{key: nil}})
	for vendor, want := range map[fakeprovider.Vendor][2]string{
		fakeprovider.OpenAI:     {`"code":"invalid_api_key"`, "You didn't provide an API key"},
		fakeprovider.Anthropic:  {`"invalid x-api-key"`, "x-api-key header is required"},
		fakeprovider.Stability:  {`"name":"unauthorized"`, "authorization: is required"},
		fakeprovider.ElevenLabs: {`"status":"invalid_api_key"`, `"status":"needs_authorization"`},
	} {
		send(t, good(t, s, vendor)).has(t, 200)
		r := good(t, s, vendor)
		authorise(r, vendor, "another-key-4321")
		send(t, r).has(t, 401, want[0])
		r = good(t, s, vendor)
		r.URL.Path = "/" + string(vendor) + r.URL.Path
		for _, name := range []string{"Authorization", "X-Api-Key", "Xi-Api-Key"} {
			r.Header.Del(name)
		}
		send(t, r).has(t, 401, want[1])
	}
}

package fakeprovider_test

import (
	"bytes"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"oneflow/internal/fakeprovider"
)

type completion struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Model   string `json:"model"`
	Choices []struct {
		FinishReason string `json:"finish_reason"`
		Message      struct {
			Role    string  `json:"role"`
			Content *string `json:"content"`
			Refusal *string `json:"refusal"`
		} `json:"message"`
	} `json:"choices"`
	Usage struct {
		Prompt  int64 `json:"prompt_tokens"`
		Output  int64 `json:"completion_tokens"`
		Total   int64 `json:"total_tokens"`
		Details struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		OutputDetails struct {
			Reasoning int64 `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	} `json:"usage"`
}

func TestOpenAIChatAnswersAndCounts(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	body := `{"model":"gpt-4o","messages":[{"role":"system","content":"12345"},{"role":"user","content":[{"type":"text","text":"1234"}]}]}`
	r := send(t, request(t, s, fakeprovider.OpenAI, body))
	r.has(t, 200)
	var c completion
	r.into(t, &c)
	text := *c.Choices[0].Message.Content
	if c.Object != "chat.completion" || c.Model != "gpt-4o" || c.Choices[0].FinishReason != "stop" || text == "" {
		t.Errorf("%+v", c)
	}
	if c.Usage.Prompt != 2+1 || c.Usage.Output != int64(len(text)+3)/4 || c.Usage.Total != c.Usage.Prompt+c.Usage.Output {
		t.Errorf("%+v for %q", c.Usage, text)
	}
	if r.header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
	var again completion
	send(t, post(t, s, fakeprovider.OpenAI, "/openai/v1/chat/completions", body)).into(t, &again)
	if *again.Choices[0].Message.Content != text {
		t.Error("the same request got another text")
	}
}

func TestOpenAIChatCountsCachedAndReasoningTokensInside(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	var c completion
	send(t, request(t, s, fakeprovider.OpenAI,
		`{"model":"gpt-5-mini","max_completion_tokens":70,"n":2,"messages":[{"role":"user","content":"`+strings.Repeat("abcd", 2500)+`"}]}`)).into(t, &c)
	if c.Usage.Prompt != 2500 || c.Usage.Details.Cached != 2048 {
		t.Errorf("%+v", c.Usage)
	}
	if c.Usage.OutputDetails.Reasoning != 128 || c.Usage.Output != 140 || c.Choices[0].FinishReason != "length" || len(c.Choices) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestOpenAIChatWritesJSONForASchema(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	var c completion
	send(t, request(t, s, fakeprovider.OpenAI, `{"model":"m","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema",
		"json_schema":{"name":"n","schema":{"type":"object","properties":{"colour":{"enum":["red"]}}}}}}`)).into(t, &c)
	if got := *c.Choices[0].Message.Content; got != `{"colour":"red"}` {
		t.Errorf("got %s", got)
	}
}

func TestOpenAIRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{Models: []string{"m", "o3", "gpt-image-1", "dall-e-3"}})
	const chat, images, speech, videos = "/v1/chat/completions", "/v1/images/generations", "/v1/audio/speech", "/v1/videos"
	user := `"messages":[{"role":"user","content":"a"}]`
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       string
	}{
		"no JSON":       {chat, `{"a`, 400, "could not parse the JSON body"},
		"no model":      {chat, `{` + user + `}`, 400, "you must provide a model parameter"},
		"no messages":   {chat, `{"model":"m"}`, 400, `"code":"missing_required_parameter"`},
		"empty":         {chat, `{"model":"m","messages":[]}`, 400, `"code":"empty_array"`},
		"role":          {chat, `{"model":"m","messages":[{"role":"boss","content":"a"}]}`, 400, `"param":"messages[0].role"`},
		"content":       {chat, `{"model":"m","messages":[{"role":"user"}]}`, 400, `"param":"messages[0].content"`},
		"unknown field": {chat, `{"model":"m","top_k":1,` + user + `}`, 400, `"param":"top_k"`},
		"type":          {chat, `{"model":"m","temperature":"hot",` + user + `}`, 400, `"code":"invalid_type"`},
		"temperature":   {chat, `{"model":"m","temperature":3,` + user + `}`, 400, `"code":"decimal_above_max_value"`},
		"max_tokens":    {chat, `{"model":"m","max_tokens":0,` + user + `}`, 400, `"code":"integer_below_min_value"`},
		"reasoning":     {chat, `{"model":"o3","max_tokens":5,` + user + `}`, 400, `"code":"unsupported_parameter"`},
		"both":          {chat, `{"model":"m","max_tokens":5,"max_completion_tokens":5,` + user + `}`, 400, "at the same time"},
		"stop":          {chat, `{"model":"m","stop":["a","b","c","d","e"],` + user + `}`, 400, `"param":"stop"`},
		"json":          {chat, `{"model":"m","response_format":{"type":"json_object"},` + user + `}`, 400, "must contain the word 'json'"},
		"model":         {chat, `{"model":"other",` + user + `}`, 404, `"code":"model_not_found"`},
		"no prompt":     {images, `{"model":"gpt-image-1"}`, 400, `"param":"prompt"`},
		"size":          {images, `{"model":"gpt-image-1","prompt":"a","size":"7x7"}`, 400, `"param":"size"`},
		"format":        {images, `{"model":"gpt-image-1","prompt":"a","response_format":"url"}`, 400, `"code":"unknown_parameter"`},
		"n":             {images, `{"model":"dall-e-3","prompt":"a","n":2}`, 400, `"param":"n"`},
		"no voice":      {speech, `{"model":"m","input":"a"}`, 400, `"param":"voice"`},
		"speed":         {speech, `{"model":"m","input":"a","voice":"ash","speed":9}`, 400, `"param":"speed"`},
		"long":          {speech, `{"model":"m","voice":"ash","input":"` + strings.Repeat("a", 4097) + `"}`, 400, "length 4097"},
		"opus":          {speech, `{"model":"m","voice":"ash","input":"a","response_format":"opus"}`, 400, "cannot make opus"},
		"seconds":       {videos, `{"model":"sora-2","prompt":"a","seconds":"5"}`, 400, `"param":"seconds"`},
		"no such path":  {"/v1/other", `{}`, 404, "Invalid URL (POST /v1/other)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send(t, post(t, s, fakeprovider.OpenAI, c.path, c.body)).has(t, c.status, c.want, `"error":{"message":`)
		})
	}
}

func TestOpenAIPictures(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	type images struct {
		Data []struct {
			B64     []byte `json:"b64_json"`
			URL     string `json:"url"`
			Revised string `json:"revised_prompt"`
		} `json:"data"`
		Usage *struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		} `json:"usage"`
	}
	var gpt images
	send(t, post(t, s, fakeprovider.OpenAI, "/v1/images/generations",
		`{"model":"gpt-image-1","prompt":"a fox!!!","n":2,"size":"1536x1024","quality":"low","output_format":"jpeg"}`)).into(t, &gpt)
	if len(gpt.Data) != 2 || gpt.Usage == nil || gpt.Usage.Input != 2 || gpt.Usage.Output != 2*408 {
		t.Fatalf("%d pictures, usage %+v", len(gpt.Data), gpt.Usage)
	}
	if img, err := jpeg.Decode(bytes.NewReader(gpt.Data[1].B64)); err != nil || img.Bounds().Dx() != 1536 {
		t.Errorf("no JPEG of 1536 pixels: %v", err)
	}

	var dalle images
	send(t, post(t, s, fakeprovider.OpenAI, "/v1/images/generations", `{"model":"dall-e-3","prompt":"a fox"}`)).into(t, &dalle)
	if dalle.Usage != nil || dalle.Data[0].Revised == "" || !strings.HasPrefix(dalle.Data[0].URL, s.URL) {
		t.Fatalf("%+v", dalle)
	}
	r := post(t, s, fakeprovider.OpenAI, strings.TrimPrefix(dalle.Data[0].URL, s.URL), "")
	r.Method = "GET"
	r.Header.Del("Authorization")
	if _, err := png.Decode(bytes.NewReader(send(t, r).body)); err != nil {
		t.Error(err)
	}
}

func TestOpenAISpeech(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	for format, magic := range map[string]string{"": "\xff\xfb", "mp3": "\xff\xfb", "wav": "RIFF", "pcm": "\x00\x00"} {
		r := send(t, post(t, s, fakeprovider.OpenAI, "/v1/audio/speech", `{"model":"tts-1","voice":"ash","input":"hello","response_format":"`+format+`"}`))
		r.has(t, 200)
		if !strings.HasPrefix(string(r.body), magic) || !strings.HasPrefix(r.header.Get("Content-Type"), "audio/") {
			t.Errorf("%q: %s, % x", format, r.header.Get("Content-Type"), r.body[:4])
		}
	}
}

func TestOpenAIVideoIsPolledUntilItIsReady(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{VideoPolls: 2})
	create := func() string {
		var v struct {
			ID     string `json:"id"`
			Status string `json:"status"`
		}
		send(t, post(t, s, fakeprovider.OpenAI, "/v1/videos", `{"model":"wan","prompt":"waves","seconds":"2","size":"64x48"}`)).into(t, &v)
		if v.Status != "queued" {
			t.Errorf("%+v", v)
		}
		return "/v1/videos/" + v.ID
	}
	path := create()
	get(t, s, fakeprovider.OpenAI, path+"/content").has(t, 404)
	for range 2 {
		get(t, s, fakeprovider.OpenAI, path).has(t, 200, `"status":"in_progress"`)
	}
	get(t, s, fakeprovider.OpenAI, path).has(t, 200, `"status":"completed"`)
	if film := get(t, s, fakeprovider.OpenAI, path+"/content"); film.header.Get("Content-Type") != "video/mp4" || string(film.body[4:8]) != "ftyp" {
		t.Errorf("no film: % x", film.body[:12])
	}
	get(t, s, fakeprovider.OpenAI, "/v1/videos/none").has(t, 404, `"code":"not_found"`)

	s.Next(fakeprovider.VideoFailed, 1)
	path = create()
	for range 2 {
		get(t, s, fakeprovider.OpenAI, path)
	}
	get(t, s, fakeprovider.OpenAI, path).has(t, 200, `"status":"failed"`, `"code":"video_generation_failed"`)
}

package openai_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
)

// The official client is the oracle: what it sends for a request, and what it reads
// of an answer, is what our client sends and reads.

// sentBoth makes the same request with both clients and compares what a server got.
func sentBoth(t *testing.T, req providers.Request, change change, official func(sdk.Client) error) {
	t.Helper()
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/speech"):
			_, _ = w.Write([]byte(mp3))
		case strings.HasSuffix(r.URL.Path, "/generations"):
			saysJSON(`{"data":[{"b64_json":"`+png64+`"}]}`)(w, r)
		case strings.HasSuffix(r.URL.Path, "/models"):
			saysJSON(`{"object":"list","data":[]}`)(w, r)
		default:
			saysJSON(completion)(w, r)
		}
	})
	ours := provider(t, s, change)
	var err error
	if req.Task == "" {
		err = ours.CheckKey(t.Context(), secret)
	} else {
		_, err = ours.Generate(t.Context(), req)
	}
	if err != nil {
		t.Fatal(err)
	}
	var config openai.Config
	change(&config)
	options := []option.RequestOption{option.WithAPIKey(secret), option.WithMaxRetries(0), option.WithBaseURL(s.URL + "/v1")}
	if address, query, found := strings.Cut(config.BaseURL, "?"); found {
		options = append(options, option.WithBaseURL(address))
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		for name := range values {
			options = append(options, option.WithQueryAdd(name, values.Get(name)))
		}
	}
	if config.Organization != "" {
		options = append(options, option.WithOrganization(config.Organization), option.WithProject(config.Project))
	}
	if config.KeyHeader != "" {
		options = append(options, option.WithHeader(config.KeyHeader, secret), option.WithHeaderDel("Authorization"))
	}
	if err := official(sdk.NewClient(options...)); err != nil {
		t.Fatal(err)
	}
	calls := s.Requests()
	if len(calls) != 2 {
		t.Fatalf("%d calls, want one of each client", len(calls))
	}
	our, want := calls[0], calls[1]
	if our.Method != want.Method || our.URL != want.URL {
		t.Errorf("we call %s %s, the official client %s %s", our.Method, our.URL, want.Method, want.URL)
	}
	for _, name := range []string{"Authorization", "Content-Type", "Accept", "Api-Key", "Openai-Organization", "Openai-Project"} {
		if our.Header.Get(name) != want.Header.Get(name) {
			t.Errorf("%s: we send %q, the official client %q", name, our.Header.Get(name), want.Header.Get(name))
		}
	}
	if len(want.Body) > 0 {
		sameJSON(t, our.Body, string(want.Body))
	}
}

func TestWeSendWhatTheOfficialClientSends(t *testing.T) {
	t.Parallel()
	half, zero, seed, strict := 0.5, 0.0, int64(0), true
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	none := func(*openai.Config) {}
	schema := &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
		Name: "n", Description: "d <&>", Strict: &strict, Schema: raw(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}`),
	}}
	chats := map[string]providers.Request{
		"the least": {Task: providers.Text, Model: "m", Prompt: prompt},
		"all options": {
			Task: providers.Text, Model: "m", Prompt: "é <b>&amp; 🦊 \u2028 \x00 \xff", System: "Be brief.", MaxTokens: 9, Temperature: &zero, TopP: &half,
			Stop: []string{"A", "B"}, Seed: &seed, ResponseFormat: schema,
			Extra: map[string]json.RawMessage{"verbosity": raw(`"low"`), "logit_bias": raw(`{"1":-100}`), "odd.na|me": raw(`null`), "x": raw(`1.00`)},
		},
		"a conversation": {Task: providers.Text, Model: "m", ResponseFormat: &providers.ResponseFormat{Type: "json_object"}, Messages: []providers.Message{
			{Role: "system", Content: "s"},
			{Role: "user", Content: "u"},
			{Role: "assistant", Content: "a"},
			{Role: "user", Content: prompt},
		}},
		"a plain format": {Task: providers.Text, Model: "m", Prompt: prompt, ResponseFormat: &providers.ResponseFormat{Type: "text"}},
	}
	for name, req := range chats {
		for kind, is := range map[string]change{"": none, ", to a compatible server": compatible} {
			t.Run("chat, "+name+kind, func(t *testing.T) {
				t.Parallel()
				sentBoth(t, req, is, func(c sdk.Client) error {
					_, err := c.Chat.Completions.New(t.Context(), officialText(req.Model, kind != "", req))
					return err
				})
			})
		}
	}
	for name, req := range map[string]providers.Request{
		"the least":       {Task: providers.Image, Model: "m", Prompt: prompt},
		"all of an image": {Task: providers.Image, Model: "gpt-image-2", Prompt: prompt, N: 2, Size: "1024x1024", Quality: "low", Background: "opaque", OutputFormat: "webp", Extra: map[string]json.RawMessage{"moderation": raw(`"low"`)}},
		"DALL·E":          {Task: providers.Image, Model: "dall-e-3", Prompt: prompt, N: 1, Size: "1024x1024", Quality: "hd", Style: "vivid"},
	} {
		t.Run("picture, "+name, func(t *testing.T) {
			t.Parallel()
			sentBoth(t, req, none, func(c sdk.Client) error {
				_, err := c.Images.Generate(t.Context(), officialImage(req.Model, req))
				return err
			})
		})
	}
	for name, req := range map[string]providers.Request{
		"the least":   {Task: providers.Audio, Model: "tts-1", Prompt: prompt},
		"all options": {Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: prompt, Voice: "coral", Speed: &half, OutputFormat: "mp3", Extra: map[string]json.RawMessage{"instructions": raw(`"softly"`)}},
		"own voice":   {Task: providers.Audio, Model: "gpt-4o-mini-tts", Prompt: prompt, Voice: "voice_1"},
	} {
		t.Run("speech, "+name, func(t *testing.T) {
			t.Parallel()
			sentBoth(t, req, none, func(c sdk.Client) error {
				res, err := c.Audio.Speech.New(t.Context(), officialSpeech(req.Model, req))
				if err == nil {
					_ = res.Body.Close()
				}
				return err
			})
		})
	}
	models := func(ctx context.Context) func(c sdk.Client) error {
		return func(c sdk.Client) error { _, err := c.Models.List(ctx); return err }
	}
	t.Run("models", func(t *testing.T) {
		t.Parallel()
		sentBoth(t, providers.Request{}, none, models(t.Context()))
	})
	t.Run("models, for an organisation", func(t *testing.T) {
		t.Parallel()
		sentBoth(t, providers.Request{}, func(c *openai.Config) { c.Organization, c.Project = "org-1", "proj-1" }, models(t.Context()))
	})
}

func TestAnotherAddressIsCalledAsTheOfficialClientCallsIt(t *testing.T) {
	t.Parallel()
	s := providertest.Serve(t, saysJSON(completion))
	azure := func(c *openai.Config) {
		c.Compatible, c.KeyHeader, c.BaseURL = true, "api-key", s.URL+"/openai/deployments/d?api-version=2026-01-01&x=a%20b"
	}
	req := providers.Request{Task: providers.Text, Model: "m", Prompt: prompt}
	providertest.Generate(t, provider(t, s, azure), req)
	c := sdk.NewClient(option.WithBaseURL(s.URL+"/openai/deployments/d"), option.WithMaxRetries(0), option.WithQuery("api-version", "2026-01-01"),
		option.WithQuery("x", "a b"), option.WithHeader("api-key", secret))
	if _, err := c.Chat.Completions.New(t.Context(), officialText("m", true, req)); err != nil {
		t.Fatal(err)
	}
	calls := s.Requests()
	if calls[0].URL != calls[1].URL || calls[0].Header.Get("Api-Key") != calls[1].Header.Get("Api-Key") {
		t.Errorf("we call %s, the official client %s", calls[0].URL, calls[1].URL)
	}
}

func TestWeReadWhatTheOfficialClientReads(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a completion": completion,
		"escapes":      `{"id":"c","model":"m","choices":[{"finish_reason":"length","message":{"content":"\u00e9\ud83e\udd8a\n\"x\" \ud800 <&>"}}],"usage":{"prompt_tokens":9007199254740,"completion_tokens":1}}`,
		"two choices":  `{"id":"c","model":"m","choices":[{"finish_reason":"stop","message":{"content":"a"}},{"finish_reason":"stop","message":{"content":"b"}}]}`,
		"a tool":       `{"id":"c","model":"m","choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}}],"usage":{"prompt_tokens":5,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(body))
			got := providertest.Generate(t, provider(t, s), text())
			client := sdk.NewClient(option.WithBaseURL(s.URL+"/v1"), option.WithAPIKey(secret), option.WithMaxRetries(0))
			want, err := client.Chat.Completions.New(t.Context(), officialText("m", false, text()))
			if err != nil {
				t.Fatal(err)
			}
			if c := want.Choices[0]; got.Text != c.Message.Content || got.FinishReason != c.FinishReason || got.Model != want.Model {
				t.Errorf("we read %q, %q, %q, the official client %q, %q, %q", got.Text, got.FinishReason, got.Model, c.Message.Content, c.FinishReason, want.Model)
			}
			if u := want.Usage; !got.Usage.Implausible && (got.Usage.TotalInput() != u.PromptTokens || got.Usage.TotalOutput() != u.CompletionTokens ||
				got.Usage.CachedInputTokens != u.PromptTokensDetails.CachedTokens || got.Usage.ReasoningTokens != u.CompletionTokensDetails.ReasoningTokens) {
				t.Errorf("we read %+v, the official client %+v", got.Usage, u)
			}
		})
	}
	t.Run("pictures", func(t *testing.T) {
		t.Parallel()
		s := providertest.Serve(t, saysJSON(`{"created":1,"data":[{"b64_json":"`+png64+`"},{"b64_json":"`+png64+`"}],"usage":{"input_tokens":10,"output_tokens":20,"total_tokens":30,"input_tokens_details":{"text_tokens":4,"image_tokens":6}}}`))
		got := providertest.Generate(t, provider(t, s), image())
		client := sdk.NewClient(option.WithBaseURL(s.URL+"/v1"), option.WithAPIKey(secret), option.WithMaxRetries(0))
		want, err := client.Images.Generate(t.Context(), officialImage("m", image()))
		if err != nil {
			t.Fatal(err)
		}
		for i, picture := range want.Data {
			data, err := base64.StdEncoding.DecodeString(picture.B64JSON)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(data, got.Blobs[i].Data); diff != "" {
				t.Errorf("picture %d differs:\n%s", i, diff)
			}
		}
		if u := want.Usage; got.Usage.InputTokens != u.InputTokensDetails.TextTokens || got.Usage.ImageInputTokens != u.InputTokensDetails.ImageTokens || got.Usage.ImageOutputTokens != u.OutputTokens {
			t.Errorf("we read %+v, the official client %+v", got.Usage, u)
		}
	})
}

// officialText is req in the official client's words.
func officialText(model string, compatible bool, req providers.Request) sdk.ChatCompletionNewParams {
	params := sdk.ChatCompletionNewParams{Model: model, Messages: chat(req)}
	if req.MaxTokens > 0 && compatible {
		params.MaxTokens = sdk.Int(req.MaxTokens)
	} else if req.MaxTokens > 0 {
		params.MaxCompletionTokens = sdk.Int(req.MaxTokens)
	}
	if req.Temperature != nil {
		params.Temperature = sdk.Float(*req.Temperature)
	}
	if req.TopP != nil {
		params.TopP = sdk.Float(*req.TopP)
	}
	if req.Seed != nil {
		params.Seed = sdk.Int(*req.Seed)
	}
	params.Stop.OfStringArray = req.Stop
	if f := req.ResponseFormat; f != nil {
		params.ResponseFormat = responseFormat(f)
	}
	params.SetExtraFields(extra(req))
	return params
}

// chat is the conversation: the system prompt first.
func chat(req providers.Request) []sdk.ChatCompletionMessageParamUnion {
	var messages []sdk.ChatCompletionMessageParamUnion
	if req.System != "" {
		messages = append(messages, sdk.SystemMessage(req.System))
	}
	for _, m := range req.Messages {
		switch m.Role {
		case "system":
			messages = append(messages, sdk.SystemMessage(m.Content))
		case "assistant":
			messages = append(messages, sdk.AssistantMessage(m.Content))
		default:
			messages = append(messages, sdk.UserMessage(m.Content))
		}
	}
	if req.Prompt != "" {
		messages = append(messages, sdk.UserMessage(req.Prompt))
	}
	return messages
}

func responseFormat(f *providers.ResponseFormat) sdk.ChatCompletionNewParamsResponseFormatUnion {
	switch f.Type {
	case "json_schema":
		schema := shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: f.JSONSchema.Name, Schema: f.JSONSchema.Schema}
		if f.JSONSchema.Description != "" {
			schema.Description = sdk.String(f.JSONSchema.Description)
		}
		if f.JSONSchema.Strict != nil {
			schema.Strict = sdk.Bool(*f.JSONSchema.Strict)
		}
		return sdk.ChatCompletionNewParamsResponseFormatUnion{
			OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{JSONSchema: schema},
		}
	case "json_object":
		return sdk.ChatCompletionNewParamsResponseFormatUnion{OfJSONObject: &shared.ResponseFormatJSONObjectParam{}}
	default:
		return sdk.ChatCompletionNewParamsResponseFormatUnion{OfText: &shared.ResponseFormatTextParam{}}
	}
}

// extra returns the fields that a request adds in OpenAI's own words.
func extra(req providers.Request) map[string]any {
	if len(req.Extra) == 0 {
		return nil
	}
	fields := make(map[string]any, len(req.Extra))
	for name, value := range req.Extra {
		fields[name] = value
	}
	return fields
}

// officialImage is req in OpenAI's words.
func officialImage(model string, req providers.Request) sdk.ImageGenerateParams {
	params := sdk.ImageGenerateParams{
		Prompt:       req.Prompt,
		Model:        model,
		Size:         sdk.ImageGenerateParamsSize(req.Size),
		Quality:      sdk.ImageGenerateParamsQuality(req.Quality),
		Background:   sdk.ImageGenerateParamsBackground(req.Background),
		Style:        sdk.ImageGenerateParamsStyle(req.Style),
		OutputFormat: sdk.ImageGenerateParamsOutputFormat(req.OutputFormat),
	}
	if req.N > 0 {
		params.N = sdk.Int(int64(req.N))
	}
	if strings.HasPrefix(model, "dall-e-") {
		// Else the answer names addresses, which cost another call and expire.
		params.ResponseFormat = sdk.ImageGenerateParamsResponseFormatB64JSON
	}
	params.SetExtraFields(extra(req))
	return params
}

// officialSpeech is req in OpenAI's words.
func officialSpeech(model string, req providers.Request) sdk.AudioSpeechNewParams {
	params := sdk.AudioSpeechNewParams{
		Input:          req.Prompt,
		Model:          model,
		ResponseFormat: sdk.AudioSpeechNewParamsResponseFormat(req.OutputFormat),
	}
	switch {
	case strings.HasPrefix(req.Voice, "voice_"): // one of the customer's own
		params.Voice.OfAudioSpeechNewsVoiceID = &sdk.AudioSpeechNewParamsVoiceID{ID: req.Voice}
	case req.Voice != "":
		params.Voice.OfString = sdk.String(req.Voice)
	default:
		params.Voice.OfString = sdk.String("alloy")
	}
	if req.Speed != nil {
		params.Speed = sdk.Float(*req.Speed)
	}
	params.SetExtraFields(extra(req))
	return params
}

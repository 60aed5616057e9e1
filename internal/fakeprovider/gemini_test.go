package fakeprovider_test

import (
	"encoding/base64"
	"testing"

	"oneflow/internal/fakeprovider"
)

type googleAnswer struct {
	Candidates []struct {
		Content struct {
			Parts []struct {
				Text       string `json:"text"`
				Thought    bool   `json:"thought"`
				InlineData struct {
					MimeType string `json:"mimeType"`
					Data     string `json:"data"`
				} `json:"inlineData"`
			} `json:"parts"`
		} `json:"content"`
		FinishReason string `json:"finishReason"`
	} `json:"candidates"`
	Usage struct {
		Prompt     int64  `json:"promptTokenCount"`
		Candidates int64  `json:"candidatesTokenCount"`
		Thoughts   int64  `json:"thoughtsTokenCount"`
		Total      int64  `json:"totalTokenCount"`
		Tier       string `json:"serviceTier"`
	} `json:"usageMetadata"`
}

func TestGoogleCountsThinkingBesideTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	var got googleAnswer
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"text":"12345"}]}],"systemInstruction":{"parts":[{"text":"1234"}]},"serviceTier":"flex"}`)).into(t, &got)
	parts := got.Candidates[0].Content.Parts
	if len(parts) != 2 || !parts[0].Thought || got.Candidates[0].FinishReason != "STOP" || got.Usage.Tier != "flex" {
		t.Fatalf("%+v", got)
	}
	if u := got.Usage; u.Prompt != 3 || u.Candidates != int64(len(parts[1].Text)+3)/4 || u.Thoughts == 0 || u.Total != u.Prompt+u.Candidates+u.Thoughts {
		t.Errorf("%+v for %q", u, parts[1].Text)
	}
	var cut googleAnswer
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"maxOutputTokens":5,"thinkingConfig":{"thinkingBudget":3}}}`)).into(t, &cut)
	if cut.Candidates[0].FinishReason != "MAX_TOKENS" || cut.Usage.Candidates != 2 || cut.Usage.Thoughts != 3 {
		t.Errorf("%+v", cut)
	}
}

func TestGoogleDraws(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	var got googleAnswer
	send(t, request(t, s, fakeprovider.Gemini,
		`{"contents":[{"parts":[{"text":"a fox"}]}],"generationConfig":{"responseModalities":["IMAGE"],"imageConfig":{"aspectRatio":"16:9"}}}`)).into(t, &got)
	data, err := base64.StdEncoding.DecodeString(got.Candidates[0].Content.Parts[1].InlineData.Data)
	if err != nil || len(data) < 100 || string(data[1:4]) != "PNG" || got.Usage.Candidates != 1290 {
		t.Errorf("no picture: %v, %+v", err, got.Usage)
	}
}

func TestGoogleRefusesWhatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{Models: []string{"gemini-3.5-flash-lite"}})
	const turn = `"contents":[{"role":"user","parts":[{"text":"a"}]}]`
	for body, want := range map[string]string{
		`{`:                  "Invalid JSON payload",
		`{}`:                 "contents is not specified",
		`{"prompt":"a"}`:     `Unknown name \"prompt\"`,
		`{"contents":[{}]}`:  "contents.parts must not be empty",
		`{"contents":["a"]}`: "Invalid value",
		`{"contents":[{"role":"assistant","parts":[{"text":"a"}]}]}`:  "valid role: user, model",
		`{"contents":[{"parts":[{}]}]}`:                               "required oneof field",
		`{` + turn + `,"generationConfig":{"temperature":3}}`:         "temperature must be in the range",
		`{` + turn + `,"generationConfig":{"maxOutputTokens":0}}`:     "must be positive",
		`{` + turn + `,"generationConfig":{"responseJsonSchema":{}}}`: "requires response_mime_type",
		`{` + turn + `,"serviceTier":"gold"}`:                         "service_tier",
	} {
		send(t, request(t, s, fakeprovider.Gemini, body)).has(t, 400, want, `"status":"INVALID_ARGUMENT"`)
	}
	send(t, post(t, s, fakeprovider.Gemini, "/v1beta/models/other:generateContent", `{`+turn+`}`)).has(t, 404, `"status":"NOT_FOUND"`, "models/other is not found")
	get(t, s, fakeprovider.Gemini, "/v1beta/models?pageSize=1").has(t, 200, `"name":"models/gemini-3.5-flash-lite"`)

	limited := start(t, fakeprovider.Config{Default: fakeprovider.Behaviour{Limits: fakeprovider.Limits{Requests: 1}}})
	send(t, good(t, limited, fakeprovider.Gemini)).has(t, 200)
	send(t, good(t, limited, fakeprovider.Gemini)).has(t, 429, "RESOURCE_EXHAUSTED", `"retryDelay":"`, "limit: 1,")
}

package fakeprovider_test

import (
	"encoding/base64"
	"slices"
	"strings"
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

func TestGoogleEmbedsFilmsAndCallsFunctions(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{VideoPolls: 1})
	var vectors struct {
		Embeddings []struct{ Values []float32 } `json:"embeddings"`
		Usage      struct {
			Prompt int64 `json:"promptTokenCount"`
		} `json:"usageMetadata"`
	}
	const model = "/v1beta/models/gemini-embedding-2:"
	one := `{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"12345678"}]},"outputDimensionality":4}`
	send(t, post(t, s, fakeprovider.Gemini, model+"batchEmbedContents", `{"requests":[`+one+`,`+one+`]}`)).into(t, &vectors)
	if len(vectors.Embeddings) != 2 || !slices.Equal(vectors.Embeddings[1].Values, fakeprovider.Vector("12345678", 4)) || vectors.Usage.Prompt != 4 {
		t.Errorf("%+v", vectors)
	}
	send(t, post(t, s, fakeprovider.Gemini, model+"batchEmbedContents", `{"requests":[{"content":{"parts":[{"text":"a"}]}}]}`)).has(t, 400, "model must match")

	var film struct {
		Name     string `json:"name"`
		Done     bool   `json:"done"`
		Response struct {
			Video struct {
				Samples []struct {
					Video struct{ URI string } `json:"video"`
				} `json:"generatedSamples"`
			} `json:"generateVideoResponse"`
		} `json:"response"`
	}
	const veo = "/v1beta/models/veo-3.1-lite-generate-preview:predictLongRunning"
	send(t, post(t, s, fakeprovider.Gemini, veo, `{"instances":[{"prompt":"waves"}],"parameters":{"durationSeconds":5}}`)).has(t, 400, "durationSeconds")
	send(t, post(t, s, fakeprovider.Gemini, veo, `{"instances":[{"prompt":"waves"}],"parameters":{"durationSeconds":4}}`)).into(t, &film)
	get(t, s, fakeprovider.Gemini, "/v1beta/"+film.Name).into(t, &film)
	if film.Done {
		t.Error("the film is made at once")
	}
	get(t, s, fakeprovider.Gemini, "/v1beta/"+film.Name).into(t, &film)
	_, path, _ := strings.Cut(film.Response.Video.Samples[0].Video.URI, "/v1beta/")
	if got := get(t, s, fakeprovider.Gemini, "/v1beta/"+path); got.status != 200 || string(got.body[4:8]) != "ftyp" {
		t.Errorf("%d %.40s", got.status, got.body)
	}
	if bills := s.Bills(); len(bills) != 2 || bills[1].Units.MilliSeconds != 4000 || bills[1].NanoUSD != 200_000_000 || !bills[1].Known {
		t.Errorf("%+v", bills)
	}

	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`)).has(t, 200, `"functionCall":{`, `"name":"f"`)
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f"}}]}]}`)).has(t, 400, "missing a thought_signature")
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{}}}]}]}`)).has(t, 400, "number of function response parts")
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"inlineData":{"mimeType":"image/gif","data":"AA=="}}]}]}`)).has(t, 400, "Unsupported MIME type")
	send(t, request(t, s, fakeprovider.Gemini, `{"contents":[{"parts":[{"text":"a","tune":"b"}]}]}`)).has(t, 400, `Unknown name \"tune\"`)
}

func TestABillIsRoundedOnceHalfToEven(t *testing.T) {
	t.Parallel()
	s := start(t, fakeprovider.Config{})
	// 5 tokens at 10 nano-dollars, halved: 25; 1,024 of them are cached, and so on.
	send(t, request(t, s, fakeprovider.OpenAI, `{"model":"gpt-6-luna","service_tier":"flex","max_completion_tokens":1,"messages":[{"role":"user","content":"`+strings.Repeat("1234", 1025)+`"}]}`)).has(t, 200)
	b := s.Bills()[0]
	if b.Units.CachedInput != 1024 || b.Units.Input != 1 || b.Units.Output != 1 || b.NanoUSD != (1024*10+100+500)/2 {
		t.Errorf("%+v", b)
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

package fakeprovider

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Gemini is the vendor of that name: Google.
const Gemini Vendor = "gemini"

// gemini is Google's half: generateContent, for texts and pictures.
type gemini struct{ config Config }

func newGemini(config Config) vendor { return &gemini{config: config} }

func (*gemini) name() Vendor { return Gemini }

func (g *gemini) routes() []route {
	return []route{
		{method: http.MethodPost, path: "/v1beta/models/*", handle: g.method, generates: true, faults: []Fault{Refused}},
		{method: http.MethodGet, path: "/v1beta/models", handle: g.models},
	}
}

func (*gemini) key(r *http.Request) string {
	if key := r.Header.Get("X-Goog-Api-Key"); key != "" {
		return key
	}
	return r.URL.Query().Get("key")
}

// requestID is the responseId: Google puts no id in a header.
func (*gemini) requestID(n int64) string { return fmt.Sprintf("rsp%020d", n) }

// headers adds what Google adds: nothing about limits.
func (*gemini) headers(_ *call, h http.Header, _ map[dimension]level) {
	h.Set("Server-Timing", "gfet4t7; dur=1")
	h.Set("Vary", "Origin, X-Origin, Referer")
}

func (*gemini) refuse(c *call, why refusal) answer {
	const domain = "googleapis.com"
	switch why.reason {
	case unauthorised:
		if c.key == "" {
			return googleError(http.StatusForbidden, "PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without established identity). "+
				"Please use API Key or other form of API consumer identity to call this API.")
		}
		return googleError(http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", map[string]any{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": domain,
			"metadata": map[string]string{"service": "generativelanguage." + domain},
		})
	case outOfMoney:
		return googleError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED",
			"Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.")
	case moderated: // no error: an answer without candidates
		prompt := countTokens(string(c.body))
		return jsonAnswer(http.StatusOK, map[string]any{
			"promptFeedback": map[string]any{"blockReason": "PROHIBITED_CONTENT"},
			"usageMetadata":  map[string]any{"promptTokenCount": prompt, "totalTokenCount": prompt},
			"modelVersion":   c.model, "responseId": c.id,
		})
	case flagged:
		return googleError(http.StatusForbidden, "PERMISSION_DENIED", "The request was flagged as violating our usage policy.")
	case region:
		return googleError(http.StatusBadRequest, "FAILED_PRECONDITION", "User location is not supported for the API use.")
	case limited:
		return googleLimited(c, why.limit)
	case overloaded:
		return googleError(http.StatusServiceUnavailable, "UNAVAILABLE", "The model is overloaded. Please try again later.")
	case serverError:
		return googleError(http.StatusInternalServerError, "INTERNAL", "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting")
	case tooLarge:
		return googleError(http.StatusBadRequest, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.")
	case noSuchPath:
		return page(why.status, "Error 404 (Not Found)!!1")
	}
	return answer{}
}

// googleError is the error body of Google's APIs.
func googleError(status int, word, message string, details ...map[string]any) answer {
	e := map[string]any{"code": status, "message": message, "status": word}
	if len(details) > 0 {
		e["details"] = details
	}
	return jsonAnswer(status, map[string]any{"error": e})
}

func googleInvalid(message string) answer {
	return googleError(http.StatusBadRequest, "INVALID_ARGUMENT", message)
}

func googleLimited(c *call, r *brokenLimit) answer {
	wait := strconv.FormatFloat(max(r.retryAfter, time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	metric := "generativelanguage.googleapis.com/generate_content_paid_tier_requests"
	return googleError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED",
		fmt.Sprintf("You exceeded your current quota, please check your plan and billing details. "+
			"* Quota exceeded for metric: %s, limit: %d, model: %s\nPlease retry in %s.", metric, r.limit, c.model, wait),
		map[string]any{
			"@type":      "type.googleapis.com/google.rpc.QuotaFailure",
			"violations": []map[string]any{{"quotaMetric": metric, "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-PaidTier", "quotaValue": strconv.Itoa(r.limit)}},
		},
		map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait},
	)
}

type googlePart struct {
	Text       *string `json:"text"`
	InlineData *struct {
		MimeType string `json:"mimeType"`
		Data     string `json:"data"`
	} `json:"inlineData"`
}

type googleContent struct {
	Role  string       `json:"role"`
	Parts []googlePart `json:"parts"`
}

// text is the text of all parts.
func (c googleContent) text() string {
	var all strings.Builder
	for _, p := range c.Parts {
		if p.Text != nil {
			all.WriteString(*p.Text)
		}
	}
	return all.String()
}

type googleRequest struct {
	Contents          []googleContent `json:"contents"`
	SystemInstruction *googleContent  `json:"systemInstruction"`
	ServiceTier       string          `json:"serviceTier"`
	Config            struct {
		MaxOutputTokens    *int64          `json:"maxOutputTokens"`
		Temperature        *float64        `json:"temperature"`
		TopP               *float64        `json:"topP"`
		StopSequences      []string        `json:"stopSequences"`
		Seed               *int32          `json:"seed"`
		CandidateCount     *int            `json:"candidateCount"`
		ResponseMimeType   string          `json:"responseMimeType"`
		ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
		ResponseModalities []string        `json:"responseModalities"`
		ImageConfig        struct {
			AspectRatio string `json:"aspectRatio"`
			ImageSize   string `json:"imageSize"`
		} `json:"imageConfig"`
		ThinkingConfig struct {
			ThinkingBudget *int64 `json:"thinkingBudget"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
}

// check returns why Google would refuse r, or "".
func (r *googleRequest) check() string {
	c := r.Config
	switch {
	case len(r.Contents) == 0:
		return "* GenerateContentRequest.contents: contents is not specified\n"
	case c.MaxOutputTokens != nil && *c.MaxOutputTokens < 1:
		return fmt.Sprintf("max_output_tokens must be positive, got %d", *c.MaxOutputTokens)
	case c.Temperature != nil && (*c.Temperature < 0 || *c.Temperature > 2):
		return fmt.Sprintf("* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0], got %g.", *c.Temperature)
	case c.TopP != nil && (*c.TopP < 0 || *c.TopP > 1):
		return "* GenerateContentRequest.generation_config.top_p: top_p must be in the range [0.0, 1.0]."
	case len(c.StopSequences) > 5:
		return "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed."
	case c.CandidateCount != nil && *c.CandidateCount != 1:
		return "Multiple candidates is not enabled for this model"
	case c.ResponseJSONSchema != nil && c.ResponseMimeType != "application/json":
		return "* GenerateContentRequest.generation_config.response_json_schema: requires response_mime_type application/json."
	case !slices.Contains([]string{"", "text/plain", "application/json"}, c.ResponseMimeType):
		return "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are `text/plain`, `application/json`."
	case !slices.Contains([]string{"", "unspecified", "standard", "flex", "priority"}, r.ServiceTier):
		return "Invalid value at 'service_tier'"
	}
	all := r.Contents
	if r.SystemInstruction != nil {
		all = append(slices.Clone(all), googleContent{Role: "user", Parts: r.SystemInstruction.Parts})
	}
	for i, turn := range all {
		if !slices.Contains([]string{"", "user", "model", "function"}, turn.Role) {
			return "Please use a valid role: user, model."
		}
		if len(turn.Parts) == 0 {
			return fmt.Sprintf("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.\n", i)
		}
		for j, p := range turn.Parts {
			if p.Text == nil && p.InlineData == nil {
				return fmt.Sprintf("* GenerateContentRequest.contents[%d].parts[%d].data: required oneof field 'data' must have one initialized field\n", i, j)
			}
		}
	}
	return ""
}

// method answers models/NAME:METHOD.
func (g *gemini) method(c *call) answer {
	model, method, _ := strings.Cut(c.segment(2), ":")
	c.model = model
	if names := g.config.Models; len(names) > 0 && !slices.Contains(names, model) {
		return googleError(http.StatusNotFound, "NOT_FOUND", fmt.Sprintf(
			"models/%s is not found for API version v1beta, or is not supported for %s. Call ListModels to see the list of available models and their supported methods.", model, method,
		))
	}
	if method != "generateContent" {
		return page(http.StatusNotFound, "Error 404 (Not Found)!!1")
	}
	unknown, ok := unknownField(c.body, strings.Fields(`contents systemInstruction system_instruction tools toolConfig safetySettings
		generationConfig cachedContent store serviceTier model`)...)
	if !ok {
		return googleInvalid("Invalid JSON payload received. Expected an object.")
	}
	if unknown != "" {
		return googleInvalid(fmt.Sprintf("Invalid JSON payload received. Unknown name %q: Cannot find field.", unknown))
	}
	var r googleRequest
	if err := json.Unmarshal(c.body, &r); err != nil {
		return googleInvalid("Invalid JSON payload received. Invalid value.")
	}
	if reason := r.check(); reason != "" {
		return googleInvalid(reason)
	}
	return r.answer(c)
}

// thinks returns the number of tokens that the model thinks before it answers: they are beside
// those of the candidates, and count for the cap.
func (r *googleRequest) thinks(c *call) int64 {
	if budget := r.Config.ThinkingConfig.ThinkingBudget; budget != nil {
		return *budget
	}
	return int64(c.seed()%7) + 1
}

// answer writes or draws. Tokens are counted by countTokens over all texts; an
// inline part counts for 258, as a small picture does.
func (r *googleRequest) answer(c *call) answer {
	var prompt, images int64
	turns := r.Contents
	if r.SystemInstruction != nil {
		turns = append(slices.Clone(turns), *r.SystemInstruction)
	}
	for _, turn := range turns {
		prompt += countTokens(turn.text())
		for _, p := range turn.Parts {
			if p.InlineData != nil {
				images += 258
			}
		}
	}
	thoughts := r.thinks(c)
	made, reason := map[string]any{}, "STOP"
	var candidates, pictures int64
	switch {
	case c.fault == Refused:
		made, reason = nil, "SAFETY"
	case slices.Contains(r.Config.ResponseModalities, "IMAGE"):
		w, h := shapeOf(r.Config.ImageConfig.AspectRatio)
		made = map[string]any{"inlineData": map[string]any{
			"mimeType": "image/png", "data": base64.StdEncoding.EncodeToString(picture(c.seed(), "png", w, h)),
		}}
		candidates, pictures = 1290, 1290
	default:
		var limit int64
		if r.Config.MaxOutputTokens != nil {
			limit = *r.Config.MaxOutputTokens
			thoughts = min(thoughts, limit)
		}
		if limit > 0 && limit == thoughts {
			made, reason = nil, "MAX_TOKENS"
			break
		}
		out, err := write(c, 0, r.Config.ResponseMimeType == "application/json", r.Config.ResponseJSONSchema, r.Config.StopSequences, max(limit-thoughts, 0))
		if err != nil {
			return googleInvalid("* GenerateContentRequest.generation_config.response_json_schema: " + err.Error())
		}
		made["text"], candidates = out.text, out.tokens
		if out.length {
			reason = "MAX_TOKENS"
		}
	}
	content := map[string]any{"role": "model"}
	if made != nil {
		content["parts"] = []map[string]any{{"text": "I think.", "thought": true}, made}
	}
	tier := r.ServiceTier
	if tier == "" || tier == "unspecified" {
		tier = "standard"
	}
	usage := map[string]any{
		"promptTokenCount": prompt + images, "candidatesTokenCount": candidates, "thoughtsTokenCount": thoughts,
		"totalTokenCount": prompt + images + candidates + thoughts, "serviceTier": tier,
		"promptTokensDetails": []map[string]any{{"modality": "TEXT", "tokenCount": prompt}, {"modality": "IMAGE", "tokenCount": images}},
	}
	if pictures > 0 {
		usage["candidatesTokensDetails"] = []map[string]any{{"modality": "IMAGE", "tokenCount": pictures}}
	}
	a := jsonAnswer(http.StatusOK, map[string]any{
		"candidates":    []map[string]any{{"content": content, "finishReason": reason, "index": 0}},
		"usageMetadata": usage, "modelVersion": c.model, "responseId": c.id,
	})
	a.usage = Usage{InputTokens: prompt + images, OutputTokens: candidates + thoughts}
	if pictures > 0 {
		a.usage.Images = 1
	}
	return a
}

// shapeOf is the size of a picture with that aspect ratio, a square by default.
func shapeOf(ratio string) (w, h int) {
	a, b, _ := strings.Cut(ratio, ":")
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil || errY != nil || x < 1 || y < 1 || x > 21 || y > 21 {
		return 256, 256
	}
	return 32 * x, 32 * y
}

func (g *gemini) models(*call) answer {
	names := g.config.Models
	if len(names) == 0 {
		names = []string{"gemini-3.5-flash-lite", "gemini-3.1-flash-image"}
	}
	list := make([]map[string]any, len(names))
	for i, name := range names {
		list[i] = map[string]any{
			"name": "models/" + name, "version": "001", "displayName": name, "inputTokenLimit": 1048576, "outputTokenLimit": 65536,
			"supportedGenerationMethods": []string{"generateContent", "countTokens"},
		}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"models": list})
}

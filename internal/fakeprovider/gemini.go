package fakeprovider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Gemini is the vendor of that name: Google.
const Gemini Vendor = "gemini"

// gemini is Google's half: generateContent, embeddings, and films by predictLongRunning.
type gemini struct {
	config Config

	mu    sync.Mutex
	films map[string]*googleFilm // by the name of their operation
}

func newGemini(config Config) vendor { return &gemini{config: config, films: map[string]*googleFilm{}} }

func (*gemini) name() Vendor { return Gemini }

func (g *gemini) routes() []route {
	return []route{
		{method: http.MethodPost, path: "/v1beta/models/*", handle: g.method, generates: true, faults: []Fault{Refused, VideoFailed}},
		{method: http.MethodGet, path: "/v1beta/models/*/operations/*", handle: g.operation},
		{method: http.MethodGet, path: "/v1beta/files/*", handle: g.download},
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
	case moderated: // of texts no error: an answer without candidates
		if !strings.HasSuffix(c.path, ":generateContent") {
			return googleInvalid("The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices.")
		}
		prompt := countTokens(string(c.body))
		a := jsonAnswer(http.StatusOK, map[string]any{
			"promptFeedback": map[string]any{"blockReason": "PROHIBITED_CONTENT"},
			"usageMetadata":  map[string]any{"promptTokenCount": prompt, "totalTokenCount": prompt},
			"modelVersion":   c.model, "responseId": c.id,
		})
		a.billed = Billed{Input: prompt}
		return a
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

// method answers models/NAME:METHOD.
func (g *gemini) method(c *call) answer {
	model, method, _ := strings.Cut(c.segment(2), ":")
	c.model = model
	if names := g.config.Models; len(names) > 0 && !slices.Contains(names, model) {
		return googleError(http.StatusNotFound, "NOT_FOUND", fmt.Sprintf(
			"models/%s is not found for API version v1beta, or is not supported for %s. Call ListModels to see the list of available models and their supported methods.", model, method,
		))
	}
	switch method {
	case "generateContent":
		return g.generate(c)
	case "embedContent", "batchEmbedContents":
		return g.embed(c, method == "batchEmbedContents")
	case "predictLongRunning":
		return g.order(c)
	}
	return page(http.StatusNotFound, "Error 404 (Not Found)!!1")
}

// googleDecode decodes a body whose fields are among those of the vendor's description.
func googleDecode(c *call, into any, names string) answer {
	unknown, ok := unknownField(c.body, strings.Fields(names)...)
	switch {
	case !ok:
		return googleInvalid("Invalid JSON payload received. Expected an object.")
	case unknown != "":
		return googleInvalid(fmt.Sprintf("Invalid JSON payload received. Unknown name %q: Cannot find field.", unknown))
	case json.Unmarshal(c.body, into) != nil:
		return googleInvalid("Invalid JSON payload received. Invalid value.")
	}
	return answer{}
}

func (g *gemini) generate(c *call) answer {
	var r googleRequest
	if a := googleDecode(c, &r, `contents systemInstruction system_instruction tools toolConfig safetySettings
		generationConfig cachedContent store serviceTier model`); a.status != 0 {
		return a
	}
	if reason := r.check(c.model); reason != "" {
		return googleInvalid(reason)
	}
	return r.answer(c)
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

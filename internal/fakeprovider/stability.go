package fakeprovider

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Stability is the vendor of that name.
const Stability Vendor = "stability"

// stability is Stability's half: pictures, for credits.
type stability struct{}

func newStability(Config) vendor { return &stability{} }

func (*stability) name() Vendor { return Stability }

func (s *stability) routes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v2beta/stable-image/generate/*", handle: s.generate, generates: true, maxBody: 10 << 20,
			faults: []Fault{Blurred, DataURL, OddBase64},
		},
		{method: http.MethodGet, path: "/v1/user/balance", handle: s.balance},
	}
}

func (*stability) key(r *http.Request) string { return bearer(r) }

func (*stability) requestID(n int64) string { return fmt.Sprintf("%032x", n) }

// headers say nothing of limits.
func (*stability) headers(c *call, h http.Header, _ map[dimension]level) { h.Set("X-Request-Id", c.id) }

func (*stability) refuse(c *call, why refusal) answer {
	switch why.reason {
	case unauthorised:
		if c.key == "" {
			return stabilityError(c, http.StatusUnauthorized, "unauthorized", "authorization: is required")
		}
		return stabilityError(c, http.StatusUnauthorized, "unauthorized", "authorization: invalid or missing header value")
	case outOfMoney:
		return stabilityError(c, http.StatusPaymentRequired, "payment_required", "You lack sufficient credits to make this request. "+
			"Please purchase more credits at https://platform.stability.ai/account/credits and try again.")
	case moderated, flagged:
		return stabilityError(c, http.StatusForbidden, "content_moderation",
			"Your request was flagged by our content moderation system, as a result your request was denied and you were not charged.")
	case region:
		return stabilityError(c, http.StatusForbidden, "forbidden", "This service is not available in your region.")
	case limited:
		return stabilityError(c, http.StatusTooManyRequests, "rate_limit_exceeded", fmt.Sprintf(
			"You have exceeded the rate limit of %d requests within a %.0f second period, and have been timed out for %.0f seconds.",
			why.limit.limit, c.behaviour.Limits.window().Seconds(), why.limit.retryAfter.Seconds(),
		))
	case overloaded:
		return stabilityError(c, http.StatusServiceUnavailable, "service_unavailable", "The service is overloaded, please try again later.")
	case serverError:
		return stabilityError(c, http.StatusInternalServerError, "internal_error", "An unexpected server error has occurred, please try again later.")
	case tooLarge:
		return stabilityError(c, http.StatusRequestEntityTooLarge, "payload_too_large", "body: payloads cannot be larger than 10MiB in size")
	case noSuchPath:
		return stabilityError(c, why.status, "not_found", "The requested resource was not found.")
	}
	return answer{}
}

// stabilityError is Stability's error body.
func stabilityError(c *call, status int, name string, messages ...string) answer {
	return jsonAnswer(status, map[string]any{"id": c.id, "name": name, "errors": messages})
}

// shape is the size in pixels of a picture of about one million.
func shape(aspectRatio string) (w, h int, ok bool) {
	size, ok := map[string][2]int{
		"21:9": {1536, 640}, "16:9": {1344, 768}, "3:2": {1216, 832}, "5:4": {1088, 896}, "": {1024, 1024}, "1:1": {1024, 1024},
		"4:5": {896, 1088}, "2:3": {832, 1216}, "9:16": {768, 1344}, "9:21": {640, 1536},
	}[aspectRatio]
	return size[0], size[1], ok
}

// stabilityPrice is in thousandths of a credit; 0 for a model that is none.
func stabilityPrice(service, model string) int64 {
	switch service {
	case "core":
		return 3000
	case "ultra":
		return 8000
	case "sd3":
		return map[string]int64{"": 6500, "sd3.5-large": 6500, "sd3.5-large-turbo": 4000, "sd3.5-medium": 3500}[model]
	}
	return 0
}

func stabilityFields(service string) []string {
	known := strings.Fields("prompt aspect_ratio negative_prompt seed style_preset output_format")
	switch service {
	case "ultra":
		known = append(known, "strength")
	case "sd3":
		known = append(known, "model", "mode", "strength", "cfg_scale")
	}
	return known
}

// checkStability lists what Stability would refuse of a form.
func checkStability(service string, form map[string]string) []string {
	var wrong []string
	refuse := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	known := stabilityFields(service)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if !slices.Contains(known, name) {
			refuse("%s: is not a known field", name)
		}
	}
	if form["prompt"] == "" {
		refuse("prompt: is required")
	}
	for _, name := range []string{"prompt", "negative_prompt"} {
		if utf8.RuneCountInString(form[name]) > 10000 {
			refuse("%s: cannot exceed 10000 characters", name)
		}
	}
	if _, _, ok := shape(form["aspect_ratio"]); !ok {
		refuse("aspect_ratio: must be one of the following: 21:9, 16:9, 3:2, 5:4, 1:1, 4:5, 2:3, 9:16, 9:21")
	}
	if seed, ok := form["seed"]; ok {
		if n, err := strconv.ParseUint(seed, 10, 32); err != nil || n > 4294967294 {
			refuse("seed: must be a number between 0 and 4294967294")
		}
	}
	if f := form["output_format"]; !slices.Contains([]string{"", "png", "jpeg", "webp"}, f) {
		refuse("output_format: must be one of the following: png, jpeg, webp")
	} else if f == "webp" {
		refuse("output_format: the fake provider cannot make webp, ask for png or jpeg")
	}
	if style := form["style_preset"]; style != "" && !slices.Contains(strings.Fields(`enhance anime photographic digital-art comic-book fantasy-art
		line-art analog-film neon-punk isometric low-poly origami modeling-compound cinematic 3d-model pixel-art tile-texture`), style) {
		refuse("style_preset: must be one of the known presets")
	}
	if stabilityPrice(service, form["model"]) == 0 {
		refuse("model: must be one of the following: sd3.5-large, sd3.5-large-turbo, sd3.5-medium")
	}
	return wrong
}

// generate draws, as bytes or as JSON, as the Accept header wants it.
func (*stability) generate(c *call) answer {
	service := c.segment(3)
	if !slices.Contains([]string{"core", "ultra", "sd3"}, service) {
		return c.refuse(refusal{reason: noSuchPath, status: http.StatusNotFound})
	}
	if c.form == nil {
		return stabilityError(c, http.StatusBadRequest, "bad_request", "content-type: must be multipart/form-data")
	}
	accept := c.r.Header.Get("Accept")
	asJSON := accept == "application/json"
	if !asJSON && accept != "" && accept != "*/*" && !strings.HasPrefix(accept, "image/") {
		return stabilityError(c, http.StatusBadRequest, "bad_request", "accept: must be one of the following: image/*, application/json")
	}
	if wrong := checkStability(service, c.form); len(wrong) > 0 {
		return stabilityError(c, http.StatusBadRequest, "bad_request", wrong...)
	}
	seed, err := strconv.ParseUint(c.form["seed"], 10, 32)
	if err != nil || seed == 0 {
		seed = c.seed()%4294967294 + 1 // Stability draws one and says which
	}
	format := c.form["output_format"]
	if format == "" {
		format = "png"
	}
	reason := "SUCCESS"
	w, h, _ := shape(c.form["aspect_ratio"])
	draw := func() []byte { return picture(c.seed()^seed, format, w, h) }
	if c.fault == Blurred {
		reason = "CONTENT_FILTERED"
		draw = func() []byte { return picture(0, format, w, h) }
	}
	out := answer{status: http.StatusOK, usage: Usage{Images: 1, MilliCredits: stabilityPrice(service, c.form["model"])}}
	out.billed = Billed{MilliCredits: out.usage.MilliCredits}
	if asJSON {
		out.contentType = "application/json; type=image/" + format
		out.render = func() []byte {
			return jsonAnswer(http.StatusOK, map[string]any{"image": c.base64(draw(), "image/"+format), "seed": seed, "finish_reason": reason}).body
		}
		return out
	}
	out.contentType, out.render = "image/"+format, draw
	out.header().Set("Finish-Reason", reason)
	out.header().Set("Seed", strconv.FormatUint(seed, 10))
	return out
}

// balance says what is left of 1,000 credits.
func (*stability) balance(c *call) answer {
	return jsonAnswer(http.StatusOK, map[string]float64{"credits": float64(c.credits()) / 1000})
}

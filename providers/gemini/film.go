package gemini

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// maxFilm is the most that is read of a film.
const maxFilm int64 = 256 << 20

// Google's numbers for why an operation failed that have a meaning here:
// https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto.
const (
	invalidArgument   = 3
	resourceExhausted = 8
	internal          = 13
	unavailable       = 14
)

// shape is a size of film that Google makes.
type shape struct{ size, ratio, resolution string }

// shapes are those of https://ai.google.dev/gemini-api/docs/video, the default first.
func shapes() []shape {
	return []shape{
		{"1280x720", "16:9", "720p"},
		{"720x1280", "9:16", "720p"},
		{"1920x1080", "16:9", "1080p"},
		{"1080x1920", "9:16", "1080p"},
		{"3840x2160", "16:9", "4k"},
		{"2160x3840", "9:16", "4k"},
	}
}

// shapeOf returns the shape that a request asks for; ok is false where there is none such.
func shapeOf(req providers.Request) (s shape, ok bool) {
	for _, s := range shapes() {
		if (req.Size == "" || req.Size == s.size) && (req.AspectRatio == "" || req.AspectRatio == s.ratio) {
			return s, true
		}
	}
	return shape{}, false
}

// filmFields is req in Google's words.
func filmFields(req providers.Request) (map[string]any, error) {
	parameters := map[string]any{}
	if s, _ := shapeOf(req); req.Size != "" || req.AspectRatio != "" {
		parameters["aspectRatio"] = s.ratio
		if req.Size != "" {
			parameters["resolution"] = s.resolution
		}
	}
	if req.Seconds > 0 {
		parameters["durationSeconds"] = req.Seconds
	}
	if req.NegativePrompt != "" {
		parameters["negativePrompt"] = req.NegativePrompt
	}
	fields := map[string]any{"instances": []map[string]any{{"prompt": req.Prompt}}}
	if len(parameters) > 0 {
		fields["parameters"] = parameters
	}
	return fields, wire.Merge(fields, req.Extra)
}

// checkFilm refuses what Google's films cannot be.
func checkFilm(req providers.Request) error {
	if _, ok := shapeOf(req); !ok && req.Size != "" {
		return fmt.Errorf("size: Google makes 1280x720, 1920x1080 and 3840x2160, upright too, and aspect_ratio must fit it, got %q", req.Size)
	} else if !ok {
		return fmt.Errorf("aspect_ratio: must be 16:9 or 9:16, got %q", req.AspectRatio)
	}
	if strings.HasPrefix(req.Model, "veo-3") && req.Seconds != 0 && !slices.Contains([]int{4, 6, 8}, req.Seconds) {
		return fmt.Errorf("seconds: %s makes 4, 6 or 8, got %d", req.Model, req.Seconds)
	}
	if shape, _ := shapeOf(req); strings.HasPrefix(req.Model, "veo-3") && shape.resolution != "720p" && req.Seconds != 0 && req.Seconds != usualSeconds {
		return fmt.Errorf("seconds: %s makes films of %s in %d seconds only, got %d: leave it out, or ask for 1280x720", req.Model, shape.size, usualSeconds, req.Seconds)
	}
	var extra map[string]json.RawMessage
	if raw := req.Extra["parameters"]; raw != nil && (json.Unmarshal(raw, &extra) != nil || extra == nil) {
		return fmt.Errorf("extra.parameters: must be an object")
	}
	own := map[string]string{"aspectRatio": "aspect_ratio", "resolution": "size", "durationSeconds": "seconds", "negativePrompt": "negative_prompt"}
	for name := range extra {
		if option := own[name]; option != "" {
			return fmt.Errorf("extra.parameters.%s: has a name of its own, set %q beside extra", name, option)
		}
		if name == "numberOfVideos" || name == "sampleCount" {
			return fmt.Errorf("extra.parameters.%s: one film is made by each job: leave it out", name)
		}
	}
	return req.RefuseExtra("instances")
}

// operation is something that Google makes in its own time.
type operation struct {
	Name  wire.Text `json:"name"`
	Done  bool      `json:"done"`
	Error *struct {
		Code int `json:"code"`
	} `json:"error"`
	Response struct {
		Video struct {
			Samples []struct {
				Video struct {
					URI wire.Text `json:"uri"`
				} `json:"video"`
			} `json:"generatedSamples"`
			Filtered json.RawMessage `json:"raiMediaFilteredCount"`
		} `json:"generateVideoResponse"`
	} `json:"response"`
}

// film orders a film, which is the one call that costs, waits until it is made and
// downloads it.
func (p *Provider) film(ctx context.Context, secret string, req providers.Request) (providers.Response, *providers.Error) {
	start := time.Now()
	made, err := filmFields(req)
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.post(ctx, secret, film, made, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	var ordered operation
	switch {
	case wire.Decode(a.Body, &ordered) != nil:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, filmUsage(req))
	case !operationName(string(ordered.Name)):
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, filmUsage(req))
	}
	providers.Ordered(ctx, string(ordered.Name))
	return p.awaited(ctx, secret, string(ordered.Name), req, start)
}

// Resume waits for a film that was ordered before. See providers.Resumer.
func (p *Provider) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	secret, failure := wire.Key(ctx, p.config.Name, p.config.Key)
	if failure == nil && !operationName(handle) {
		failure = p.caller.Unsent(providers.NotFound, "no_operation")
	}
	if failure != nil {
		failure.Billing = providers.BillingUnknown // nobody has looked
		return providers.Response{}, failure
	}
	req.Model = strings.TrimPrefix(p.model(req), prefix)
	res, failure := p.awaited(ctx, secret, handle, req, time.Now())
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

// operationName reports whether a name is one of an operation: it becomes a part of an
// address.
func operationName(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	model, id, found := strings.Cut(rest, "/operations/")
	odd := func(s string) bool {
		return s == "" || s == "." || s == ".." || strings.Trim(s, "._-"+providers.Letters+providers.Digits) != ""
	}
	return ok && found && !odd(model) && !odd(id)
}

// awaited waits until a film that was ordered is made, and downloads it.
func (p *Provider) awaited(ctx context.Context, secret, handle string, req providers.Request, start time.Time) (providers.Response, *providers.Error) {
	var last wire.Answer
	var made operation
	gone := false
	failure := p.caller.Await(ctx, p.config.PollEvery, func() (wire.State, *providers.Error) {
		seen, failure := p.send(ctx, http.MethodGet, "/"+handle, secret, nil, nil)
		if failure != nil {
			return wire.Going, failure
		}
		var now operation
		if wire.Decode(seen.Body, &now) != nil {
			failure = p.caller.Malformed(seen, wire.ErrNotJSON, providers.Usage{})
			failure.Billing = providers.BillingUnknown
			return wire.Unclear, failure
		}
		if !now.Done {
			return wire.Going, nil
		}
		if failure := p.unfilmed(seen, now); failure != nil {
			gone = true
			return wire.GivenUp, failure
		}
		last, made = seen, now
		return wire.Made, nil
	})
	if failure == nil {
		var content wire.Answer
		content, failure = p.caller.Download(ctx, p.config.PollEvery, func() (wire.Answer, *providers.Error) {
			return p.download(ctx, secret, string(made.Response.Video.Samples[0].Video.URI))
		})
		if failure == nil {
			return p.filmed(last, content, handle, req, time.Since(start))
		}
		failure.Billing, failure.Usage = providers.Billed, filmUsage(req) // it was made
	} else if !gone && failure.Billing == providers.Unbilled {
		failure.Billing = providers.BillingUnknown // it was ordered
	}
	failure.Sent = true
	failure.RequestID = operationID(handle) // what a person can look for at Google
	return providers.Response{}, failure
}

// operationID is the last part of an operation's name.
func operationID(name string) string { return wire.SanitiseCode(name[strings.LastIndex(name, "/")+1:]) }

// unfilmed is the failure of an operation that is over and has made no film, which is not
// charged; nil: it has made one.
func (p *Provider) unfilmed(a wire.Answer, o operation) *providers.Error {
	samples := o.Response.Video.Samples
	if o.Error == nil && len(samples) > 0 && samples[0].Video.URI != "" {
		return nil
	}
	failure := p.caller.Refusal(a)
	failure.Billing = providers.Unbilled
	switch {
	case failure.Kind == providers.Moderated:
	case o.Error == nil && len(o.Response.Video.Filtered) > 0:
		failure.Kind, failure.Code = providers.Moderated, "raiMediaFiltered"
	case o.Error == nil:
		failure.Kind, failure.Err = providers.Unknown, wire.ErrNoResult
	case o.Error.Code == invalidArgument:
		failure.Kind = providers.InvalidRequest
	case o.Error.Code == resourceExhausted:
		failure.Kind = providers.RateLimited
	case o.Error.Code == internal, o.Error.Code == unavailable:
		failure.Kind = providers.Overloaded
	default:
		failure.Kind = providers.Unknown
	}
	return failure
}

// download gets a film from the address that Google names. The key goes to Google alone.
func (p *Provider) download(ctx context.Context, secret, address string) (wire.Answer, *providers.Error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	base, errBase := url.Parse(p.base)
	if err != nil || errBase != nil {
		return wire.Answer{}, p.caller.Unsent(providers.MalformedResponse, "no_address")
	}
	caller := p.caller
	if r.URL.Scheme == base.Scheme && r.URL.Host == base.Host {
		r.Header.Set(keyHeader, secret)
	} else {
		caller.Client = p.config.Guarded
	}
	r.Header.Set("Accept", "video/*")
	return caller.SendFollowing(ctx, r, maxFilm, p.config.Guarded, secret)
}

// filmed judges the content of a film.
func (p *Provider) filmed(a, content wire.Answer, handle string, req providers.Request, latency time.Duration) (providers.Response, *providers.Error) {
	usage := filmUsage(req)
	kind := providers.MediaType(content.Body)
	if !strings.HasPrefix(kind, "video/") {
		failure := p.caller.Malformed(content, wire.ErrMediaType, usage)
		failure.Billing, failure.Usage, failure.RequestID = providers.Billed, usage, operationID(handle) // it was made
		return providers.Response{}, failure
	}
	res := p.response(a, req.Model, usage)
	res.Blobs = []providers.Blob{{MIME: kind, Data: content.Body}}
	res.FinishReason, res.RequestID, res.Latency = "stop", operationID(handle), latency
	return res, nil
}

// filmUsage counts what a film is charged for: Google tells nothing, and makes what was asked
// for, or films of its usual length and size.
func filmUsage(req providers.Request) providers.Usage {
	s, _ := shapeOf(req)
	seconds := req.Seconds
	if seconds == 0 {
		seconds = usualSeconds
	}
	return providers.Usage{MilliSeconds: int64(seconds) * 1000, Variant: s.size}
}

// usualSeconds is the length of a film where a request sets none.
const usualSeconds = 8

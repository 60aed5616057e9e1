package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// maxFilm is the most that is read of a film.
const maxFilm int64 = 256 << 20

// film is a server's description of a film that it makes.
type film struct {
	ID      wire.Text       `json:"id"`
	Status  wire.Text       `json:"status"`
	Model   wire.Text       `json:"model"`
	Seconds json.RawMessage `json:"seconds"`
	Size    wire.Text       `json:"size"`
	Error   json.RawMessage `json:"error"`
}

// video orders a film, which is the one call that costs, waits until it is made
// and downloads it.
func (p *Provider) video(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	start := time.Now()
	contentType, body, err := videoBody(p.config.VideosAsJSON, model, req)
	if err != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.post(ctx, secret, "/videos", contentType, body, "application/json", wire.MaxAnswer, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	ordered, why := readFilm(a)
	switch {
	case ordered.failed():
		return providers.Response{}, p.unfilmed(a)
	case why != "":
		return providers.Response{}, p.caller.Malformed(a, why, filmUsage(ordered, req))
	}
	providers.Ordered(ctx, string(ordered.ID))
	return p.awaited(ctx, secret, a, ordered, model, req, start)
}

// Resume waits for a film that was ordered before. See providers.Resumer.
func (p *Provider) Resume(ctx context.Context, req providers.Request, handle string) (providers.Response, error) {
	secret, failure := p.key(ctx)
	if failure != nil {
		failure.Billing = providers.BillingUnknown // nobody has looked
		return providers.Response{}, failure
	}
	model := p.model(req)
	if named, _, err := p.caps.Named(req); err == nil {
		req = named
	}
	res, failure := p.awaited(ctx, secret, wire.Answer{Status: http.StatusOK}, film{ID: wire.Text(handle)}, model, req, time.Now())
	if failure != nil {
		return providers.Response{}, failure
	}
	return res, nil
}

// awaited waits until a film that was ordered is made, and downloads it.
func (p *Provider) awaited(
	ctx context.Context, secret string, a wire.Answer, ordered film, model string, req providers.Request, start time.Time,
) (providers.Response, *providers.Error) {
	a, made, failure := p.wait(ctx, secret, a, ordered)
	if failure == nil {
		var content wire.Answer
		content, failure = p.download(ctx, secret, string(made.ID))
		if failure == nil {
			return p.filmed(a, content, made, model, req, time.Since(start))
		}
		failure.Billing, failure.Usage = providers.Billed, filmUsage(made, req) // it was made
	}
	if failure.Kind != providers.Moderated && failure.Billing == providers.Unbilled {
		failure.Billing = providers.BillingUnknown // it was ordered
	}
	failure.Sent = true
	failure.RequestID = wire.SanitiseCode(string(ordered.ID)) // what a person can look for at the server
	return providers.Response{}, failure
}

// videoBody is req as a form, or as JSON. OpenAI's own fields are texts in both.
func videoBody(asJSON bool, model string, req providers.Request) (contentType string, body []byte, err error) {
	fields := map[string]any{"prompt": req.Prompt}
	set := func(name, value string) {
		if value != "" {
			fields[name] = value
		}
	}
	set("model", model)
	set("size", req.Size)
	set("negative_prompt", req.NegativePrompt)
	set("aspect_ratio", req.AspectRatio)
	if req.Seconds > 0 {
		set("seconds", strconv.Itoa(req.Seconds))
	}
	if req.Seed != nil {
		fields["seed"] = json.RawMessage(strconv.FormatInt(*req.Seed, 10))
	}
	for name, value := range req.Extra {
		fields[name] = value
	}
	if asJSON {
		body, err = json.Marshal(fields)
		return "application/json", body, err
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		if err := w.WriteField(name, formValue(value)); err != nil {
			return "", nil, err
		}
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	return w.FormDataContentType(), form.Bytes(), nil
}

// formValue is a JSON value as a form has it: texts without their quotes.
func formValue(value any) string {
	raw, ok := value.(json.RawMessage)
	if !ok {
		text, _ := value.(string)
		return text
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// readFilm reads how a server describes a film, and what is wrong with that.
func readFilm(a wire.Answer) (film, wire.AnswerError) {
	var f film
	if wire.Decode(a.Body, &f) != nil {
		return f, wire.ErrNotJSON
	}
	if f.ID == "" || f.ID == "." || f.ID == ".." || f.Status == "" {
		return f, wire.ErrNoResult
	}
	return f, ""
}

// failed reports whether a server has given a film up.
func (f film) failed() bool {
	return slices.Contains([]string{"failed", "error", "cancelled", "canceled", "expired"}, strings.ToLower(string(f.Status)))
}

// made reports whether a film can be downloaded.
func (f film) made() bool {
	return slices.Contains([]string{"completed", "succeeded"}, strings.ToLower(string(f.Status)))
}

// unfilmed is the failure of a film that the server gave up. Whether it is
// charged nobody says, except that a refusal for its content is not.
func (p *Provider) unfilmed(a wire.Answer) *providers.Error {
	failure := p.caller.Refusal(a)
	if failure.Kind == providers.MalformedResponse {
		failure.Kind = providers.Unknown
	}
	if failure.Kind != providers.Moderated {
		failure.Billing = providers.BillingUnknown
	}
	return failure
}

// wait looks at a film, at growing distances, until it is made.
func (p *Provider) wait(ctx context.Context, secret string, a wire.Answer, f film) (wire.Answer, film, *providers.Error) {
	if f.made() {
		return a, f, nil
	}
	failure := p.caller.Await(ctx, p.config.PollEvery, func() (wire.State, *providers.Error) {
		seen, failure := p.get(ctx, secret, "/videos/"+url.PathEscape(string(f.ID)), "application/json", wire.MaxAnswer)
		if failure != nil {
			return wire.Going, failure
		}
		now, why := readFilm(seen)
		switch {
		case now.failed():
			return wire.GivenUp, p.unfilmed(seen)
		case why != "":
			failure = p.caller.Malformed(seen, why, providers.Usage{})
			failure.Billing = providers.BillingUnknown
			return wire.Unclear, failure
		}
		now.ID = f.ID // whatever it says, this is what was ordered
		if a, f = seen, now; f.made() {
			return wire.Made, nil
		}
		return wire.Going, nil
	})
	return a, f, failure
}

// download gets the content of a film that is made.
func (p *Provider) download(ctx context.Context, secret, id string) (wire.Answer, *providers.Error) {
	return p.caller.Download(ctx, p.config.PollEvery, func() (wire.Answer, *providers.Error) {
		return p.get(ctx, secret, "/videos/"+url.PathEscape(id)+"/content", "video/*", maxFilm)
	})
}

// filmed judges the content of a film.
func (p *Provider) filmed(
	a, content wire.Answer, made film, model string, req providers.Request, latency time.Duration,
) (providers.Response, *providers.Error) {
	usage := filmUsage(made, req)
	kind := providers.MediaType(content.Body)
	if !strings.HasPrefix(kind, "video/") {
		failure := p.caller.Malformed(content, wire.ErrMediaType, usage)
		failure.Billing, failure.Usage = providers.Billed, usage // it was made
		return providers.Response{}, failure
	}
	res := p.response(a, model, string(made.Model), usage)
	res.Blobs = []providers.Blob{{MIME: kind, Data: content.Body}}
	res.FinishReason = string(made.Status)
	res.RequestID = wire.SanitiseCode(string(made.ID))
	res.Latency = latency
	return res, nil
}

// longestFilm is the longest film that a server is believed to have made, in
// seconds.
const longestFilm = 24 * 60 * 60

// filmUsage returns the length of a film, as the server says or as was asked for.
func filmUsage(f film, req providers.Request) providers.Usage {
	usage := providers.Usage{MilliSeconds: int64(req.Seconds) * 1000, Variant: string(f.Size)}
	if usage.Variant == "" {
		usage.Variant = req.Size
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(f.Seconds), `"`), 64)
	switch {
	case err == nil && seconds > 0 && seconds <= longestFilm:
		usage.MilliSeconds = int64(seconds * 1000)
	case len(f.Seconds) > 0 && string(f.Seconds) != "null":
		usage = wire.Implausible(usage, f.Seconds)
	}
	return usage
}

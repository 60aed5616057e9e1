package openai

import (
	"context"
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func (p *Provider) image(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	limit := wire.MaxAnswer * int64(max(req.N, 1))
	a, failure := p.postJSON(ctx, secret, "/images/generations", imageFields(model, req), "application/json", limit, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readImage(ctx, a, model, req)
}

// imageFields is req in OpenAI's words.
func imageFields(model string, req providers.Request) map[string]any {
	fields := map[string]any{"prompt": req.Prompt, "model": model}
	for name, value := range map[string]string{
		"size": req.Size, "quality": req.Quality, "background": req.Background, "style": req.Style, "output_format": req.OutputFormat,
	} {
		if value != "" {
			fields[name] = value
		}
	}
	if req.N > 0 {
		fields["n"] = req.N
	}
	if dallE(model) {
		// Else the answer names addresses, which cost another call and expire.
		fields["response_format"] = "b64_json"
	}
	return fields
}

// dallE reports whether a model has the wire shape of DALL·E, which OpenAI has shut
// down and compatible servers still speak.
func dallE(model string) bool { return model == "dall-e-2" || model == "dall-e-3" }

// pictures has the fields that are read of the answer to a call for pictures.
type pictures struct {
	Model   wire.Text       `json:"model"`
	Size    wire.Text       `json:"size"`
	Quality wire.Text       `json:"quality"`
	Data    json.RawMessage `json:"data"`
	Usage   json.RawMessage `json:"usage"`
}

// picture is one of them: itself, or where it is.
type picture struct {
	B64JSON wire.Text `json:"b64_json"`
	URL     wire.Text `json:"url"`
}

// readImage judges the answer to a call for pictures. All of them must be usable.
func (p *Provider) readImage(
	ctx context.Context, a wire.Answer, model string, req providers.Request,
) (providers.Response, *providers.Error) {
	var said pictures
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := imageUsage(wire.ReadReport(said.Usage))
	usage.Cost = p.costOf(said.Usage)
	if len(said.Data) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	}
	var data []picture
	if json.Unmarshal(said.Data, &data) != nil || len(data) == 0 {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	usage.Images = int64(min(len(data), 10*max(req.N, 1)))
	if dallE(model) {
		usage.Variant = variant(said, req)
	}
	blobs := make([]providers.Blob, 0, len(data))
	for _, one := range data {
		blob, err := p.picture(ctx, one)
		if err != nil { // made, though we cannot have it
			return providers.Response{}, p.caller.Unreadable(a, err, usage)
		}
		blobs = append(blobs, blob)
	}
	res := p.response(a, model, string(said.Model), usage)
	res.Blobs = blobs
	return res, nil
}

// picture takes one picture out of the answer, or fetches it.
func (p *Provider) picture(ctx context.Context, one picture) (providers.Blob, error) {
	var data []byte
	var err error
	switch inline := string(one.B64JSON); {
	case inline != "", wire.IsDataURL(string(one.URL)):
		if inline == "" {
			inline = string(one.URL)
		}
		if data, err = wire.Base64(inline); err != nil {
			return providers.Blob{}, wire.ErrMediaType
		}
	case one.URL != "":
		if data, err = wire.Fetch(ctx, p.config.Guarded, string(one.URL), wire.MaxAnswer); err != nil {
			return providers.Blob{}, err
		}
	default:
		return providers.Blob{}, wire.ErrNoResult
	}
	mime := providers.MediaType(data)
	if mime == "" && svg(data) {
		mime = "image/svg+xml"
	}
	if !strings.HasPrefix(mime, "image/") {
		return providers.Blob{}, wire.ErrMediaType
	}
	return providers.Blob{MIME: mime, Data: data}, nil
}

// svg reports whether data is a drawing: the one form of picture that is text.
func svg(data []byte) bool {
	head := strings.TrimSpace(string(data[:min(len(data), 1024)]))
	return strings.HasPrefix(head, "<svg") || strings.HasPrefix(head, "<?xml") && strings.Contains(head, "<svg")
}

// imageUsage tells text from picture. A server that does not take its sums apart
// means text in and pictures out.
func imageUsage(r *wire.Report) providers.Usage {
	input, output := r.Int(wire.Window, "input_tokens"), r.Int(wire.Window, "output_tokens")
	usage := providers.Usage{ImageInputTokens: take(&input, r.Int(wire.Window, "input_tokens_details", "image_tokens"))}
	usage.InputTokens = input
	usage.OutputTokens = take(&output, r.Int(wire.Window, "output_tokens_details", "text_tokens"))
	usage.ImageOutputTokens = output
	return r.Mark(usage)
}

// variant returns the price variant of a DALL·E picture, with DALL·E's own
// defaults where neither the answer nor the request says it.
func variant(said pictures, req providers.Request) string {
	first := func(words ...string) string {
		for _, word := range words {
			if word != "" && word != "auto" {
				return word
			}
		}
		return ""
	}
	return first(string(said.Size), req.Size, "1024x1024") + "/" + first(string(said.Quality), req.Quality, "standard")
}

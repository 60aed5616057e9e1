package openai

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func (p *Provider) image(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	service := openai.NewImageService(p.options(secret)...)
	limit := wire.MaxAnswer * int64(max(req.N, 1))
	a, failure := p.send(ctx, limit, func(ctx context.Context, sending ...option.RequestOption) error {
		_, err := service.Generate(ctx, imageParams(model, req), sending...)
		return err
	})
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readImage(ctx, a, model, req)
}

// imageParams is req in OpenAI's words.
func imageParams(model string, req providers.Request) openai.ImageGenerateParams {
	params := openai.ImageGenerateParams{
		Prompt:       req.Prompt,
		Model:        model,
		Size:         openai.ImageGenerateParamsSize(req.Size),
		Quality:      openai.ImageGenerateParamsQuality(req.Quality),
		Background:   openai.ImageGenerateParamsBackground(req.Background),
		Style:        openai.ImageGenerateParamsStyle(req.Style),
		OutputFormat: openai.ImageGenerateParamsOutputFormat(req.OutputFormat),
	}
	if req.N > 0 {
		params.N = openai.Int(int64(req.N))
	}
	if dallE(model) {
		// Else the answer names addresses, which cost another call and expire.
		params.ResponseFormat = openai.ImageGenerateParamsResponseFormatB64JSON
	}
	params.SetExtraFields(extra(req))
	return params
}

// dallE tells whether a model has the wire shape of DALL·E, which OpenAI has shut
// down and compatible servers still speak.
func dallE(model string) bool { return model == "dall-e-2" || model == "dall-e-3" }

// readImage judges the answer to a call for pictures. All of them must be usable.
func (p *Provider) readImage(
	ctx context.Context, a wire.Answer, model string, req providers.Request,
) (providers.Response, *providers.Error) {
	var images openai.ImagesResponse
	if !isObject(a.Body) || json.Unmarshal(a.Body, &images) != nil {
		return providers.Response{}, p.unusable(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := imageUsage(images.Usage)
	if len(images.Data) == 0 {
		return providers.Response{}, p.unusable(a, wire.ErrNoResult, usage)
	}
	usage.Images = int64(len(images.Data))
	if dallE(model) {
		usage.Variant = variant(images, req)
	}
	blobs := make([]providers.Blob, 0, len(images.Data))
	for _, image := range images.Data {
		blob, failure := p.picture(ctx, a, image)
		if failure != nil {
			failure.Billing, failure.Usage = providers.Billed, usage // made, though we cannot have it
			return providers.Response{}, failure
		}
		blobs = append(blobs, blob)
	}
	res := p.response(a, model, answeredModel(a.Body), usage)
	res.Blobs = blobs
	return res, nil
}

// picture takes one picture out of the answer, or fetches it.
func (p *Provider) picture(ctx context.Context, a wire.Answer, image openai.Image) (providers.Blob, *providers.Error) {
	var data []byte
	var err error
	switch {
	case image.B64JSON != "":
		data, err = base64.StdEncoding.DecodeString(image.B64JSON)
		if err != nil {
			return providers.Blob{}, p.unusable(a, wire.ErrMediaType, providers.Usage{})
		}
	case image.URL != "":
		data, err = wire.Fetch(ctx, p.config.Guarded, image.URL, wire.MaxAnswer)
		if err != nil {
			return providers.Blob{}, p.unfetched(ctx, a, err)
		}
	default:
		return providers.Blob{}, p.unusable(a, wire.ErrNoResult, providers.Usage{})
	}
	mime := wire.MediaType(data)
	if mime == "" && svg(data) {
		mime = "image/svg+xml"
	}
	if !strings.HasPrefix(mime, "image/") {
		return providers.Blob{}, p.unusable(a, wire.ErrMediaType, providers.Usage{})
	}
	return providers.Blob{MIME: mime, Data: data}, nil
}

// unfetched is the failure of a call whose picture could not be fetched from the
// address that the answer names.
func (p *Provider) unfetched(ctx context.Context, a wire.Answer, err error) *providers.Error {
	failure := wire.Failure(p.config.Name, err, true)
	failure.Sent, failure.Status, failure.RequestID = true, a.Status, wire.RequestID(a.Header)
	if failure.Kind != providers.Timeout && ctx.Err() == nil {
		failure.Kind = providers.MalformedResponse // not that the model was not found
	}
	return failure
}

// svg tells whether data is a drawing: the one form of picture that is text.
func svg(data []byte) bool {
	head := strings.TrimSpace(string(data[:min(len(data), 1024)]))
	return strings.HasPrefix(head, "<svg") || strings.HasPrefix(head, "<?xml") && strings.Contains(head, "<svg")
}

// imageUsage tells text from picture. A server that does not take its sums apart
// means text in and pictures out.
func imageUsage(u openai.ImagesResponseUsage) providers.Usage {
	input, output := max(u.InputTokens, 0), max(u.OutputTokens, 0)
	usage := providers.Usage{ImageInputTokens: take(&input, u.InputTokensDetails.ImageTokens)}
	usage.InputTokens = input
	if u.JSON.OutputTokensDetails.Valid() {
		usage.OutputTokens = take(&output, u.OutputTokensDetails.TextTokens)
	}
	usage.ImageOutputTokens = output
	return usage
}

// variant is what the price of a DALL·E picture depends on, with DALL·E's own
// defaults where neither the answer nor the request says it.
func variant(images openai.ImagesResponse, req providers.Request) string {
	first := func(words ...string) string {
		for _, word := range words {
			if word != "" && word != "auto" {
				return word
			}
		}
		return ""
	}
	return first(string(images.Size), req.Size, "1024x1024") + "/" + first(string(images.Quality), req.Quality, "standard")
}

// answeredModel is the model that an answer names beyond OpenAI's own fields.
func answeredModel(body []byte) string {
	var named struct {
		Model string `json:"model"`
	}
	if json.Unmarshal(body, &named) != nil {
		return ""
	}
	return named.Model
}

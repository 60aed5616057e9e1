package stability

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"

	"oneflow/providers"
)

// request is req as Stability takes it: a multipart form, even without a file.
func (p *Provider) request(ctx context.Context, key string, req providers.Request) (*http.Request, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	all := fields(req)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := form.WriteField(name, all[name]); err != nil {
			return nil, err
		}
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	address := p.base + "/v2beta/stable-image/generate/" + operation(req.Model)
	httpReq, err := http.NewRequestWithContext(ctx, http.MethodPost, address, &body)
	if err != nil {
		return nil, err
	}
	httpReq.Header.Set("Authorization", "Bearer "+key)
	httpReq.Header.Set("Accept", "image/*")
	httpReq.Header.Set("Content-Type", form.FormDataContentType())
	return httpReq, nil
}

// fields are the fields of the form. What is not set is left out, so that
// Stability's own defaults hold.
func fields(req providers.Request) map[string]string {
	all := map[string]string{
		"prompt":          req.Prompt,
		"negative_prompt": req.NegativePrompt,
		"aspect_ratio":    req.AspectRatio,
		"style_preset":    req.Style,
		"output_format":   req.OutputFormat,
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	for name, raw := range req.Extra {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw) // a number or a boolean: Capabilities let nothing else pass
		}
		all[name] = text
	}
	if req.Seed != nil {
		all["seed"] = strconv.FormatInt(*req.Seed, 10)
	}
	if operation(req.Model) == "sd3" {
		all["model"] = req.Model
	}
	return all
}

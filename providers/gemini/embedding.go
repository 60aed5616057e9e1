package gemini

import (
	"context"
	"encoding/json"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// embed asks for the vector of a text.
func (p *Provider) embed(ctx context.Context, secret string, req providers.Request) (providers.Response, *providers.Error) {
	made := map[string]any{"content": content{Parts: []part{{Text: req.Prompt}}}}
	if req.Dimensions > 0 {
		made["outputDimensionality"] = req.Dimensions
	}
	if wire.Merge(made, req.Extra) != nil {
		return providers.Response{}, p.caller.Unsent(providers.InvalidRequest, "request_not_encodable")
	}
	a, failure := p.post(ctx, secret, embedOne, made, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	said, vectors, failure := p.vectors(a)
	switch {
	case failure != nil:
		return providers.Response{}, failure
	case len(vectors) != 1, req.Dimensions > 0 && len(vectors[0]) != req.Dimensions:
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, said)
	}
	res := p.response(a, req.Model, said)
	res.Vector, res.Raw, res.FinishReason = vectors[0], nil, "stop" // the body holds no more
	return res, nil
}

// vectors reads the vectors of an answer, in the order of the requests.
func (p *Provider) vectors(a wire.Answer) (providers.Usage, [][]float32, *providers.Error) {
	type vector struct {
		Values []float32 `json:"values"`
	}
	var said struct {
		Embedding  json.RawMessage `json:"embedding"`
		Embeddings json.RawMessage `json:"embeddings"`
		Usage      json.RawMessage `json:"usageMetadata"`
	}
	if wire.Decode(a.Body, &said) != nil {
		return providers.Usage{}, nil, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	r := wire.ReadReport(said.Usage)
	input := r.Int(wire.Window, "promptTokenCount")
	var details struct {
		Prompt modalities `json:"promptTokenDetails"`
	}
	_ = json.Unmarshal(said.Usage, &details) // of another form: no details
	var usage providers.Usage
	usage.AudioInputTokens = take(&input, details.Prompt.of("AUDIO"))
	usage.ImageInputTokens = take(&input, details.Prompt.of("IMAGE"))
	usage.InputTokens = input
	usage = r.Mark(usage)
	if len(said.Embedding) == 0 && len(said.Embeddings) == 0 {
		return usage, nil, p.caller.Malformed(a, wire.ErrNoResult, usage)
	}
	var one vector
	var many []vector
	if said.Embeddings == nil {
		if json.Unmarshal(said.Embedding, &one) != nil {
			return usage, nil, p.caller.Unreadable(a, wire.ErrNoResult, usage)
		}
		many = []vector{one}
	} else if json.Unmarshal(said.Embeddings, &many) != nil {
		return usage, nil, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	vectors := make([][]float32, len(many))
	for i, v := range many {
		if vectors[i] = v.Values; len(v.Values) == 0 {
			return usage, nil, p.caller.Unreadable(a, wire.ErrNoResult, usage)
		}
	}
	if len(vectors) == 0 {
		return usage, nil, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	return usage, vectors, nil
}

// readVectors judges the answer to a body for vectors. Its text is the vectors as JSON:
// one vector, or a list of them where several texts were given.
func (p *Provider) readVectors(a wire.Answer, model string) (providers.Response, *providers.Error) {
	usage, vectors, failure := p.vectors(a)
	if failure != nil {
		return providers.Response{}, failure
	}
	text, err := wire.VectorText(vectors)
	if err != nil {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	res := p.response(a, model, usage)
	res.Text, res.FinishReason = text, "stop"
	return res, nil
}

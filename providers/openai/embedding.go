package openai

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// embed asks for the vector of a text, or of several in a list. Their numbers are asked for
// in base64, which is a quarter as long as in decimals, of OpenAI itself; not every
// compatible server knows it.
func (p *Provider) embed(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	fields := map[string]any{"model": model, "input": req.Prompt}
	if len(req.With) > 0 {
		fields["input"] = append([]string{req.Prompt}, req.With...)
	}
	if req.Dimensions > 0 {
		fields["dimensions"] = req.Dimensions
	}
	if !p.config.Compatible {
		fields["encoding_format"] = "base64"
	}
	a, failure := p.postJSON(ctx, secret, "/embeddings", fields, "application/json", wire.MaxAnswer, req)
	if failure != nil {
		return providers.Response{}, failure
	}
	said, vectors, failure := p.vectors(a)
	switch {
	case failure != nil:
		return providers.Response{}, failure
	case len(vectors) != len(req.With)+1, req.Dimensions > 0 && slices.ContainsFunc(vectors, func(v []float32) bool { return len(v) != req.Dimensions }):
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, said.usage)
	}
	res := p.response(a, model, said.model, said.usage)
	res.Vector, res.Raw, res.FinishReason = vectors[0], nil, "stop" // the body holds no more
	if len(vectors) > 1 {
		res.With = vectors[1:]
	}
	return res, nil
}

// checkEmbedding refuses what OpenAI's embeddings do not take.
func checkEmbedding(req providers.Request, model string) error {
	if req.Dimensions > 0 && model == "text-embedding-ada-002" {
		return fmt.Errorf("dimensions: %s has 1536, always: leave it out, or name another model", model)
	}
	for prefix, most := range map[string]int{"text-embedding-3-small": 1536, "text-embedding-3-large": 3072} {
		if strings.HasPrefix(model, prefix) && req.Dimensions > most {
			return fmt.Errorf("dimensions: %s has at most %d, got %d", model, most, req.Dimensions)
		}
	}
	return req.RefuseExtra("input", "encoding_format")
}

// embedded holds what an answer says beside its vectors.
type embedded struct {
	model string
	usage providers.Usage
}

// vectors reads the vectors of an answer, in the order of the inputs.
func (p *Provider) vectors(a wire.Answer) (embedded, [][]float32, *providers.Error) {
	var said struct {
		Model wire.Text       `json:"model"`
		Data  json.RawMessage `json:"data"`
		Usage json.RawMessage `json:"usage"`
	}
	if wire.Decode(a.Body, &said) != nil {
		return embedded{}, nil, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	report := wire.ReadReport(said.Usage)
	of := embedded{string(said.Model), report.Mark(providers.Usage{InputTokens: report.Int(wire.Window, "prompt_tokens")})}
	of.usage.Cost = p.costOf(said.Usage)
	var data []struct {
		Index     int             `json:"index"`
		Embedding json.RawMessage `json:"embedding"`
	}
	if len(said.Data) == 0 {
		return of, nil, p.caller.Malformed(a, wire.ErrNoResult, of.usage)
	}
	if json.Unmarshal(said.Data, &data) != nil || len(data) == 0 {
		return of, nil, p.caller.Unreadable(a, wire.ErrNoResult, of.usage)
	}
	vectors := make([][]float32, len(data))
	for _, one := range data {
		vector, ok := vectorOf(one.Embedding)
		if !ok || one.Index < 0 || one.Index >= len(vectors) || vectors[one.Index] != nil {
			return of, nil, p.caller.Unreadable(a, wire.ErrNoResult, of.usage)
		}
		vectors[one.Index] = vector
	}
	return of, vectors, nil
}

// readVectors judges the answer to a body of /embeddings. Its text is the vectors as
// JSON: one vector, or a list of them where several texts were given.
func (p *Provider) readVectors(a wire.Answer, model string) (providers.Response, *providers.Error) {
	said, vectors, failure := p.vectors(a)
	if failure != nil {
		return providers.Response{}, failure
	}
	text, err := wire.VectorText(vectors)
	if err != nil {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, said.usage)
	}
	res := p.response(a, model, said.model, said.usage)
	res.Text, res.FinishReason = text, "stop"
	return res, nil
}

// vectorOf reads a vector: numbers, or their 32 bits each in base64, the lowest byte
// first. One that holds no number is none.
func vectorOf(raw json.RawMessage) ([]float32, bool) {
	var numbers []float32
	if json.Unmarshal(raw, &numbers) == nil {
		return numbers, len(numbers) > 0
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil, false
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || len(data)%4 != 0 {
		return nil, false
	}
	numbers = make([]float32, len(data)/4)
	for i := range numbers {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, false
		}
		numbers[i] = v
	}
	return numbers, true
}

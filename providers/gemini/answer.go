package gemini

import (
	"encoding/json"
	"slices"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// answer holds what is read of an answer.
type answer struct {
	Candidates     json.RawMessage `json:"candidates"`
	PromptFeedback struct {
		BlockReason wire.Text `json:"blockReason"`
	} `json:"promptFeedback"`
	Usage        json.RawMessage `json:"usageMetadata"`
	ModelVersion wire.Text       `json:"modelVersion"`
	ResponseID   wire.Text       `json:"responseId"`
}

// candidate is one of the texts or pictures. Only the first is used.
type candidate struct {
	Content struct {
		Parts json.RawMessage `json:"parts"`
	} `json:"content"`
	FinishReason wire.Text `json:"finishReason"`
}

// piece is a piece of an answer.
type piece struct {
	Text       wire.Text `json:"text"`
	Thought    bool      `json:"thought"`
	InlineData struct {
		Data wire.Text `json:"data"`
	} `json:"inlineData"`
	FunctionCall json.RawMessage `json:"functionCall"`
}

// declined are the reasons to end for which the answer's content is to blame.
func declined() []wire.Text {
	return []wire.Text{
		"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
	}
}

// read judges the answer.
func (p *Provider) read(a wire.Answer, req providers.Request) (providers.Response, *providers.Error) {
	var said answer
	if wire.Decode(a.Body, &said) != nil {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNotJSON, providers.Usage{})
	}
	usage := usageOf(said.Usage, req)
	if said.PromptFeedback.BlockReason != "" {
		return providers.Response{}, p.caller.Refused(a, string(said.PromptFeedback.BlockReason), usage)
	}
	if len(said.Candidates) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	}
	var candidates []candidate
	if json.Unmarshal(said.Candidates, &candidates) != nil || len(candidates) == 0 {
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	}
	first := candidates[0]
	found := readParts(first.Content.Parts)
	res := providers.Response{
		Provider:     p.config.Name,
		Model:        string(said.ModelVersion),
		FinishReason: string(first.FinishReason),
		RequestID:    wire.RequestID(a.Header),
		Status:       a.Status,
		Raw:          a.Body,
		Usage:        usage,
		Latency:      a.Latency,
		Limits:       wire.RateLimits(a.Header, a.At),
	}
	if res.Model == "" {
		res.Model = req.Model
	}
	if res.RequestID == "" {
		res.RequestID = wire.SanitiseCode(string(said.ResponseID))
	}
	if slices.Contains(declined(), first.FinishReason) {
		return providers.Response{}, p.caller.Refused(a, string(first.FinishReason), usage)
	}
	if req.Task == providers.Image {
		return p.picture(a, res, found)
	}
	if strings.TrimSpace(found.text) == "" && !found.called {
		return providers.Response{}, p.empty(a, first, len(found.media) > 0, usage)
	}
	res.Text = found.text
	return res, nil
}

// found holds what stands in the parts of an answer.
type found struct {
	text   string
	media  []wire.Text // in base64
	called bool        // a tool
}

func readParts(raw json.RawMessage) found {
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return found{}
	}
	var out found
	var text strings.Builder
	for _, one := range parts {
		var p piece
		if json.Unmarshal(one, &p) != nil || p.Thought {
			continue
		}
		text.WriteString(string(p.Text))
		if p.InlineData.Data != "" {
			out.media = append(out.media, p.InlineData.Data)
		}
		out.called = out.called || len(p.FunctionCall) > 0 && string(p.FunctionCall) != "null"
	}
	out.text = text.String()
	return out
}

// picture takes the picture out of the answer; a text beside it is left out.
func (p *Provider) picture(a wire.Answer, res providers.Response, found found) (providers.Response, *providers.Error) {
	if len(found.media) == 0 {
		failure := p.caller.Unreadable(a, wire.ErrNoResult, res.Usage)
		if failure.Kind == providers.Unreadable {
			failure.Code = wire.SanitiseCode(res.FinishReason)
		}
		return providers.Response{}, failure
	}
	for _, one := range found.media {
		data, err := wire.Base64(string(one))
		mime := providers.MediaType(data)
		if err != nil || !strings.HasPrefix(mime, "image/") {
			return providers.Response{}, p.caller.Unreadable(a, wire.ErrMediaType, res.Usage)
		}
		res.Blobs = append(res.Blobs, providers.Blob{MIME: mime, Data: data})
	}
	res.Usage.Images = int64(len(res.Blobs))
	return res, nil
}

// empty is the failure of a call that was answered without a text.
func (p *Provider) empty(a wire.Answer, c candidate, media bool, usage providers.Usage) *providers.Error {
	why := wire.ErrEmpty
	if media {
		why = wire.ErrOtherMedia
	}
	failure := p.caller.Unreadable(a, why, usage)
	if failure.Kind != providers.Unreadable {
		return failure
	}
	failure.Code = wire.SanitiseCode(string(c.FinishReason))
	if c.FinishReason == "MAX_TOKENS" {
		// Thinking left nothing for the answer: so it would the next time, and elsewhere.
		failure.Kind, failure.Err = providers.InvalidRequest, wire.ErrUsedUp
	}
	return failure
}

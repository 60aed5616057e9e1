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
	Grounding    grounding `json:"groundingMetadata"`
}

// grounding names what an answer rests on. Anything of another form reads as nothing.
type grounding struct{ Queries []wire.Text }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (g *grounding) UnmarshalJSON(data []byte) error {
	var said struct {
		Queries []wire.Text `json:"webSearchQueries"`
	}
	if json.Unmarshal(data, &said) == nil {
		g.Queries = said.Queries
	}
	return nil
}

// piece is a piece of an answer.
type piece struct {
	Text       wire.Text `json:"text"`
	Thought    bool      `json:"thought"`
	InlineData struct {
		MIMEType wire.Text `json:"mimeType"`
		Data     wire.Text `json:"data"`
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
	res, failure := p.judge(a, said, req)
	if failure != nil && failure.RequestID == "" { // Google names it in the body alone
		failure.RequestID = wire.SanitiseCode(string(said.ResponseID))
	}
	return res, failure
}

// judge tells an answer that can be used from one that cannot.
func (p *Provider) judge(a wire.Answer, said answer, req providers.Request) (providers.Response, *providers.Error) {
	var candidates []candidate
	broken := json.Unmarshal(said.Candidates, &candidates) != nil || len(candidates) == 0
	var first candidate
	var found found
	if !broken {
		first = candidates[0]
		found = readParts(first.Content.Parts)
	}
	usage := usageOf(said.Usage, req, found.pictures())
	usage.WebSearches = searches(candidates) // also of what is declined then
	switch {
	case said.PromptFeedback.BlockReason != "":
		return providers.Response{}, p.caller.Refused(a, string(said.PromptFeedback.BlockReason), usage)
	case len(said.Candidates) == 0:
		return providers.Response{}, p.caller.Malformed(a, wire.ErrNoResult, usage)
	case broken:
		return providers.Response{}, p.caller.Unreadable(a, wire.ErrNoResult, usage)
	case slices.Contains(declined(), first.FinishReason):
		return providers.Response{}, p.caller.Refused(a, string(first.FinishReason), usage)
	}
	model := string(said.ModelVersion)
	if model == "" {
		model = req.Model
	}
	res := p.response(a, model, usage)
	res.FinishReason = string(first.FinishReason)
	if found.called && first.FinishReason == "STOP" { // Google has no word of its own for it
		res.FinishReason = string(providers.FinishToolCalls)
	}
	if res.RequestID == "" {
		res.RequestID = wire.SanitiseCode(string(said.ResponseID))
	}
	if req.Task == providers.Image {
		return p.picture(a, res, found)
	}
	quiet := req.Task == providers.Transcription && first.FinishReason == "STOP" // silence is an answer
	if strings.TrimSpace(found.text) == "" && !found.called && len(found.media) == 0 && !quiet {
		return providers.Response{}, p.empty(a, first, usage)
	}
	res.Text = found.text
	for _, one := range found.media {
		blob, ok := one.blob()
		if !ok { // made, though we cannot have it
			return providers.Response{}, p.caller.Unreadable(a, wire.ErrMediaType, usage)
		}
		res.Blobs = append(res.Blobs, blob)
	}
	return res, nil
}

// response has the fields of every successful answer.
func (p *Provider) response(a wire.Answer, model string, usage providers.Usage) providers.Response {
	return providers.Response{
		Provider:  p.config.Name,
		Model:     model,
		RequestID: wire.RequestID(a.Header),
		Status:    a.Status,
		Raw:       a.Body,
		Usage:     usage,
		Latency:   a.Latency,
		Limits:    wire.RateLimits(a.Header, a.At),
	}
}

// found holds what stands in the parts of an answer.
type found struct {
	text   string
	media  []medium
	called bool // a tool
}

// medium is a picture or a sound in an answer.
type medium struct{ mime, data string }

// blob returns the medium; ok is false where it is no picture, sound or film. Bare
// samples carry no mark: there the answer's own word counts.
func (m medium) blob() (b providers.Blob, ok bool) {
	data, err := wire.Base64(m.data)
	if err != nil {
		return b, false
	}
	kind := providers.MediaType(data)
	if said, _, _ := strings.Cut(strings.ToLower(m.mime), ";"); kind == "" && (said == "audio/l16" || said == "audio/pcm") {
		kind = "audio/pcm"
	}
	media, _, _ := strings.Cut(kind, "/")
	return providers.Blob{MIME: kind, Data: data}, slices.Contains([]string{"image", "audio", "video"}, media)
}

// pictures reports whether there are pictures among the media.
func (f found) pictures() bool {
	return slices.ContainsFunc(f.media, func(m medium) bool { return strings.HasPrefix(m.mime, "image/") })
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
			out.media = append(out.media, medium{string(p.InlineData.MIMEType), string(p.InlineData.Data)})
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
		blob, ok := one.blob()
		if !ok || !strings.HasPrefix(blob.MIME, "image/") {
			return providers.Response{}, p.caller.Unreadable(a, wire.ErrMediaType, res.Usage)
		}
		res.Blobs = append(res.Blobs, blob)
	}
	res.Usage.Images = int64(len(res.Blobs))
	return res, nil
}

// empty is the failure of a call that was answered without a text.
func (p *Provider) empty(a wire.Answer, c candidate, usage providers.Usage) *providers.Error {
	failure := p.caller.Unreadable(a, wire.ErrEmpty, usage)
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

package gemini

import (
	"encoding/json"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// usageOf takes apart what Google counts. What was read from a cache is inside the
// prompt, the answers of tools stand beside it; thinking stands beside the
// candidates, and is charged as output. Sounds and pictures are told apart by
// modality, and what is left of a sum is text. Of an answer that is a picture and
// tells no modality, all that is no thinking is taken for the picture, which is the
// dearer. Parts never exceed the whole, whatever is reported.
func usageOf(raw json.RawMessage, req providers.Request, pictured bool) providers.Usage {
	r, most := wire.ReadReport(raw), bounds(req)
	input := min(r.Int(most.Input, "promptTokenCount")+r.Int(most.Input, "toolUsePromptTokenCount"), most.Input)
	written, thoughts := r.Int(most.Output, "candidatesTokenCount"), r.Int(most.Output, "thoughtsTokenCount")
	var details struct {
		Prompt     modalities `json:"promptTokensDetails"`
		Cached     modalities `json:"cacheTokensDetails"`
		Candidates modalities `json:"candidatesTokensDetails"`
	}
	_ = json.Unmarshal(raw, &details) // of another form: no details
	var u providers.Usage
	u.CachedInputTokens = take(&input, r.Int(most.Input, "cachedContentTokenCount"))
	u.AudioInputTokens = take(&input, details.Prompt.of("AUDIO")-details.Cached.of("AUDIO"))
	u.ImageInputTokens = take(&input, details.Prompt.of("IMAGE")-details.Cached.of("IMAGE"))
	u.InputTokens = input
	image := details.Candidates.of("IMAGE")
	if (req.Task == providers.Image || pictured) && len(details.Candidates) == 0 {
		image = written
	}
	u.ImageOutputTokens = take(&written, image)
	u.AudioOutputTokens = take(&written, details.Candidates.of("AUDIO"))
	u.OutputTokens = min(written+thoughts, most.Output)
	u.ReasoningTokens = min(thoughts, u.OutputTokens)
	u.Tier = providers.Tier(r.Word("serviceTier"))
	return r.Mark(u)
}

// bounds are the most tokens that a call can use.
func bounds(req providers.Request) wire.Bounds {
	if req.Task != providers.Text {
		return wire.Bounds{Input: wire.Window, Output: wire.Window}
	}
	return wire.TextBounds(req)
}

// searches counts the searches of the web that an answer rests on: Google charges for each
// of its queries.
func searches(candidates []candidate) int64 {
	var n int
	for _, c := range candidates {
		for _, query := range c.Grounding.Queries {
			if query != "" {
				n++
			}
		}
	}
	return int64(n)
}

// modalities are counts by modality. Anything of another form reads as none.
type modalities []modality

type modality struct {
	Modality   wire.Text       `json:"modality"`
	TokenCount json.RawMessage `json:"tokenCount"`
}

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (m *modalities) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		return nil //nolint:nilerr // another form
	}
	for _, raw := range list {
		var one modality
		if json.Unmarshal(raw, &one) == nil {
			*m = append(*m, one)
		}
	}
	return nil
}

// of is the count of a modality, 0 where none is told.
func (m modalities) of(name wire.Text) int64 {
	var sum int64
	for _, one := range m {
		var n int64
		if one.Modality == name && json.Unmarshal(one.TokenCount, &n) == nil && n > 0 {
			sum = min(sum+min(n, wire.Window), wire.Window)
		}
	}
	return sum
}

// take moves a part out of what is left of the whole.
func take(left *int64, part int64) int64 {
	part = min(max(part, 0), *left)
	*left -= part
	return part
}

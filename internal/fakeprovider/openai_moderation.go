package fakeprovider

import (
	"encoding/json"
	"net/http"
	"strings"
)

// moderate finds nothing to object to, but for inputs that hold the word "violence".
func (o *openai) moderate(c *call) answer {
	var r struct {
		Model string          `json:"model"`
		Input json.RawMessage `json:"input"`
	}
	if a := openaiDecode(c, &r, strings.Fields("input model")); a.status != 0 {
		return a
	}
	var text string
	var texts []string
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
	switch {
	case r.Input == nil:
		return openaiInvalid("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	case json.Unmarshal(r.Input, &text) == nil:
		texts = []string{text}
	case json.Unmarshal(r.Input, &texts) == nil:
	case json.Unmarshal(r.Input, &parts) == nil: // together one input
		for _, p := range parts {
			if p.Type != "text" && p.Type != "image_url" || p.Type == "image_url" && p.ImageURL.URL == "" {
				return openaiInvalid("invalid_value", "input", "Invalid value for 'input'.")
			}
			text += p.Text
		}
		texts = []string{text}
	default:
		return openaiInvalid("invalid_type", "input", "Invalid type for 'input'.")
	}
	if r.Model == "" {
		r.Model = "omni-moderation-latest"
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	results := make([]map[string]any, len(texts))
	for i, text := range texts {
		flagged, score := strings.Contains(text, "violence"), 0.0001
		if flagged {
			score = 0.98
		}
		results[i] = map[string]any{
			"flagged": flagged, "categories": map[string]bool{"violence": flagged, "hate": false, "sexual": false},
			"category_scores":              map[string]float64{"violence": score, "hate": 0.0001, "sexual": 0.0001},
			"category_applied_input_types": map[string][]string{"violence": {"text"}, "hate": {"text"}, "sexual": {"text"}},
		}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"id": "modr-" + c.id, "model": r.Model, "results": results})
}

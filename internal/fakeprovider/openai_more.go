package fakeprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"oneflow/internal/media"
)

// The limits of OpenAI's embeddings: inputs of an array, tokens of an input and of all.
const (
	maxInputs      = 2048
	maxInputTokens = 8192
	maxArrayTokens = 300_000
)

// embeddings makes a vector for each input, out of that alone: the same text has the
// same vector in whatever call.
func (o *openai) embeddings(c *call) answer {
	var r struct {
		Model          string          `json:"model"`
		Input          json.RawMessage `json:"input"`
		EncodingFormat string          `json:"encoding_format"`
		Dimensions     *int            `json:"dimensions"`
	}
	if a := openaiDecode(c, &r, strings.Fields("input model encoding_format dimensions user")); a.status != 0 {
		return a
	}
	inputs, a := embeddingInputs(r.Input)
	switch {
	case a.status != 0:
		return a
	case r.Model == "":
		return openaiInvalid("", "", "you must provide a model parameter")
	case r.EncodingFormat != "" && r.EncodingFormat != "float" && r.EncodingFormat != "base64":
		return openaiInvalid("invalid_value", "encoding_format", "Invalid value: '"+r.EncodingFormat+"'. Supported values are: 'float' and 'base64'.")
	case r.Dimensions != nil && !strings.HasPrefix(r.Model, "text-embedding-3"):
		return openaiInvalid("", "", "This model does not support specifying dimensions.")
	case r.Dimensions != nil && (*r.Dimensions < 1 || *r.Dimensions > widthOf(r.Model)):
		return openaiInvalid("", "", fmt.Sprintf("Invalid value for 'dimensions' = %d. Must be less than or equal to %d.", *r.Dimensions, widthOf(r.Model)))
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	width := widthOf(r.Model)
	if r.Dimensions != nil {
		width = *r.Dimensions
	}
	var used int64
	for _, input := range inputs {
		n := countTokens(input)
		if n > maxInputTokens {
			return openaiInvalid("", "", fmt.Sprintf("This model's maximum context length is %d tokens, however you requested %d tokens "+
				"(%d in your prompt; 0 for the completion). Please reduce your prompt; or completion length.", maxInputTokens, n, n))
		}
		used += n
	}
	if used > maxArrayTokens {
		return openaiError(http.StatusBadRequest, "max_tokens_per_request", "max_tokens_per_request", "",
			fmt.Sprintf("Requested %d tokens, max %d tokens per request", used, maxArrayTokens))
	}
	return answer{
		status: http.StatusOK, contentType: "application/json", usage: Usage{InputTokens: used}, billed: Billed{Input: used},
		render: func() []byte {
			data := make([]map[string]any, len(inputs))
			for i, input := range inputs {
				var vector any = Vector(input, width)
				if r.EncodingFormat == "base64" {
					vector = inBase64(Vector(input, width))
				}
				data[i] = map[string]any{"object": "embedding", "index": i, "embedding": vector}
			}
			return jsonAnswer(http.StatusOK, map[string]any{
				"object": "list", "data": data, "model": r.Model, "usage": map[string]int64{"prompt_tokens": used, "total_tokens": used},
			}).body
		},
	}
}

// embeddingInputs reads what is to be embedded: a text, tokens, or a list of either.
// Tokens stand for themselves, as text.
func embeddingInputs(raw json.RawMessage) ([]string, answer) {
	var text string
	var texts []string
	var tokens []int
	var lists [][]int
	switch {
	case raw == nil || string(raw) == "null":
		return nil, openaiInvalid("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	case json.Unmarshal(raw, &text) == nil:
		texts = []string{text}
	case json.Unmarshal(raw, &texts) == nil:
	case json.Unmarshal(raw, &tokens) == nil:
		texts = []string{fmt.Sprint(tokens)}
	case json.Unmarshal(raw, &lists) == nil:
		for _, list := range lists {
			texts = append(texts, fmt.Sprint(list))
		}
	default:
		return nil, openaiInvalid("", "", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
	}
	switch {
	case len(texts) == 0, slices.Contains(texts, ""):
		return nil, openaiInvalid("", "input", "'$.input' is invalid: input cannot be an empty string.")
	case len(texts) > maxInputs:
		return nil, openaiInvalid("", "input", fmt.Sprintf("'$.input' is invalid: expected at most %d items, got %d.", maxInputs, len(texts)))
	}
	return texts, answer{}
}

func widthOf(model string) int {
	if strings.Contains(model, "large") {
		return 3072
	}
	return 1536
}

// Vector is the embedding of a text here: of length 1, and of that many dimensions.
func Vector(text string, dimensions int) []float32 {
	draw := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(text))))
	vector, square := make([]float32, dimensions), 0.0
	for i := range vector {
		v := draw.NormFloat64()
		vector[i], square = float32(v), square+v*v
	}
	for i := range vector {
		vector[i] /= float32(math.Sqrt(square))
	}
	return vector
}

func inBase64(vector []float32) string {
	var data []byte
	for _, v := range vector {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(data)
}

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

// edit draws over pictures, which come as JSON or as files of a form.
func (o *openai) edit(c *call) answer {
	fields := strings.Fields("model images mask prompt n quality input_fidelity size user output_format output_compression moderation background stream partial_images")
	var images int
	if c.form != nil {
		if images = len(c.files["image"]) + len(c.files["image[]"]); images == 0 {
			return openaiInvalid("missing_required_parameter", "image", "Missing required parameter: 'image'.")
		}
		made := map[string]any{}
		for name, value := range c.form {
			made[name] = value
			if n, err := strconv.Atoi(value); err == nil && name == "n" {
				made[name] = n
			}
		}
		body, err := json.Marshal(made)
		if err != nil {
			return c.refuse(refusal{reason: serverError})
		}
		c.body = body
		fields = append(fields, "response_format")
	} else {
		var r struct {
			Images []struct {
				ImageURL string `json:"image_url"`
				FileID   string `json:"file_id"`
			} `json:"images"`
		}
		if a := openaiDecode(c, &r, fields); a.status != 0 {
			return a
		}
		if images = len(r.Images); images == 0 || images > 16 {
			return openaiInvalid("missing_required_parameter", "images", "Invalid 'images': expected 1 to 16.")
		}
		for i, one := range r.Images {
			if (one.ImageURL == "") == (one.FileID == "") {
				return openaiInvalid("invalid_value", fmt.Sprintf("images[%d]", i), "Provide either 'image_url' or 'file_id'.")
			}
		}
	}
	return o.draw(c, fields, images)
}

// editTokens are the tokens of each picture that is given to be edited.
const editTokens = 272

// transcribe says the same about the same sound. whisper-1 and gpt-transcribe are paid
// by the second, the others by tokens.
func (o *openai) transcribe(c *call) answer {
	sound := c.file("file")
	format, model := c.form["response_format"], c.form["model"]
	switch known := strings.Fields("model language languages keywords prompt response_format temperature include[] timestamp_granularities[] stream chunking_strategy"); {
	case c.form == nil:
		return openaiInvalid("", "", "Content-Type must be multipart/form-data.")
	case sound == nil:
		return openaiInvalid("missing_required_parameter", "file", "Missing required parameter: 'file'.")
	case model == "":
		return openaiInvalid("", "", "you must provide a model parameter")
	case !slices.Contains([]string{"", "json", "text", "srt", "vtt", "verbose_json"}, format):
		return openaiInvalid("invalid_value", "response_format", "Invalid value: '"+format+"'.")
	case strings.HasPrefix(model, "gpt-4o") && format != "" && format != "json":
		return openaiInvalid("unsupported_value", "response_format", fmt.Sprintf("response_format '%s' is not compatible with model '%s'. Use 'json' instead.", format, model))
	default:
		for name := range c.form {
			if !slices.Contains(known, name) {
				return openaiInvalid("unknown_parameter", name, fmt.Sprintf("Unknown parameter: '%s'.", name))
			}
		}
	}
	if temperature := c.form["temperature"]; temperature != "" {
		if t, err := strconv.ParseFloat(temperature, 64); err != nil || t < 0 || t > 1 {
			return openaiInvalid("decimal_above_max_value", "temperature", "Invalid 'temperature': expected a value from 0 to 1.")
		}
	}
	if a := o.known(model); a.status != 0 {
		return a
	}
	sum := sha256.Sum256(sound)
	text := media.Prose(binary.LittleEndian.Uint64(sum[:]))
	seconds := soundSeconds(sound)
	body := map[string]any{"text": text}
	var used Usage
	if strings.HasPrefix(model, "gpt-4o") {
		used = Usage{InputTokens: 10*seconds + countTokens(c.form["prompt"]), OutputTokens: countTokens(text)}
		body["usage"] = map[string]any{
			"type": "tokens", "input_tokens": used.InputTokens, "output_tokens": used.OutputTokens, "total_tokens": used.InputTokens + used.OutputTokens,
			"input_token_details": map[string]int64{"text_tokens": used.InputTokens - 10*seconds, "audio_tokens": 10 * seconds},
		}
	} else {
		used = Usage{MilliSeconds: seconds * 1000}
		body["usage"] = map[string]any{"type": "duration", "seconds": seconds}
	}
	if format == "verbose_json" {
		body["task"], body["language"], body["duration"], body["segments"] = "transcribe", "english", float64(seconds), []any{}
	}
	a := jsonAnswer(http.StatusOK, body)
	if format == "text" || format == "srt" || format == "vtt" {
		a = answer{status: http.StatusOK, contentType: "text/plain; charset=utf-8", body: []byte(text)}
	}
	a.usage = used
	a.billed = Billed{MilliSeconds: used.MilliSeconds, Output: used.OutputTokens, AudioInput: 10 * seconds, Input: used.InputTokens - 10*seconds}
	if used.MilliSeconds > 0 {
		a.billed.AudioInput, a.billed.Input = 0, 0
	}
	return a
}

// soundSeconds is the length of a sound, rounded up: a WAV says its bytes a second, of
// anything else 16,000 are taken to be one.
func soundSeconds(sound []byte) int64 {
	rate := int64(16_000)
	if len(sound) > 44 && string(sound[:4]) == "RIFF" {
		rate = max(1, int64(binary.LittleEndian.Uint32(sound[28:])))
		sound = sound[44:]
	}
	return (int64(len(sound)) + rate - 1) / rate
}

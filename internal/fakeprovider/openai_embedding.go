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
	"strings"
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

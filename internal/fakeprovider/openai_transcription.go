package fakeprovider

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"oneflow/internal/media"
)

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

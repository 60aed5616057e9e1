package fakeprovider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"oneflow/internal/media"
)

// pixels reads WIDTHxHEIGHT.
func pixels(size string) (w, h int, ok bool) {
	a, b, found := strings.Cut(size, "x")
	w, errW := strconv.Atoi(a)
	h, errH := strconv.Atoi(b)
	return w, h, found && errW == nil && errH == nil && w > 0 && h > 0 && w <= media.MaxSide && h <= media.MaxSide
}

// picture makes a PNG or JPEG of a size that was checked before.
func picture(seed uint64, format string, w, h int) []byte {
	encode := media.PNG
	if format == "jpeg" {
		encode = media.JPEG
	}
	data, err := encode(seed, w, h)
	if err != nil {
		return nil
	}
	return data
}

type imageRequest struct {
	Model          string `json:"model"`
	Prompt         string `json:"prompt"`
	N              *int   `json:"n"`
	Size           string `json:"size"`
	Quality        string `json:"quality"`
	Background     string `json:"background"`
	Style          string `json:"style"`
	OutputFormat   string `json:"output_format"`
	ResponseFormat string `json:"response_format"`
}

// check refuses what OpenAI refuses, and fills in defaults.
func (r *imageRequest) check() answer {
	if r.Model == "" {
		r.Model = "dall-e-2"
	}
	dalle := strings.HasPrefix(r.Model, "dall-e-")
	gpt := strings.HasPrefix(r.Model, "gpt-image-")
	sizes, qualities, limit := []string(nil), []string{"auto", "low", "medium", "high"}, 32000
	switch {
	case r.Model == "dall-e-2":
		sizes, qualities, limit = []string{"256x256", "512x512", "1024x1024"}, []string{"standard"}, 1000
	case r.Model == "dall-e-3":
		sizes, qualities, limit = []string{"1024x1024", "1792x1024", "1024x1792"}, []string{"standard", "hd"}, 4000
	case strings.HasPrefix(r.Model, "gpt-image-1"):
		sizes = []string{"auto", "1024x1024", "1536x1024", "1024x1536"}
	case !gpt:
		qualities = nil // a compatible server's own model
	}
	_, _, sized := pixels(r.Size)
	switch {
	case r.Prompt == "":
		return openaiInvalid("missing_required_parameter", "prompt", "Missing required parameter: 'prompt'.")
	case utf8.RuneCountInString(r.Prompt) > limit:
		return openaiInvalid("string_above_max_length", "prompt", fmt.Sprintf(
			"Invalid 'prompt': string too long. Expected a string with maximum length %d, but got a string with length %d instead.",
			limit, utf8.RuneCountInString(r.Prompt),
		))
	case r.N != nil && (*r.N < 1 || *r.N > 10 || r.Model == "dall-e-3" && *r.N != 1):
		return openaiInvalid("integer_above_max_value", "n", fmt.Sprintf("Invalid 'n': %d is not supported with this model.", *r.N))
	case r.Size != "" && (sizes != nil && !slices.Contains(sizes, r.Size) || r.Size != "auto" && !sized):
		return openaiInvalid("invalid_value", "size", fmt.Sprintf("Invalid value: '%s'. Supported values are: %s.", r.Size, quoted(sizes)))
	case r.Quality != "" && qualities != nil && !slices.Contains(qualities, r.Quality):
		return openaiInvalid("invalid_value", "quality", fmt.Sprintf("Invalid value: '%s'. Supported values are: %s.", r.Quality, quoted(qualities)))
	case r.Style != "" && gpt:
		return openaiInvalid("unknown_parameter", "style", "Unknown parameter: 'style'.")
	case r.ResponseFormat != "" && gpt:
		return openaiInvalid("unknown_parameter", "response_format", "Unknown parameter: 'response_format'.")
	case r.ResponseFormat != "" && r.ResponseFormat != "url" && r.ResponseFormat != "b64_json":
		return openaiInvalid("invalid_value", "response_format", fmt.Sprintf("Invalid value: '%s'. Supported values are: 'b64_json' and 'url'.", r.ResponseFormat))
	case r.OutputFormat != "" && dalle:
		return openaiInvalid("unknown_parameter", "output_format", "Unknown parameter: 'output_format'.")
	case r.OutputFormat == "webp":
		return openaiInvalid("unsupported_value", "output_format", "The fake provider cannot make webp: ask for png or jpeg.")
	case r.OutputFormat != "" && r.OutputFormat != "png" && r.OutputFormat != "jpeg":
		return openaiInvalid("invalid_value", "output_format", fmt.Sprintf("Invalid value: '%s'. Supported values are: 'png', 'webp', and 'jpeg'.", r.OutputFormat))
	}
	if r.Size == "" || r.Size == "auto" {
		r.Size = "1024x1024"
	}
	if r.OutputFormat == "" {
		r.OutputFormat = "png"
	}
	return answer{}
}

func quoted(values []string) string { return "'" + strings.Join(values, "', '") + "'" }

// imageTokens returns the tokens that gpt-image-1 charges for a picture.
func imageTokens(quality string, w, h int) int64 {
	square := map[string]int64{"low": 272, "high": 4160}[quality]
	if square == 0 {
		square = 1056 // medium
	}
	if w != h {
		square = square * 3 / 2
	}
	return square
}

// images draws. The gpt-image models answer with b64_json and usage, the
// others as response_format says: an address on this server by default.
func (o *openai) images(c *call) answer {
	return o.draw(c, strings.Fields("prompt model n quality response_format output_format output_compression stream partial_images "+
		"size moderation background style user"), 0)
}

// draw draws for a body that may have these fields, beside pictures to draw over.
func (o *openai) draw(c *call, fields []string, given int) answer {
	var r imageRequest
	if a := openaiDecode(c, &r, fields); a.status != 0 {
		return a
	}
	if a := r.check(); a.status != 0 {
		return a
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	n := 1
	if r.N != nil {
		n = *r.N
	}
	w, h, _ := pixels(r.Size)
	gpt := strings.HasPrefix(r.Model, "gpt-image-")
	body := map[string]any{"created": c.arrived.Unix()}
	out := answer{status: http.StatusOK, contentType: "application/json", usage: Usage{Images: int64(n)}}
	if gpt {
		quality := r.Quality
		if quality == "" || quality == "auto" {
			quality = "medium"
		}
		text, pictures := countTokens(r.Prompt), int64(given)*editTokens
		out.usage.InputTokens, out.usage.OutputTokens = text+pictures, int64(n)*imageTokens(quality, w, h)
		out.billed = Billed{Input: text, ImageInput: pictures, ImageOutput: out.usage.OutputTokens}
		body["quality"], body["size"], body["output_format"], body["background"] = quality, r.Size, r.OutputFormat, "opaque"
		body["usage"] = map[string]any{
			"input_tokens": out.usage.InputTokens, "output_tokens": out.usage.OutputTokens, "total_tokens": out.usage.InputTokens + out.usage.OutputTokens,
			"input_tokens_details":  map[string]int64{"text_tokens": text, "image_tokens": pictures},
			"output_tokens_details": map[string]int64{"text_tokens": 0, "image_tokens": out.usage.OutputTokens},
		}
	}
	out.render = func() []byte {
		data := make([]map[string]string, n)
		for i := range data {
			seed := c.seed() + uint64(i)
			switch {
			case c.fault == PrivateURL:
				data[i] = map[string]string{"url": fmt.Sprintf("http://10.255.255.1/%d.png", seed)}
			case gpt || r.ResponseFormat == "b64_json" || c.fault == DataURL || c.fault == OddBase64:
				data[i] = map[string]string{"b64_json": c.base64(picture(seed, r.OutputFormat, w, h), "image/"+r.OutputFormat)}
			default:
				data[i] = map[string]string{"url": fmt.Sprintf("%s/v1/images/files/%s/%d.png", c.base(), r.Size, seed)}
			}
			if r.Model == "dall-e-3" {
				data[i]["revised_prompt"] = media.Prose(seed)
			}
		}
		body["data"] = data
		return jsonAnswer(http.StatusOK, body).body
	}
	return out
}

// base is the address that the client knows this server by.
func (c *call) base() string {
	if c.r.TLS != nil {
		return "https://" + c.r.Host
	}
	return "http://" + c.r.Host
}

// imageFile is a picture behind one of the addresses that images gives.
func (*openai) imageFile(c *call) answer {
	w, h, ok := pixels(c.segment(3))
	name, _ := strings.CutSuffix(c.segment(4), ".png")
	seed, err := strconv.ParseUint(name, 10, 64)
	if !ok || err != nil {
		return c.refuse(refusal{reason: noSuchPath, status: http.StatusNotFound})
	}
	return answer{status: http.StatusOK, contentType: "image/png", body: picture(seed, "png", w, h)}
}

type speechRequest struct {
	Model          string          `json:"model"`
	Input          string          `json:"input"`
	Voice          json.RawMessage `json:"voice"`
	ResponseFormat string          `json:"response_format"`
	Speed          *float64        `json:"speed"`
}

// spoken returns the time that it takes to say a text here: 60 ms a character, at most 5 s.
func spoken(text string) time.Duration {
	return min(time.Duration(utf8.RuneCountInString(text))*60*time.Millisecond, 5*time.Second)
}

// speech speaks: a tone as wav or pcm, silence as mp3 (the default).
func (o *openai) speech(c *call) answer {
	var r speechRequest
	if a := openaiDecode(c, &r, strings.Fields("model input instructions voice response_format speed stream_format")); a.status != 0 {
		return a
	}
	for name, missing := range map[string]bool{"model": r.Model == "", "input": r.Input == "", "voice": r.Voice == nil} {
		if missing {
			return openaiInvalid("missing_required_parameter", name, fmt.Sprintf("Missing required parameter: '%s'.", name))
		}
	}
	n := utf8.RuneCountInString(r.Input)
	switch {
	case n > 4096:
		return openaiInvalid("string_above_max_length", "input", fmt.Sprintf(
			"Invalid 'input': string too long. Expected a string with maximum length 4096, but got a string with length %d instead.", n,
		))
	case r.Speed != nil && (*r.Speed < 0.25 || *r.Speed > 4):
		return openaiInvalid("decimal_out_of_range", "speed", fmt.Sprintf("Invalid 'speed': expected a value from 0.25 to 4, but got %g instead.", *r.Speed))
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	out := answer{status: http.StatusOK, usage: Usage{Characters: int64(n)}, billed: Billed{Characters: int64(n)}}
	switch r.ResponseFormat {
	case "", "mp3":
		out.contentType, out.render = "audio/mpeg", func() []byte { return media.MP3(spoken(r.Input)) }
	case "wav":
		out.contentType, out.render = "audio/wav", func() []byte { return media.WAV(c.seed(), 24000, spoken(r.Input)) }
	case "pcm":
		out.contentType, out.render = "audio/pcm", func() []byte { return media.PCM(c.seed(), 24000, spoken(r.Input)) }
	case "opus", "aac", "flac":
		return openaiInvalid("unsupported_value", "response_format", fmt.Sprintf("The fake provider cannot make %s: ask for mp3, wav or pcm.", r.ResponseFormat))
	default:
		return openaiInvalid("invalid_value", "response_format", fmt.Sprintf(
			"Invalid value: '%s'. Supported values are: 'mp3', 'opus', 'aac', 'flac', 'wav', and 'pcm'.", r.ResponseFormat,
		))
	}
	return out
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

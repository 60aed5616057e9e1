package mock

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"oneflow/internal/media"
	"oneflow/providers"
)

// tokens counts as the mock does: one token for each 4 bytes of UTF-8 begun. Its
// input is the system prompt, the prompt and the contents of all messages, each
// counted for itself; its output is the answer.
func tokens(text string) int64 { return int64(len(text)+3) / 4 }

// generate makes the answer to a request that has passed the capabilities' check
// and names its model.
func generate(c *call) (providers.Response, error) {
	switch c.req.Task {
	case providers.Text:
		return text(c)
	case providers.Image:
		return pictures(c)
	case providers.Audio:
		return sound(c), nil
	case providers.Video:
		return film(c)
	case providers.Embedding:
		return vector(c), nil
	case providers.Transcription:
		return transcribe(c), nil
	case providers.Moderation: // the capabilities refuse it
	}
	return providers.Response{}, fmt.Errorf("task %q: must be one of %v", c.req.Task, providers.Tasks())
}

func pictures(c *call) (providers.Response, error) {
	w, h, err := size(c.req.Size, "64x64")
	if err != nil {
		return providers.Response{}, err
	}
	n := max(c.req.N, 1)
	res := providers.Response{FinishReason: "stop"}
	for i := range n {
		data, err := media.PNG(c.seed()+uint64(i), w, h)
		if err != nil {
			return providers.Response{}, fmt.Errorf("size: %w", err)
		}
		res.Blobs = append(res.Blobs, providers.Blob{MIME: "image/png", Data: data})
	}
	res.Usage = providers.Usage{Images: int64(n), Variant: fmt.Sprintf("%dx%d", w, h)}
	return res, nil
}

// sound makes a tone of 20 ms for each code point, from 100 ms to 2 s, divided
// by the speed.
func sound(c *call) providers.Response {
	n := utf8.RuneCountInString(c.req.Prompt)
	length := min(max(time.Duration(n)*20*time.Millisecond, 100*time.Millisecond), 2*time.Second)
	if c.req.Speed != nil {
		length = time.Duration(float64(length) / *c.req.Speed)
	}
	return providers.Response{
		FinishReason: "stop",
		Blobs:        []providers.Blob{{MIME: "audio/wav", Data: media.WAV(c.seed(), 8000, min(length, 2*time.Second))}},
		Usage:        providers.Usage{Characters: int64(n)},
	}
}

// vector makes a vector of length 1, of 64 dimensions where nobody says, out of the
// prompt alone: the same text has the same vector whoever asks for it.
func vector(c *call) providers.Response {
	res := providers.Response{FinishReason: "stop", Vector: vectorOf(c.req.Prompt, c.req.Dimensions), Usage: providers.Usage{InputTokens: tokens(c.req.Prompt)}}
	for _, prompt := range c.req.With {
		res.With = append(res.With, vectorOf(prompt, c.req.Dimensions))
		res.Usage.InputTokens += tokens(prompt)
	}
	return res
}

func vectorOf(prompt string, n int) []float32 {
	if n == 0 {
		n = 64
	}
	seed := sha256.Sum256([]byte(prompt))
	draw := rand.New(rand.NewChaCha8(seed))
	vector, square := make([]float32, n), 0.0
	for i := range vector {
		v := draw.NormFloat64()
		vector[i], square = float32(v), square+v*v
	}
	for i := range vector {
		vector[i] /= float32(math.Sqrt(square))
	}
	return vector
}

// transcribe makes up what is said in a sound.
func transcribe(c *call) providers.Response {
	res := providers.Response{FinishReason: "stop", Text: media.Prose(c.seed())}
	for p := range c.req.Media() {
		res.Usage.MilliSeconds = providers.SoundSeconds(p.Data) * 1000
	}
	return res
}

func film(c *call) (providers.Response, error) {
	w, h, err := size(c.req.Size, "320x180")
	if err != nil {
		return providers.Response{}, err
	}
	length := time.Duration(max(c.req.Seconds, 1)) * time.Second
	data, err := media.MP4(c.seed(), w, h, length)
	if err != nil {
		return providers.Response{}, fmt.Errorf("size: %w", err)
	}
	return providers.Response{
		FinishReason: "stop",
		Blobs:        []providers.Blob{{MIME: "video/mp4", Data: data}},
		Usage:        providers.Usage{MilliSeconds: length.Milliseconds(), Variant: fmt.Sprintf("%dx%d", w, h)},
	}, nil
}

// size reads WIDTHxHEIGHT.
func size(s, fallback string) (w, h int, err error) {
	if s == "" {
		s = fallback
	}
	if _, err := fmt.Sscanf(s, "%dx%d", &w, &h); err != nil {
		return 0, 0, fmt.Errorf("size: must be WIDTHxHEIGHT such as %q, got %q", fallback, s)
	}
	return w, h, nil
}

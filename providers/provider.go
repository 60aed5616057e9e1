// Package providers is the contract between OneFlow and the services that
// generate text, pictures, sound and film: what a call asks for (Request), what
// comes back (Response, Usage, RateLimits), how it fails (Error, Kind, Billing),
// and what each kind of provider can do (Capabilities).
//
// Each provider has a subpackage that implements Provider. This package imports
// nothing of OneFlow and knows none of its implementations, so that a command
// that calls no provider links none of their libraries.
package providers

import (
	"context"
	"time"
)

// Provider makes generation calls to one service. Implementations are safe for
// concurrent use, do not retry, do not wait for rate limits and do not log.
type Provider interface {
	// Name is the configured name, such as "openai" or "local-vllm": it names
	// the queue, the ledger rows and the metrics.
	Name() string
	// Generate makes exactly one call. ctx bounds all of it. A failure is
	// always an *Error; success means that a usable answer came back.
	Generate(ctx context.Context, req Request) (Response, error)
}

// Journal is told of each provider call before it is sent, and what came of it.
// A guarded provider calls Begin after it got its slot and right before sending.
type Journal interface {
	// Begin records that req is about to be sent to provider. When it returns an
	// error the call must not be sent. The outcome must be handed to Call.End
	// exactly once, also when the call panics.
	Begin(ctx context.Context, provider string, req Request) (Call, error)
	// MayRepeat reports whether what was sent may be sent again after it failed
	// with err, in view of what that may cost.
	MayRepeat(err *Error) bool
}

// Call is one provider call that stands in the journal.
type Call interface {
	// End records the outcome: err is nil for success, else an *Error. A success is
	// the job's result from then on, and the bytes of its Blobs may be gone.
	End(ctx context.Context, res Response, err error) error
	// Ordered writes down the handle of what the call has ordered; empty: it is over.
	Ordered(ctx context.Context, handle string) error
}

// Task is the kind of thing to generate.
type Task string

// The kinds of tasks.
const (
	Text          Task = "text"
	Image         Task = "image"
	Audio         Task = "audio"
	Video         Task = "video"
	Embedding     Task = "embedding"     // a text becomes a vector
	Transcription Task = "transcription" // a sound becomes a text
	// Moderation is asked for by a vendor's own body only: the answer is the vendor's.
	Moderation Task = "moderation"
)

// Tasks lists the tasks that have options of their own and chains, in the order in which
// they are shown.
func Tasks() []Task { return []Task{Text, Image, Audio, Video, Embedding, Transcription} }

// Response is the answer to one successful call.
type Response struct {
	// Provider is the configured name of the provider that answered.
	Provider string
	// Model is the model that answered, as the provider names it; the
	// requested one where the provider does not say.
	Model string
	// Text is the generated text as it came; it may hold anything that JSON
	// can carry. Empty for pictures, sound and film.
	Text string
	// Blobs are the generated pictures, sounds or films.
	Blobs []Blob
	// Vector is the embedding of the prompt. Nil for other tasks.
	Vector []float32
	// With holds the embeddings of Request.With, in their order.
	With [][]float32 `json:",omitempty"`
	// FinishReason is the provider's own word, such as "stop" or "end_turn".
	FinishReason string
	// RequestID is the provider's id of this call, for its support.
	RequestID string
	// Status is the HTTP status of the answer, such as 200.
	Status int
	// Raw is the body as it came. Nil where the body was the blob itself.
	Raw []byte
	// Usage is the use by the provider's word (or as far as it is known).
	Usage Usage
	// Latency is the time from sending the request to the last byte read.
	Latency time.Duration
	// Limits are those that the answer's headers named.
	Limits RateLimits
}

// Blob is one generated picture, sound or film.
type Blob struct {
	// MIME is the media type found in the bytes themselves, such as "image/png".
	MIME string
	// Data is the content.
	Data []byte
}

// RateLimits are the headers' statements about the limits of the key that
// was used. A nil field was not in the answer.
type RateLimits struct {
	Requests     *RateLimit `json:"requests,omitempty"`
	Tokens       *RateLimit `json:"tokens,omitempty"` // input and output together (OpenAI)
	InputTokens  *RateLimit `json:"input_tokens,omitempty"`
	OutputTokens *RateLimit `json:"output_tokens,omitempty"`
	// Concurrent is the number of calls that may run at once, and how many do.
	Concurrent *RateLimit `json:"concurrent,omitempty"`
}

// RateLimit is one dimension of a rate limit.
type RateLimit struct {
	// Limit is the allowance per window; -1 when the provider did not say.
	Limit int64 `json:"limit"`
	// Remaining is the part of it that is left now; -1 when the provider did not say.
	Remaining int64 `json:"remaining"`
	// Reset is the time from the answer until the allowance is full again; 0
	// when the provider did not say.
	Reset time.Duration `json:"reset_ns"`
}

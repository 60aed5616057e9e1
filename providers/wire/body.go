package wire

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// Sizes and times that answers are read with.
const (
	// MaxAnswer is the most that is read of a successful answer.
	MaxAnswer int64 = 32 << 20
	// MaxErrorBody is the most that is kept of a refusal.
	MaxErrorBody int64 = 64 << 10
	// IdleTimeout is the time that an answer may stand still while it is read.
	IdleTimeout = 30 * time.Second
)

// AnswerError says what is wrong with an answer, in constant words: nothing of
// the request or the answer is in it.
type AnswerError string

// What can be wrong with an answer.
const (
	ErrTooLarge    AnswerError = "the answer is too large"
	ErrIdle        AnswerError = "the answer stood still"
	ErrTruncated   AnswerError = "the answer broke off"
	ErrEmpty       AnswerError = "the answer is empty"
	ErrMediaType   AnswerError = "the answer is not of the media type that was asked for"
	ErrNotJSON     AnswerError = "the answer is not the JSON that was asked for"
	ErrNoResult    AnswerError = "the answer holds no result"
	ErrOtherMedia  AnswerError = "the answer holds media where a text was asked for"
	ErrCoding      AnswerError = "the answer's compression is broken, or unknown"
	ErrPage        AnswerError = "the answer is not the API's"
	ErrUsedUp      AnswerError = "max_tokens was used up before the answer began: allow more"
	ErrNotRepeated AnswerError = "the connection was lost after sending, and the request is not repeated"
)

// Error returns the words.
func (e AnswerError) Error() string { return string(e) }

// readBody reads body to its end and closes it. It fails with ErrTooLarge beyond
// limit bytes, with ErrIdle when nothing comes for as long as idle (0 means
// forever), with ErrTruncated when less came than was announced, and with ctx's
// error when that ends. What was read until then is returned too.
func readBody(ctx context.Context, body io.ReadCloser, limit int64, idle time.Duration) ([]byte, error) {
	// Only closing the body wakes a Read that waits for the network.
	defer func() { _ = body.Close() }()
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	var stood atomic.Bool
	timer := time.AfterFunc(positive(idle, 1<<62), func() {
		stood.Store(true)
		_ = body.Close()
	})
	defer timer.Stop()

	data := make([]byte, 0, 4096)
	for moved := true; ; {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		if moved && idle > 0 {
			timer.Reset(idle)
		}
		n, err := body.Read(data[len(data):cap(data)])
		if moved = n > 0; moved {
			timer.Stop() // only waiting counts, not what is done with the data
		}
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return data[:limit], ErrTooLarge
		case errors.Is(err, io.EOF):
			return data, nil
		case err == nil:
			continue
		case ctx.Err() != nil:
			return data, ctx.Err()
		case stood.Load():
			return data, ErrIdle
		case errors.Is(err, io.ErrUnexpectedEOF):
			return data, ErrTruncated
		default:
			return data, err
		}
	}
}

package access

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// standstill is the time that one read or one write of a slow route may take.
	standstill = 30 * time.Second
	// slowest is the number of bytes a second that a body has to bring on average, but for standstill: few bodies
	// are received at once, and one that came byte by byte would keep others out for as long as it liked.
	slowest = 4 << 10
)

// slow takes the server's limits on the whole of a request away: a client may take its
// time, but for no longer than standstill without a byte, and a body comes at slowest at least.
func slow(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
	conn := http.NewResponseController(w)
	// A writer that knows no deadlines is a test's.
	_ = conn.SetWriteDeadline(time.Time{})
	r.Body = &slowBody{ReadCloser: r.Body, conn: conn, began: time.Now()}
	if r.ContentLength == 0 {
		// The server listens for the end of the connection meanwhile: a deadline that passes
		// would look like one.
		_ = conn.SetReadDeadline(time.Time{})
	}
	return &slowWriter{ResponseWriter: w, conn: conn}, r
}

type slowBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	began time.Time
	read  int64
}

// Read implements io.Reader.
func (b *slowBody) Read(p []byte) (int, error) {
	until := time.Now().Add(standstill)
	if whole := b.began.Add(standstill + time.Duration(b.read/slowest)*time.Second); whole.Before(until) {
		until = whole
	}
	_ = b.conn.SetReadDeadline(until)
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if errors.Is(err, io.EOF) {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

type slowWriter struct {
	http.ResponseWriter
	conn *http.ResponseController
}

// Write implements io.Writer.
func (w *slowWriter) Write(p []byte) (int, error) {
	_ = w.conn.SetWriteDeadline(time.Now().Add(standstill))
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

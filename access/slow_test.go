package access

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener with a single connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l oneConn) Close() error {
	close(l.done)
	return nil
}

func (oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// talk serves a slow route on a connection, and returns the client's end of it.
func talk(t *testing.T, handle http.HandlerFunc) net.Conn {
	t.Helper()
	k := newKept()
	mux := NewGate(k, "").Mux([]Route{{Pattern: "POST /x", Body: 1 << 20, Slow: true, Handle: handle}}, func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		Problem(w, status, message, nil)
	})
	ours, theirs := net.Pipe()
	l := oneConn{make(chan net.Conn, 1), make(chan struct{})}
	l.conns <- theirs
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ours
}

func TestABodyMayTakeItsTimeAndMayNotStandStill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pause time.Duration
		piece int
		whole bool
	}{
		"slowly": {standstill / 2, slowest * 15, true}, "none any more": {2 * standstill, slowest * 15, false},
		"a byte each few seconds": {standstill / 6, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				read := make(chan error, 1)
				conn := talk(t, func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					if err == nil && len(b) != 10*c.piece {
						err = fmt.Errorf("%d bytes", len(b))
					}
					read <- err
				})
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				began := time.Now()
				if _, err := fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 10*c.piece); err != nil {
					t.Fatal(err)
				}
				for range 10 {
					<-time.After(c.pause)
					if _, err := conn.Write(bytes.Repeat([]byte("x"), c.piece)); err != nil {
						break // the server has hung up
					}
				}
				err := <-read
				if (err == nil) != c.whole {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
				if took := time.Since(began); !c.whole && took > 4*standstill {
					t.Errorf("cut off after %s", took)
				}
			})
		})
	}
}

func TestAnAnswerIsNotWaitedForWithoutEndByTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wrote := make(chan error, 1)
		conn := talk(t, func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
			wrote <- err
		})
		if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		// The client reads no further.
		if err := <-wrote; err == nil {
			t.Error("all was written to a client that does not read")
		}
	})
}

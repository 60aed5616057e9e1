package wire

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// sent records whether some of a request may have reached the server.
type sent struct {
	mu    sync.Mutex
	uses  []connUse
	blind bool // a connection was used that does not count its bytes
}

type connUse struct {
	conn   *meteredConn
	before int64
}

// watchSent returns a context for one request and what will tell, once the request
// has ended, whether some of it was sent. It is for callers that hand their
// context to a library; others use do.
func watchSent(ctx context.Context) (context.Context, *sent) {
	s := &sent{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { s.use(info.Conn) },
	}), s
}

// any reports whether a byte of the request was written. With a client that was
// not made here it is true as soon as there is a connection.
func (s *sent) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind {
		return true
	}
	for _, u := range s.uses {
		if u.conn.written.Load() > u.before {
			return true
		}
	}
	return false
}

func (s *sent) use(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn != nil {
		if m, ok := conn.(*meteredConn); ok {
			s.uses = append(s.uses, connUse{conn: m, before: m.written.Load()})
			return
		}
		inner, ok := conn.(interface{ NetConn() net.Conn }) // a *tls.Conn
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	s.blind = true
}

// do sends req once, under ctx, and reports whether some of it may have reached the
// server. The answer may have any status; its body must be closed. When ctx has
// ended, err is that of ctx, whatever the transport made of it.
func do(ctx context.Context, client *http.Client, req *http.Request) (res *http.Response, wasSent bool, err error) {
	ctx, watch := watchSent(ctx)
	res, err = client.Do(req.WithContext(ctx)) //nolint:gosec // the address is the caller's: see BaseURL and PublicClient
	if err == nil {
		return res, true, nil
	}
	if res != nil {
		_ = res.Body.Close() // a refused redirect; net/http closed it already
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, watch.any(), err
}

// meteredConn counts the bytes that were written to a connection.
type meteredConn struct {
	net.Conn

	written atomic.Int64
}

// Write writes p and counts what got out.
func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

package chaos

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a process and a server, as a network that can fail.
type proxy struct {
	addr     string
	target   string
	listener net.Listener
	// tap, if set, forwards what the client sends in place of a plain copy.
	tap func(l *link) error

	mu    sync.Mutex
	open  chan struct{} // closed while traffic flows
	links map[*link]bool
	over  sync.WaitGroup
}

// link is one connection through a proxy.
type link struct {
	proxy          *proxy
	client, server net.Conn
	// swallow, under mu, tells that answers go nowhere, and answered gets one
	// message for each Postgres answer that is complete.
	mu       sync.Mutex
	swallow  bool
	answered chan struct{}
}

// newProxy listens until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), target: target, listener: l, open: make(chan struct{}), links: map[*link]bool{}}
	close(p.open)
	p.over.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.Heal()
		p.Cut()
		p.over.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.over.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		reset(client) // as if nobody listened
		return
	}
	defer func() { _ = server.Close() }()
	l := &link{proxy: p, client: client, server: server, answered: make(chan struct{}, 1)}
	p.mu.Lock()
	tap := p.tap
	p.links[l] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	done := make(chan struct{}, 2)
	go func() {
		if tap != nil {
			_ = tap(l)
		} else {
			_ = p.copy(server, client)
		}
		done <- struct{}{}
	}()
	go func() {
		if tap != nil {
			_ = l.answers()
		} else {
			_ = p.copy(client, server)
		}
		done <- struct{}{}
	}()
	<-done // an end on either side is the end of both
	_, _ = client.Close(), server.Close()
	<-done
}

// through has what clients send pass through tap from now on.
func (p *proxy) through(tap func(*link) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tap = tap
}

// copy forwards while traffic flows.
func (p *proxy) copy(to io.Writer, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.gate()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// gate waits until traffic flows.
func (p *proxy) gate() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

// Cut resets all connections; new ones are served.
func (p *proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		reset(l.client)
		reset(l.server)
	}
}

// Hold stops forwarding: silence, on what is open and on what is opened.
func (p *proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// Heal lets traffic flow again, with what was sent meanwhile.
func (p *proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// reset closes a connection so that the other side sees a reset.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

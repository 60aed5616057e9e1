package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// moment is the point at which a connection to Postgres breaks.
type moment string

// Around the COMMIT: the server has not been told to, or it has done it and the
// client never hears of it.
const (
	beforeCommit moment = "before COMMIT"
	afterCommit  moment = "after COMMIT"
)

// commits makes a proxy read Postgres' protocol, and cut connections around the
// commits of writes.
type commits struct {
	mu     sync.Mutex
	rng    *rand.Rand
	left   int
	share  float64 // of the commits that are cut
	done   map[moment]int
	verbs  map[string]int // what was cut, by what the statement writes
	missed error
}

// cutCommits cuts n commits of those that pass, each with the probability share.
func (c *commits) cutCommits(n int, share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.share = n, share
}

// cuts returns the number of connections that have been cut.
func (c *commits) cuts() (before, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done[beforeCommit], c.done[afterCommit]
}

func newCommits(rng *rand.Rand) *commits {
	return &commits{rng: rng, done: map[moment]int{}, verbs: map[string]int{}}
}

// decide reports whether and where to cut this commit.
func (c *commits) decide(what string) moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || c.rng.Float64() >= c.share {
		return ""
	}
	c.left--
	m := beforeCommit
	if c.rng.IntN(2) == 1 {
		m = afterCommit
	}
	c.done[m]++
	c.verbs[what]++
	return m
}

var errCut = errors.New("cut on purpose")

// message is one message of Postgres' protocol: its type and, with it, its whole text.
type message struct {
	kind byte
	text []byte // with the type and the length in front
}

func (m message) body() []byte { return m.text[5:] }

// readMessage reads one message. The first of a connection has no type.
func readMessage(r io.Reader, first bool) (message, error) {
	header := make([]byte, 5)
	if first {
		header = header[:4]
	}
	if _, err := io.ReadFull(r, header); err != nil {
		return message{}, err
	}
	n := int(binary.BigEndian.Uint32(header[len(header)-4:])) - 4
	if n < 0 || n > 1<<30 {
		return message{}, errors.New("this is not Postgres' protocol")
	}
	text := make([]byte, len(header)+n)
	copy(text, header)
	if _, err := io.ReadFull(r, text[len(header):]); err != nil {
		return message{}, err
	}
	m := message{text: text}
	if !first {
		m.kind = text[0]
	}
	return m, nil
}

// forward is the tap of a proxy to Postgres.
func (c *commits) forward(l *link) error {
	// Which statement has which name, and what has been bound since the last Sync.
	statements := map[string]string{}
	writes := ""
	for first := true; ; first = false {
		m, err := readMessage(l.client, first)
		if err != nil {
			return err
		}
		if !first {
			switch m.kind {
			case 'P': // Parse: name, SQL
				name, rest, _ := bytes.Cut(m.body(), []byte{0})
				sql, _, _ := bytes.Cut(rest, []byte{0})
				statements[string(name)] = string(sql)
			case 'B': // Bind: portal, statement
				_, rest, _ := bytes.Cut(m.body(), []byte{0})
				name, _, _ := bytes.Cut(rest, []byte{0})
				if x := written(statements[string(name)]); x != "" {
					writes = x
				}
			}
			commits := m.kind == 'S' && writes != "" || m.kind == 'Q' && strings.HasPrefix(strings.ToLower(string(m.body())), "commit")
			if commits {
				if writes == "" {
					writes = "a transaction"
				}
				at := c.decide(writes)
				writes = ""
				if at == beforeCommit {
					reset(l.client)
					return errCut
				}
				if at == afterCommit {
					return c.silently(l, m)
				}
			}
		}
		l.proxy.gate()
		if _, err := l.server.Write(m.text); err != nil {
			return err
		}
	}
}

// silently forwards a commit, waits until the server has answered, and cuts the
// connection before the client hears of it.
func (c *commits) silently(l *link, m message) error {
	l.mu.Lock()
	l.swallow = true
	l.mu.Unlock()
	select {
	case <-l.answered: // of before
	default:
	}
	if _, err := l.server.Write(m.text); err != nil {
		return err
	}
	select {
	case <-l.answered:
	case <-time.After(30 * time.Second):
		c.mu.Lock()
		c.missed = errors.New("a commit was not answered within 30 s")
		c.mu.Unlock()
	}
	reset(l.client)
	return errCut
}

// answers forwards what the server says.
func (l *link) answers() error {
	for {
		m, err := readMessage(l.server, false)
		if err != nil {
			return err
		}
		l.proxy.gate()
		l.mu.Lock()
		swallow := l.swallow
		l.mu.Unlock()
		if !swallow {
			if _, err := l.client.Write(m.text); err != nil {
				return err
			}
		} else if m.kind == 'Z' { // ready for the next: the transaction is over
			select {
			case l.answered <- struct{}{}:
			default:
			}
		}
	}
}

// written names the tables that a statement writes, or is empty if it writes none.
func written(sql string) string {
	var out []string
	words := strings.Fields(sql)
	for i, w := range words {
		switch {
		case i+1 == len(words):
		case w == "UPDATE" && words[i+1] != "SET" && !strings.HasPrefix(words[i+1], "OF") && !strings.HasPrefix(words[i+1], "SKIP"), w == "INTO":
			out = append(out, words[i+1])
		}
	}
	return strings.Join(out, "+")
}

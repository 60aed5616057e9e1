package cli_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/rs/zerolog"

	"oneflow/internal/cli"
	"oneflow/internal/storetest"
)

// managed is a Redis that answers INFO by section, and CONFIG GET with a policy;
// where these are empty it refuses them, as managed services do.
func managed(t *testing.T, info map[string]string, policy string) string {
	t.Helper()
	s, err := server.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for command, answer := range map[string]server.Cmd{
		"AUTH":    func(c *server.Peer, _ string, _ []string) { c.WriteOK() },
		"PING":    func(c *server.Peer, _ string, _ []string) { c.WriteInline("PONG") },
		"EVAL":    func(c *server.Peer, _ string, _ []string) { c.WriteOK() },
		"PUBLISH": func(c *server.Peer, _ string, _ []string) { c.WriteInt(0) },
		"INFO": func(c *server.Peer, _ string, args []string) {
			if text := info[args[0]]; text != "" {
				c.WriteBulk(text)
			} else {
				c.WriteError("ERR unknown command")
			}
		},
		"CONFIG": func(c *server.Peer, _ string, _ []string) {
			if policy != "" {
				c.WriteStrings([]string{"maxmemory-policy", policy})
			} else {
				c.WriteError("ERR unknown command")
			}
		},
	} {
		if err := s.Register(command, answer); err != nil {
			t.Fatal(err)
		}
	}
	return "redis://:canary@" + s.Addr().String() + "/0?protocol=2"
}

func TestARedisThatMayThrowDeliveriesAwayIsRefused(t *testing.T) {
	t.Parallel()
	const off, on = "# Persistence\r\naof_enabled:0\r\n", "# Persistence\r\naof_enabled:1\r\n"
	for name, c := range map[string]struct {
		info       map[string]string
		config     string
		code       int
		err        string
		warn       []string
		mustNotSay string
	}{
		"safe":                 {info: map[string]string{"memory": "# Memory\r\nmaxmemory_policy:noeviction\r\n", "persistence": on}, mustNotSay: "Redis"},
		"evicts":               {info: map[string]string{"memory": "# Memory\r\nmaxmemory_policy:allkeys-lru\r\n", "persistence": on}, code: cli.Unsafe, err: "maxmemory-policy allkeys-lru"},
		"evicts what may pass": {info: map[string]string{"memory": "# Memory\r\nmaxmemory_policy:volatile-ttl\r\n"}, code: cli.Unsafe, err: "CONFIG SET maxmemory-policy noeviction"},
		"tells by CONFIG":      {config: "allkeys-random", code: cli.Unsafe, err: "allkeys-random"},
		"tells nothing":        {warn: []string{"does not report its maxmemory-policy"}, mustNotSay: "append-only"},
		"without a file":       {info: map[string]string{"persistence": off}, config: "noeviction", warn: []string{"keeps no append-only file", "delivered again from Postgres"}, mustNotSay: "maxmemory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log, stderr bytes.Buffer
			s := cli.Services{RedisURL: managed(t, c.info, c.config), ConnectTimeout: 10 * time.Second}
			_, err := s.Redis(t.Context(), zerolog.New(&log))
			if code := cli.Code("x", &stderr, err); code != c.code || !strings.Contains(stderr.String(), c.err) {
				t.Errorf("exit %d: %s, want %d", code, stderr.String(), c.code)
			}
			for _, want := range c.warn {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log does not say %q: %s", want, log.String())
				}
			}
			if c.mustNotSay != "" && strings.Contains(log.String(), c.mustNotSay) || strings.Contains(log.String()+stderr.String(), "canary") {
				t.Errorf("the log says %s%s", log.String(), stderr.String())
			}
		})
	}
}

func TestTheRedisThatWeStartOurselvesIsSafe(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := cli.Services{RedisURL: storetest.Redis(t), ConnectTimeout: 30 * time.Second}
	if _, err := s.Redis(t.Context(), zerolog.New(&log)); err != nil || strings.Contains(log.String(), "maxmemory") {
		t.Errorf("%v: %s", err, log.String())
	}
}

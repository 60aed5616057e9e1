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

// refusing is a Redis that answers these commands with an error, and others well.
func refusing(t *testing.T, answer string, commands ...string) string {
	t.Helper()
	s, err := server.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, command := range []string{"AUTH", "SELECT", "PING", "EVAL", "PUBLISH", "INFO", "CONFIG"} {
		do := func(c *server.Peer, _ string, _ []string) { c.WriteOK() }
		for _, refused := range commands {
			if refused == command {
				do = func(c *server.Peer, _ string, _ []string) { c.WriteError(answer) }
			}
		}
		if err := s.Register(command, do); err != nil {
			t.Fatal(err)
		}
	}
	return "redis://:canary@" + s.Addr().String() + "/3?protocol=2"
}

func TestARedisThatCannotBeUsedIsToldAtOnceWithTheWayOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer   string
		commands []string
		code     int
		want     string
	}{
		"no such database":            {"ERR DB index is out of range", []string{"SELECT"}, cli.Usage, "it has 16, from 0 to 15"},
		"a node of a cluster":         {"MOVED 1234 10.0.0.1:6379", []string{"EVAL"}, cli.Unsafe, "a Redis Cluster cannot be used"},
		"a cluster that is down":      {"CLUSTERDOWN Hash slot not served", []string{"EVAL"}, cli.Unsafe, "a Redis Cluster cannot be used"},
		"a replica":                   {"READONLY You can't write against a read only replica.", []string{"EVAL"}, cli.Unsafe, "use its primary"},
		"a user without scripts":      {"NOPERM this user has no permissions to run the 'eval' command", []string{"EVAL"}, cli.Usage, "ACL SETUSER"},
		"a user without channels":     {"NOPERM this user has no permissions to access one of the channels", []string{"PUBLISH"}, cli.Usage, "&*"},
		"a user without keys":         {"NOPERM this user has no permissions to access one of the keys", []string{"EVAL"}, cli.Usage, "~*"},
		"a server without scripts":    {"ERR unknown command 'eval', with args beginning with: 'canary'", []string{"EVAL"}, cli.Unsafe, "runs Lua scripts"},
		"no password":                 {"NOAUTH Authentication required.", []string{"PING"}, cli.Usage, "check the user and the password"},
		"another password":            {"WRONGPASS invalid username-password pair", []string{"AUTH"}, cli.Usage, "check the user and the password"},
		"a password too much":         {"ERR AUTH <password> called without any password configured for the default user.", []string{"AUTH"}, cli.Usage, "leave it out of the URL"},
		"protected":                   {"DENIED Redis is running in protected mode", []string{"PING"}, cli.Usage, "set a password there"},
		"loads its data, an outage":   {"LOADING Redis is loading the dataset in memory", []string{"PING"}, cli.Unavailable, "waited 5s: LOADING"},
		"lost its primary, an outage": {"MASTERDOWN Link with MASTER is down", []string{"EVAL"}, cli.Unavailable, "waited 5s: MASTERDOWN"},
		"full, an outage":             {"OOM command not allowed when used memory > 'maxmemory'.", []string{"EVAL"}, cli.Unavailable, "waited 5s: OOM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log, stderr bytes.Buffer
			s := cli.Services{RedisURL: refusing(t, c.answer, c.commands...), ConnectTimeout: time.Hour}
			if c.code == cli.Unavailable {
				s.ConnectTimeout = 5 * time.Second // it has to answer at least once, on a busy machine too
			}
			_, err := s.Redis(t.Context(), zerolog.New(&log))
			if code := cli.Code("x", &stderr, err); code != c.code || !strings.Contains(stderr.String(), c.want) ||
				!strings.Contains(stderr.String(), "(REDIS_URL)") || strings.Contains(stderr.String()+log.String(), "canary") {
				t.Errorf("exit %d: %s%s, want %d and %q", code, stderr.String(), log.String(), c.code, c.want)
			}
		})
	}
}

func TestAPostgresURLThatCannotBeUsedIsToldAtOnceWithTheWayOut(t *testing.T) {
	t.Parallel()
	database := storetest.Database(t)
	base, _, _ := strings.Cut(database, "?")
	for query, want := range map[string]string{
		"sslmode=tls":                               "sslmode is none of disable, allow, prefer, require, verify-ca and verify-full",
		"sslmode=require":                           "it speaks no TLS: leave sslmode out of the URL",
		"sslmode=verify-full":                       "it speaks no TLS",
		"schema=public":                             "write search_path in place of schema",
		"pgbouncer=true":                            "leave pgbouncer out of the URL",
		"sslmode=disable&schema=public":             "write search_path in place of schema",
		"sslmode=disable&pgbouncer=true":            "leave pgbouncer out of the URL",
		"sslmode=disable&connection_limit=5":        "leave connection_limit out of the URL",
		"sslmode=disable&statement_timeout=often":   "statement_timeout",
		"sslmode=disable&pool_max_conns=many":       "pool_max_conns",
		"sslmode=disable&connect_timeout=a":         "connect_timeout",
		"sslmode=disable&default_query_exec_mode=x": "default_query_exec_mode",
		"sslrootcert=/nonexistent&sslmode=require":  "/nonexistent",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			var log, stderr bytes.Buffer
			s := cli.Services{DatabaseURL: base + "?" + query, ConnectTimeout: time.Hour}
			_, err := s.Postgres(t.Context(), zerolog.New(&log))
			if code := cli.Code("x", &stderr, err); code != cli.Usage || !strings.Contains(stderr.String(), want) || !strings.Contains(stderr.String(), "DATABASE_URL") || log.Len() > 0 {
				t.Errorf("exit %d: %s%s, want %q", code, stderr.String(), log.String(), want)
			}
		})
	}
}

package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// fault keeps a service from being used for good: waiting does not mend it.
type fault struct {
	code int    // the exit code
	hint string // the way out; may be empty
}

// permanent reports whether err is no outage: the server is there and refuses, or
// something else answers at its address. The errors are those of pgx and go-redis.
func permanent(err error) (fault, bool) {
	// First what Postgres itself said: with sslmode=prefer the error also tells of the TLS
	// that was tried before.
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return postgresFault(e.SQLState(), e.Error())
	}
	if f, ok := tlsFault(err); ok {
		return f, true
	}
	return redisFault(err.Error())
}

func tlsFault(err error) (fault, bool) {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault{Usage, "give the authority that signed its certificate, for Postgres by sslrootcert=FILE in the URL, for Redis by SSL_CERT_FILE"}, true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fault{Usage, "give the authority that signed its certificate, for Postgres by sslrootcert=FILE in the URL, for Redis by SSL_CERT_FILE"}, true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fault{Usage, "it speaks no TLS: write redis:// in place of rediss://, or turn TLS on there"}, true
	}
	if strings.Contains(err.Error(), "server refused TLS connection") {
		return fault{Usage, "it speaks no TLS: leave sslmode out of the URL or write sslmode=prefer, or turn TLS on there"}, true
	}
	return fault{}, false
}

// parameter finds the name of a parameter that Postgres or a pooler does not know.
var parameter = regexp.MustCompile(`(?:unrecognized configuration parameter|unsupported startup parameter:?) "?([A-Za-z0-9_.]+)"?`)

// postgresFault judges a SQLSTATE
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func postgresFault(state, text string) (fault, bool) {
	if m := parameter.FindStringSubmatch(text); m != nil {
		switch name := m[1]; name {
		case "schema":
			return fault{Usage, "Postgres has no parameter of that name: write search_path in place of schema, or leave it out"}, true
		case "pgbouncer":
			return fault{Usage, "leave pgbouncer out of the URL: a pooler is noticed without it"}, true
		default:
			return fault{Usage, fmt.Sprintf("leave %s out of the URL", name)}, true
		}
	}
	switch {
	case strings.HasPrefix(state, "28"):
		return fault{Usage, "check the user and the password, and pg_hba.conf there"}, true
	case state == "3D000":
		return fault{Usage, "create the database, or name another at the end of the URL"}, true
	case state == "42501":
		return fault{Usage, "grant the user the right to do this, or use another"}, true
	case state == "25006":
		return fault{Unsafe, "this server is a replica: use the primary"}, true
	case strings.HasPrefix(state, "08P"), strings.HasPrefix(state, "0A"), strings.HasPrefix(state, "22"), strings.HasPrefix(state, "42"):
		return fault{Usage, ""}, true
	}
	return fault{}, false
}

// redisFault judges an error by its first word, as Redis' protocol has it.
func redisFault(text string) (fault, bool) {
	word, _, _ := strings.Cut(text, " ")
	switch word {
	case "WRONGPASS", "NOAUTH":
		return fault{Usage, "check the user and the password in the URL"}, true
	case "NOPERM":
		return fault{Usage, "the user needs all keys, all channels and all commands but the dangerous ones: ACL SETUSER name ~* &* +@all -@dangerous +info"}, true
	case "MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN":
		return fault{Unsafe, "a Redis Cluster cannot be used: give a server that is no part of one"}, true
	case "READONLY":
		return fault{Unsafe, "this Redis is a replica: use its primary"}, true
	case "DENIED":
		return fault{Usage, "protected mode: set a password there, and write it in the URL"}, true
	}
	switch {
	case strings.HasPrefix(text, "ERR unknown command"):
		return fault{Unsafe, "OneFlow needs a Redis, or a server like it, that runs Lua scripts and publishes"}, true
	case strings.Contains(text, "DB index is out of range"), strings.Contains(text, "invalid DB index"):
		return fault{Usage, "the number at the end of the URL is a database of that server: it has 16, from 0 to 15, unless its configuration says otherwise"}, true
	case strings.Contains(text, "AUTH <password> called without any password"):
		return fault{Usage, "it has no password: leave it out of the URL"}, true
	case strings.Contains(text, "can't parse"), strings.HasPrefix(text, "redis: invalid reply"):
		return fault{Usage, "what answers there is no Redis, or speaks TLS: then write rediss:// in place of redis://"}, true
	}
	return fault{}, false
}

// brief is an error in a few words: what a network error was, without the layers
// around it.
func brief(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("no address is known for %s", e.Name)
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer in time"
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.Error()
	}
	// Redis repeats the command that it does not know, whole.
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	return text
}

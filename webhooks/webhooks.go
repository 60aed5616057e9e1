// Package webhooks tells applications what has happened: it sends the events that stand in
// Postgres, signed as Standard Webhooks (https://www.standardwebhooks.com) has it, until
// they are taken or have been refused too often. It declares what it needs of a store, and
// may import providers/wire for its guarded HTTP client.
package webhooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Event is one call that is to be made, or was.
type Event struct {
	ID uuid.UUID `json:"id"`
	// URL is called: see Shown for what may be shown of it.
	URL string `json:"-"`
	// Type is its kind, such as "batch.finished", and Subject what it is about.
	Type    string `json:"type"`
	Subject string `json:"subject"`
	// Payload is the body, as it is sent and signed.
	Payload   string    `json:"-"`
	CreatedAt time.Time `json:"created_at"`
	// Tries counts the tries that have ended, and TryAt is the time of the next.
	Tries int       `json:"tries"`
	TryAt time.Time `json:"try_at"`
	// EndedAt is zero until it is delivered or given up.
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Delivered bool      `json:"delivered"`
	// Status is that of the last answer, 0 without one, and Error says why the last try
	// failed.
	Status int    `json:"http_status,omitempty"`
	Error  string `json:"error,omitempty"`
}

// State is "waiting", "delivered" or "failed".
func (e Event) State() string {
	switch {
	case e.Delivered:
		return "delivered"
	case !e.EndedAt.IsZero():
		return "failed"
	}
	return "waiting"
}

// Shown is a URL without what may be secret in it.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(no URL)"
	}
	shown := u.Scheme + "://" + u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		shown += "?…"
	}
	return shown
}

// Try holds what came of one try.
type Try struct {
	Delivered bool
	Status    int
	Error     string
	// Again is the time until the next one; 0: there is none.
	Again time.Duration
}

// Store keeps events.
type Store interface {
	// DueWebhooks returns events that are due, at most perURL of a URL and none of the
	// URLs without, and lets nobody else have them for the lease.
	DueWebhooks(ctx context.Context, without []string, perURL, limit int, lease time.Duration) ([]Event, error)
	// EndWebhookTry notes what came of a try.
	EndWebhookTry(ctx context.Context, id uuid.UUID, t Try) error
	// HoldWebhooks notes why those that are due are not sent, and returns how many wait.
	HoldWebhooks(ctx context.Context, why string) (int64, error)
}

// maxURL bounds the length of an address.
const maxURL = 2048

// CheckURL fails with what an address must be unless it may be called. allow lists the
// host:port that may be called without TLS and though they are not public.
func CheckURL(address string, allow []string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Host == "", len(address) > maxURL:
		return errors.New("must be a URL such as https://example.com/hooks")
	case u.User != nil:
		return errors.New("must hold no user or password: what is sent is signed, and the receiver checks that")
	case u.Fragment != "":
		return errors.New("must have no fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && slices.Contains(allow, u.Host):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("must begin with https://, or %s must stand in webhooks.allow of the configuration", u.Host)
	}
	return errors.New("must begin with https://")
}

// Secret signs events. It is behind a function, so that nothing which prints it shows it.
type Secret struct{ key func() []byte }

// secretPrefix stands before a secret in Standard Webhooks.
const secretPrefix = "whsec_"

// ParseSecrets reads secrets that stand beside each other, separated by spaces, while one
// takes the place of another: an event is signed with each. The error shows none.
func ParseSecrets(text string) ([]Secret, error) {
	var out []Secret
	for word := range strings.FieldsSeq(text) {
		encoded, prefixed := strings.CutPrefix(word, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !prefixed || len(key) < 24 || len(key) > 64 {
			return nil, errors.New("a secret is whsec_ and the base64 of 24 to 64 random bytes, such as of: openssl rand -base64 32")
		}
		out = append(out, Secret{func() []byte { return key }})
	}
	return out, nil
}

// signature is the value of the header webhook-signature: one signature a secret.
func signature(secrets []Secret, id string, at time.Time, payload string) string {
	signed := make([]string, len(secrets))
	for i, s := range secrets {
		mac := hmac.New(sha256.New, s.key())
		_, _ = mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "." + payload)) // it never fails
		signed[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signed, " ")
}

// MessageID is the value of the header webhook-id: the same for each try of an event.
func MessageID(id uuid.UUID) string { return "msg_" + id.String() }

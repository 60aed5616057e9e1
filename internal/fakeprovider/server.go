// Package fakeprovider is an HTTP server that speaks the protocols of the vendors:
// for tests, for the demo, and for people
// who want to rehearse without paying. It keeps strict limits, answers with the
// vendors' own error bodies and headers, fails in every way that a network can,
// and writes down each call it received, so that it is an independent witness of
// what was sent.
//
// It may import internal/media and the standard library only, so that it cannot
// share a misunderstanding with the clients that it tests.
package fakeprovider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Vendor names one of the protocols. Each has its paths at the root of the server
// and also below its name, such as "/anthropic/v1/messages"; where two vendors share
// a path at the root, as with /v1/models, the authentication header decides.
type Vendor string

// Vendors lists all vendors.
func Vendors() []Vendor {
	var names []Vendor
	for _, v := range vendors(Config{}) {
		names = append(names, v.name())
	}
	return names
}

// Config says how a server behaves. The zero value answers each valid request at
// once, takes any key and keeps no limits.
type Config struct {
	// Default is the behaviour where nothing more particular is set.
	Default Behaviour
	// Vendors replaces Default as a whole for the calls of a vendor.
	Vendors map[Vendor]Behaviour
	// Keys are the API keys that are accepted; a value that is not nil replaces
	// all other behaviour for the calls with that key. Empty means that any key
	// is accepted.
	Keys map[string]*Behaviour
	// Models are the names of models that exist, for OpenAI, Anthropic and
	// ElevenLabs. Empty means that any name is one.
	Models []string
	// Voices are the names of voices that exist, for ElevenLabs. Empty means any.
	Voices []string
	// Seed makes faults repeat, whatever the order of the calls, and latencies in their order.
	// Default 0.
	Seed uint64
	// CallLog is the path of a file to which each call is appended: see LogLine.
	// Empty means none.
	CallLog string
	// JobHeader is the request header whose value the log keeps as the job.
	// Default "X-OneFlow-Job".
	JobHeader string
	// Keep is the number of calls, the last ones, that Calls returns. 0 means 1000, a negative
	// value none.
	Keep int
	// VideoPolls is the number of times that a video is asked for before it is ready: as many
	// times the answer is "in_progress". Default 0: ready when first asked for.
	VideoPolls int
	// HugeBytes is the length of the body that the fault Huge sends. Default 64 MiB.
	HugeBytes int64
	// TrickleEvery is the time between two bytes of the fault Trickle. Default 100 ms.
	TrickleEvery time.Duration
	// Now is the clock that limits and time stamps go by. Default time.Now.
	Now func() time.Time
}

// Behaviour describes the answers to calls. The zero value answers all at once.
type Behaviour struct {
	// Limits count for each vendor and key.
	Limits Limits
	// Models are the limits of calls of a model, counted by themselves for each key; a model
	// that is not named has Limits.
	Models map[string]Limits
	// Latency is the time from a generating request to its answer; what is over a
	// limit or invalid is refused at once.
	Latency Latency
	// Faults are the fractions of generating calls that fail in some way, each
	// from 0 to 1 and 1 together at most. Asking for models, balances or the
	// state of a video never fails by chance.
	Faults map[Fault]float64
	// Variation makes all answers differ from the vendor's own.
	Variation Variation
}

func (b Behaviour) check(field string) error {
	if err := b.Limits.check(); err != nil {
		return fmt.Errorf("fakeprovider: %s.Limits.%w", field, err)
	}
	for model, l := range b.Models {
		if err := l.check(); err != nil {
			return fmt.Errorf("fakeprovider: %s.Models[%s].%w", field, model, err)
		}
	}
	if err := b.Latency.check(); err != nil {
		return fmt.Errorf("fakeprovider: %s.Latency.%w", field, err)
	}
	if err := b.Variation.check(); err != nil {
		return fmt.Errorf("fakeprovider: %s.Variation.%w", field, err)
	}
	sum := 0.0
	for fault, rate := range b.Faults {
		if !slices.Contains(faults(), fault) {
			return fmt.Errorf("fakeprovider: %s.Faults: there is no fault %q; there are %v", field, fault, faults())
		}
		if !(rate >= 0 && rate <= 1) { // NaN included
			return fmt.Errorf("fakeprovider: %s.Faults[%s]: must be from 0 to 1, got %g", field, fault, rate)
		}
		sum += rate
	}
	if sum > 1+1e-9 {
		return fmt.Errorf("fakeprovider: %s.Faults: must be 1 together at most, got %g", field, sum)
	}
	return nil
}

func (c Config) check() error {
	if err := c.Default.check("Default"); err != nil {
		return err
	}
	for vendor, b := range c.Vendors {
		if !slices.Contains(Vendors(), vendor) {
			return fmt.Errorf("fakeprovider: Vendors: there is no vendor %q; there are %v", vendor, Vendors())
		}
		if err := b.check(fmt.Sprintf("Vendors[%s]", vendor)); err != nil {
			return err
		}
	}
	for key, b := range c.Keys {
		if key == "" {
			return errors.New("fakeprovider: Keys: a key must not be empty")
		}
		if b != nil {
			if err := b.check("Keys[…" + lastFour(key) + "]"); err != nil {
				return err
			}
		}
	}
	if c.VideoPolls < 0 || c.HugeBytes < 0 || c.TrickleEvery < 0 {
		return errors.New("fakeprovider: VideoPolls, HugeBytes, TrickleEvery: must not be negative")
	}
	return nil
}

// Server is the fake provider. It is safe for concurrent use.
type Server struct {
	// URL is the address on which the server listens, such as "http://127.0.0.1:41873"; empty
	// before Start.
	URL string

	config  Config
	witness *witness
	closing context.Context //nolint:containedctx // ended by Close, for calls that hang
	close   context.CancelFunc
	http    *http.Server
	served  chan error
	pool    *x509.CertPool
	vendors []vendor

	mu       sync.Mutex
	rng      *rand.Rand
	numbers  int64
	asked    map[uint64]uint64 // how often the same was asked, where faults come by chance
	pending  []Injection
	accounts map[account]*ledger
	// changed are the limits of models that were changed while it runs.
	changed map[string]Limits
	bills   []Bill
}

// account is the unit that limits count for.
type account struct {
	vendor Vendor
	key    string
	model  string // that has limits of its own; empty: the others
}

// New returns a server that does not listen yet. It fails if config makes no
// sense, or if CallLog cannot be opened.
func New(config Config) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if config.JobHeader == "" {
		config.JobHeader = "X-OneFlow-Job"
	}
	if config.Keep == 0 {
		config.Keep = 1000
	}
	if config.HugeBytes == 0 {
		config.HugeBytes = 64 << 20
	}
	if config.TrickleEvery == 0 {
		config.TrickleEvery = 100 * time.Millisecond
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	w, err := newWitness(config.CallLog, config.Keep)
	if err != nil {
		return nil, fmt.Errorf("fakeprovider: CallLog: %w", err)
	}
	closing, cancel := context.WithCancel(context.Background())
	s := &Server{
		config: config, witness: w, closing: closing, close: cancel,
		rng:      rand.New(rand.NewPCG(config.Seed, 1)),
		accounts: map[account]*ledger{}, changed: map[string]Limits{}, asked: map[uint64]uint64{},
		vendors: vendors(config),
	}
	return s, nil
}

// Start listens at addr, which must be on the loopback interface, and serves
// until Close. "" means a free port of 127.0.0.1.
func (s *Server) Start(addr string) error { return s.start(addr, nil) }

// StartTLS is Start with TLS and a certificate that nobody trusts but CertPool.
func (s *Server) StartTLS(addr string) error {
	cert, pool, err := selfSigned()
	if err != nil {
		return fmt.Errorf("fakeprovider: make a certificate: %w", err)
	}
	s.pool = pool
	return s.start(addr, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
}

func (s *Server) start(addr string, secure *tls.Config) error {
	if s.http != nil {
		return errors.New("fakeprovider: it was started before: make another with New")
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("fakeprovider: address %q: %w", addr, err)
	}
	if !resolved.IP.IsLoopback() {
		return fmt.Errorf("fakeprovider: address %q: must be on the loopback interface, such as 127.0.0.1:0", addr)
	}
	tcp, err := net.ListenTCP("tcp", resolved)
	if err != nil {
		return fmt.Errorf("fakeprovider: %w", err)
	}
	var listener net.Listener = tcp
	scheme := "http://"
	if secure != nil {
		listener, scheme = tls.NewListener(tcp, secure), "https://"
	}
	s.URL = scheme + tcp.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.served = make(chan error, 1)
	go func() { s.served <- s.http.Serve(listener) }()
	return nil
}

// CertPool trusts the certificate of StartTLS; nil before it.
func (s *Server) CertPool() *x509.CertPool { return s.pool }

// Close stops listening, breaks off what is under way, and closes the log. It may
// be called again.
func (s *Server) Close() error {
	s.close()
	var err error
	if s.http != nil {
		err = s.http.Close()
		if serveErr, ok := <-s.served; ok && !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		close(s.served)
		s.http = nil
	}
	return errors.Join(err, s.witness.close())
}

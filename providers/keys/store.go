package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"oneflow/providers"
)

// ErrNoKey is returned where nothing can be picked for a provider that has no key. The error
// that wraps it names the variable and the command that help.
var ErrNoKey = errors.New("no API key")

// errAllPaused is returned where nothing can be picked for a provider whose keys were all
// refused. The error that wraps it says which key is paused why and until when.
var errAllPaused = errors.New("all API keys are paused")

// Config says where the keys are.
type Config struct {
	// Path is the key file. Default defaultPath. It need not exist, its
	// directory must.
	Path string
	// Getenv looks up environment variables. Default os.Getenv. A provider with
	// a key in its variable (see Variable) uses that one only.
	Getenv func(name string) string
	// Providers are the names that variables are looked up for at Open, beside
	// those in the file. Pick looks up any other.
	Providers []string
	// OnReload, if set, is called after a changed file was taken, with all keys.
	OnReload func([]Entry)
	// OnError, if set, is called when a changed file was not taken, because it is
	// broken, gone or readable by others, or cannot be watched any longer: the
	// keys of before stay in use.
	OnError func(error)
	// Debounce is the time that the file must be left alone before it is read again.
	// Default 100 ms.
	Debounce time.Duration
	// Now is the clock of pauses. Default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Path == "" {
		c.Path = defaultPath
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.OnReload == nil {
		c.OnReload = func([]Entry) {}
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Debounce <= 0 {
		c.Debounce = 100 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Entry is one key as people may see it.
type Entry struct {
	// Provider is whose key it is.
	Provider string `json:"provider"`
	// Key shows at most its last four characters.
	Key Key `json:"key"`
	// Source is the variable or the file that it is in.
	Source string `json:"source"`
	// Shadowed reports whether it is in the file and not used, because the provider's
	// variable is set.
	Shadowed bool `json:"shadowed,omitempty"`
	// Paused says why it is not used for now. Empty: it is.
	Paused string `json:"paused,omitempty"`
	// Until is the time at which the pause ends. Zero: when the file changes.
	Until time.Time `json:"until,omitzero"`
}

// Store hands out keys. It is safe for concurrent use.
type Store struct {
	config  Config
	stop    func()
	changed chan struct{}

	mu    sync.Mutex
	rings map[string]*ring
	// shadowed are keys in the file of providers whose variable is set.
	shadowed []Key
	// hadFile reports whether there was a file when the keys were read last.
	hadFile bool
}

// ring is the keys of one provider.
type ring struct {
	next int
	pool []pooled
}

type pooled struct {
	key    Key
	paused bool
	reason string
	until  time.Time
}

// Open reads the keys and watches the file until Close. A file that exists and
// cannot be used is an error: its text says how to mend it.
func Open(config Config) (*Store, error) {
	s := &Store{config: config.withDefaults(), changed: make(chan struct{}, 1)}
	stop, err := s.watch()
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", s.config.Path, err)
	}
	if err := s.load(); err != nil {
		stop()
		return nil, err
	}
	s.stop = sync.OnceFunc(stop)
	return s, nil
}

// List reads the keys once, without watching the file.
func List(config Config) ([]Entry, error) {
	s := &Store{config: config.withDefaults()}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s.List(), nil
}

// Close stops watching the file and waits until no callback runs any more. Keys
// can still be picked. It may be called again.
func (s *Store) Close() { s.stop() }

// Pick returns the next key of a provider, in turn over those that are not
// paused. It fails with ErrNoKey or errAllPaused.
func (s *Store) Pick(provider string) (Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[provider]
	if r == nil {
		if !isName(provider) {
			return Key{}, fmt.Errorf("%w: a provider's name has at most %d small letters, digits, - and _", ErrNoKey, maxName)
		}
		pool, err := s.fromEnv(provider)
		if err != nil {
			return Key{}, fmt.Errorf("%w for %s: %w", ErrNoKey, provider, err)
		}
		if len(pool) == 0 {
			return Key{}, fmt.Errorf("%w for %s: set %s, or run: worker keys set %s", ErrNoKey, provider, Variable(provider), provider)
		}
		r = &ring{pool: pool}
		s.rings[provider] = r
	}
	now := s.config.Now()
	var why []string
	for range r.pool {
		sl := &r.pool[r.next]
		r.next = (r.next + 1) % len(r.pool)
		if !sl.pausedAt(now) {
			return sl.key, nil
		}
		why = append(why, sl.why())
	}
	return Key{}, fmt.Errorf("%w for %s: %s; put a working key into %s or run: worker keys set %s",
		errAllPaused, provider, strings.Join(why, ", "), r.pool[0].key.Source(), provider)
}

// Usable returns the keys of a provider that are not paused.
func (s *Store) Usable(provider string) (usable []Key) {
	if !s.Has(provider) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rings[provider]; r != nil {
		now := s.config.Now()
		for _, sl := range r.pool {
			if !sl.pausedAt(now) {
				usable = append(usable, sl.key)
			}
		}
	}
	return usable
}

// take returns the key of that id, which is the one to use while it is not paused; else
// the next, as Pick does.
func (s *Store) take(provider, id string) (Key, error) {
	if id != "" {
		for _, key := range s.Usable(provider) {
			if key.ID() == id {
				return key, nil
			}
		}
	}
	return s.Pick(provider)
}

// Has reports whether a provider has a key, be it paused.
func (s *Store) Has(provider string) bool {
	s.mu.Lock()
	_, known := s.rings[provider]
	s.mu.Unlock()
	if known {
		return true
	}
	_, err := s.Pick(provider)
	return !errors.Is(err, ErrNoKey)
}

// Changed is sent to after a changed file was taken; several changes may be one.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Now is the time by the store's clock.
func (s *Store) Now() time.Time { return s.config.Now() }

// Pause takes one key out of use, as after a 401, and leaves the provider's
// others alone. It comes back at until, or when the file changes; if that is zero, then only.
// A key that the store no longer has is ignored: it was replaced while
// its last call ran. The reason is shown to people and should be short.
func (s *Store) Pause(key Key, reason string, until time.Time) {
	if secret := key.Reveal(); secret != "" {
		reason = strings.ReplaceAll(reason, secret, key.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[key.Provider()]
	if r == nil {
		return
	}
	for i := range r.pool {
		if sl := &r.pool[i]; sl.key.same(key) {
			sl.paused, sl.reason, sl.until = true, reason, until
		}
	}
}

// List returns all keys by provider, in their order.
func (s *Store) List() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	var out []Entry
	for _, provider := range slices.Sorted(maps.Keys(s.rings)) {
		for _, sl := range s.rings[provider].pool {
			e := Entry{Provider: provider, Key: sl.key, Source: sl.key.Source()}
			if sl.pausedAt(now) {
				e.Paused, e.Until = sl.why(), sl.until
			}
			out = append(out, e)
		}
	}
	for _, k := range s.shadowed {
		out = append(out, Entry{Provider: k.Provider(), Key: k, Source: k.Source(), Shadowed: true})
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return strings.Compare(a.Provider, b.Provider) })
	return out
}

// Source returns the function that a client asks for a key before each call to
// baseURL: it gives out keys for that address only, see Bind. The key that it
// picks is noted in the call's context, see Track. A call in a scope of limits has the
// scope's key, see providers.WithScope.
func (s *Store) Source(provider, baseURL string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		key, err := s.take(provider, providers.KeyOfScope(ctx))
		if err != nil {
			return "", err
		}
		if used, ok := ctx.Value(usedKey{}).(*Used); ok {
			used.set(key)
		}
		if err := checkAddress(baseURL); err != nil {
			return "", err
		}
		return key.Reveal(), nil
	}
}

// load reads the variables and the file, and changes nothing if it fails.
func (s *Store) load() error {
	path := s.config.Path
	all, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		gone := s.hadFile
		s.mu.Unlock()
		if err = nil; gone {
			err = errors.New("is gone; to have no keys write {} into it")
		}
	}
	if err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	rings := map[string]*ring{}
	var shadowed []Key
	for _, name := range unique(append(slices.Sorted(maps.Keys(all)), s.config.Providers...)) {
		pool, err := s.fromEnv(name)
		if err != nil {
			return err
		}
		inEnv := len(pool) > 0
		for _, secret := range all[name] {
			if k := newKey(name, path, secret); inEnv {
				shadowed = append(shadowed, k)
			} else {
				pool = append(pool, pooled{key: k})
			}
		}
		if len(pool) > 0 {
			rings[name] = &ring{pool: pool}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings, s.shadowed, s.hadFile = rings, shadowed, all != nil
	return nil
}

// fromEnv returns the key in a provider's variable, if there is one.
func (s *Store) fromEnv(provider string) ([]pooled, error) {
	variable := Variable(provider)
	secret := strings.TrimSpace(s.config.Getenv(variable))
	if secret == "" {
		return nil, nil
	}
	if err := fits(secret); err != nil {
		return nil, fmt.Errorf("environment variable %s: the key %w", variable, err)
	}
	return []pooled{{key: newKey(provider, variable, secret)}}, nil
}

func (sl pooled) pausedAt(now time.Time) bool {
	return sl.paused && (sl.until.IsZero() || now.Before(sl.until))
}

// why says which key is paused for what.
func (sl pooled) why() string {
	text := sl.key.String()
	if sl.reason != "" {
		text += " " + sl.reason
	}
	if !sl.until.IsZero() {
		text += ", until " + sl.until.UTC().Format(time.RFC3339)
	}
	return text
}

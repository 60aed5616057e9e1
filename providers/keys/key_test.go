package keys_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/keys"
	"oneflow/providers/kinds"
)

// Keys of the right form that are nobody's. Their vendors' prefixes stand apart, so
// that scanners of sources for secrets find none.
const (
	openAIPrefix, anthropicPrefix = "sk-" + "proj-", "sk-" + "ant-"

	secretA = openAIPrefix + "fake-AAAAbbbbCCCCddddEEEE1111"
	secretB = openAIPrefix + "fake-GGGGhhhhIIIIjjjjKKKK2222"
	secretC = anthropicPrefix + "fake-MMMMnnnnOOOOppppQQQQ3333"
)

// shows reports whether a text holds more of a secret than its last characters.
func shows(text, secret string) bool {
	lower := strings.ToLower(text)
	for i := 0; i+5 <= len(secret); i++ {
		piece := secret[i : i+5]
		if piece != "sk-pr" && piece != "k-pro" && piece != "-proj" && piece != "proj-" &&
			(strings.Contains(text, piece) || strings.Contains(lower, hex.EncodeToString([]byte(piece)))) {
			return true
		}
	}
	return false
}

func TestNothingThatPrintsShowsAKey(t *testing.T) {
	t.Parallel()
	s := open(t, write(t, `{"openai": ["`+secretA+`"], "stability": "`+secretB+`"}`), nil)
	key := pick(t, s, "openai")
	s.Pause(key, "401 for "+secretA, time.Time{})
	_, allPaused := s.Pick("openai")
	ctx, used := keys.Track(t.Context())
	if _, err := s.Source("stability", "https://provider.example")(ctx); err != nil {
		t.Fatal(err)
	}
	type client struct {
		Name   string
		key    keys.Key
		store  *keys.Store
		Public keys.Key
	}
	values := map[string]any{
		"Key": key, "*Key": &key, "zero Key": keys.Key{}, "Store": s, "Used": used,
		"entries": s.List(), "entry": s.List()[0], "all paused": allPaused, "context": ctx,
		"client": client{"x", key, s, key}, "*client": &client{"x", key, s, key},
		"map": map[keys.Key]keys.Key{key: key}, "nested": []any{[]keys.Key{key}}, "method": key.Reveal,
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out []string
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x", "%t", "%p", "%T", "%o", "%30.20s"} {
				out = append(out, fmt.Sprintf(verb, v))
			}
			out = append(out, fmt.Sprint(v), fmt.Errorf("wrapped: %v", v).Error())
			if data, err := json.Marshal(v); err == nil {
				out = append(out, string(data))
			}
			if data, err := xml.Marshal(v); err == nil {
				out = append(out, string(data))
			}
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
			slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
			_ = gob.NewEncoder(&b).Encode(v)
			out = append(out, b.String())
			for _, text := range out {
				if shows(text, secretA) || shows(text, secretB) {
					t.Errorf("shown: %s", text)
				}
			}
		})
	}
	// A printer that looks into unexported fields sees nothing either.
	type holder struct{ K keys.Key }
	if diff := cmp.Diff(holder{}, holder{key}, cmp.Exporter(func(reflect.Type) bool { return true })); diff == "" || shows(diff, secretA) {
		t.Errorf("shown by reflection: %s", diff)
	}
}

func TestAKeyShowsItsLastFourCharactersAndAShortOneFewer(t *testing.T) {
	t.Parallel()
	key := pick(t, open(t, write(t, `{"openai": "`+secretA+`"}`), nil), "openai")
	for secret, want := range map[string]string{
		secretA:                           "…1111",
		strings.Repeat("a", 60) + "bcdef": "…cdef",
		"0123456789abcdefghijkl":          "…kl",
		"12345678":                        "…8",
		"1234567":                         "…",
		"x":                               "…",
	} {
		key := pick(t, open(t, write(t, `{"local": "`+secret+`"}`), nil), "local")
		if key.String() != want || key.Reveal() != secret {
			t.Errorf("%s is shown as %s, want %s", secret, key, want)
		}
		if data, err := json.Marshal(key); err != nil || string(data) != `"`+want+`"` {
			t.Errorf("%s in JSON is %s, %v", secret, data, err)
		}
	}
	verbs := fmt.Sprintf("%d %x %q %#v", key, key, key, key)
	if want := `…1111 …1111 …1111 keys.Key("…1111")`; verbs != want {
		t.Errorf("%s, want %s", verbs, want)
	}
	if got := fmt.Sprintf("%v %#v", keys.Key{}, keys.Key{}); got != `(no key) keys.Key("(no key)")` {
		t.Errorf("no key is shown as %s", got)
	}
}

func TestAKeyIsNamedAlikeInAllProcesses(t *testing.T) {
	t.Parallel()
	path := write(t, `{"openai": ["`+secretA+`", "`+secretB+`"], "other": "`+secretA+`"}`)
	one, two := open(t, path, nil), open(t, path, nil)
	a, b := pick(t, one, "openai"), pick(t, one, "openai")
	if again := pick(t, two, "openai"); a.ID() == "" || again.ID() != a.ID() {
		t.Errorf("%q and %q for one key", a.ID(), again.ID())
	}
	if other := pick(t, one, "other"); a.ID() == b.ID() || a.ID() == other.ID() {
		t.Errorf("%q, %q and %q for different keys", a.ID(), b.ID(), other.ID())
	}
	if a.Source() != path || a.Provider() != "openai" {
		t.Errorf("from %q for %q", a.Source(), a.Provider())
	}
}

func TestAKeyDoesNotTravelInTheClear(t *testing.T) {
	t.Parallel()
	store := open(t, write(t, `{"openai": "`+secretA+`"}`), nil)
	for _, ok := range []string{
		"https://example.com", "http://localhost:8080/v1", "http://127.0.0.1:1", "http://[::1]:1", "http://192.168.1.4/v1",
		"http://vllm:8000/v1", "http://host.docker.internal:11434/v1",
	} {
		if secret, err := store.Source("openai", ok)(t.Context()); err != nil || secret != secretA {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"http://example.com", "http://8.8.8.8", "ftp://localhost", "", "api.openai.com", "http://[::1", "http://localhost.evil.com",
	} {
		if secret, err := store.Source("openai", bad)(t.Context()); err == nil || secret != "" || shows(err.Error(), secretA) {
			t.Errorf("%s was taken: %v", bad, err)
		}
	}
}

func TestCheckFormKnowsTheVendorsKeys(t *testing.T) {
	t.Parallel()
	hex32 := "0123456789abcdef0123456789abcdef"
	for _, ok := range []struct{ kind, secret string }{
		{"openai", secretA},
		{"openai", "sk-" + strings.Repeat("aB3", 16)},
		{"openai", "sk-svcacct-" + strings.Repeat("a_-", 40)},
		{"anthropic", secretC},
		{"stability", "sk-" + strings.Repeat("aB3", 16)},
		{"elevenlabs", hex32},
		{"elevenlabs", "sk_" + hex32 + "0123456789abcdef"},
		{"local-vllm", "x"},
		{"mock", "token-abc123"},
	} {
		if err := keys.CheckForm(ok.kind, formOf(ok.kind), ok.secret); err != nil {
			t.Errorf("%s %s: %v", ok.kind, ok.secret, err)
		}
	}
	for _, bad := range []struct{ kind, secret, want string }{
		{"openai", "", "is empty"},
		{"openai", secretC, "another provider's"},
		{"openai", "pk-" + secretA[3:], `must begin with "sk-"`},
		{"openai", secretA + "\n", "white space around it"},
		{"openai", secretA[:10] + " " + secretA[10:], "holds white space"},
		{"openai", "“" + secretA + "”", "not ASCII"},
		{"openai", `"` + secretA + `"`, `must begin with "sk-"`},
		{"openai", secretA[:16] + "..." + secretA[28:], "never have"},
		{"openai", secretA[:12], "at least 20 characters, got 12"},
		{"openai", "sk-" + strings.Repeat("a", 600), "at most 512 characters, got 603"},
		{"anthropic", secretA, `must begin with "` + anthropicPrefix + `"`},
		{"stability", secretA, "another provider's"},
		{"elevenlabs", hex32[:31], "at least 32 characters, got 31"},
		{"elevenlabs", hex32[:31] + "g", "never have"},
		{"elevenlabs", secretA, "never have"},
		{"local-vllm", "a b", "holds white space"},
	} {
		err := keys.CheckForm(bad.kind, formOf(bad.kind), bad.secret)
		if err == nil || !strings.Contains(err.Error(), bad.want) || !strings.Contains(err.Error(), bad.kind) {
			t.Errorf("%s %q: got %v, want %s", bad.kind, bad.secret, err, bad.want)
		} else if len(bad.secret) > 8 && shows(err.Error(), strings.TrimPrefix(bad.secret, anthropicPrefix)) {
			t.Errorf("%s: shown in %v", bad.kind, err)
		}
	}
}

// formOf returns the form of the keys of a kind; any where it is not known.
func formOf(kind string) providers.KeyForm {
	d, _ := kinds.Of(kind)
	return d.Key
}

func TestVariableNames(t *testing.T) {
	t.Parallel()
	for provider, want := range map[string]string{
		"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "stability": "STABILITY_API_KEY",
		"elevenlabs": "ELEVENLABS_API_KEY", "local-vllm": "LOCAL_VLLM_API_KEY",
	} {
		if got := keys.Variable(provider); got != want {
			t.Errorf("%s: %s", provider, got)
		}
	}
}

// open opens a store on the file at path, with these environment variables.
func open(t *testing.T, path string, env map[string]string) *keys.Store {
	t.Helper()
	s, err := keys.Open(keys.Config{Path: path, Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func pick(t *testing.T, s *keys.Store, provider string) keys.Key {
	t.Helper()
	k, err := s.Pick(provider)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// write makes a key file in a directory of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	put(t, path, text)
	return path
}

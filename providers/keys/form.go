package keys

import (
	"errors"
	"fmt"
	"strings"
)

// Variable returns the environment variable that a provider's key is looked for
// in: OPENAI_API_KEY for "openai", LOCAL_VLLM_API_KEY for "local-vllm".
func Variable(provider string) string {
	return strings.ToUpper(strings.ReplaceAll(provider, "-", "_")) + "_API_KEY"
}

// form is what a vendor's keys look like. The bounds are wider than the keys seen
// so far, so that a vendor may change them a little.
type form struct {
	prefixes []string // one of these; empty: any
	not      []string // but none of these: another vendor's
	min      int      // characters, prefix included
	chars    string   // of the part after the prefix
}

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	hexes   = digits + "abcdefABCDEF"
)

// formOf returns what the keys of a kind of provider look like.
func formOf(kind string) (form, bool) {
	switch kind {
	case "openai":
		return form{[]string{"sk-"}, []string{"sk-ant-"}, 20, letters + digits + "-_"}, true
	case "anthropic":
		return form{[]string{"sk-ant-"}, nil, 24, letters + digits + "-_"}, true
	case "stability":
		return form{[]string{"sk-"}, []string{"sk-ant-", "sk-proj-", "sk-svcacct-"}, 20, letters + digits}, true
	case "elevenlabs":
		return form{[]string{"sk_", ""}, nil, 32, hexes}, true
	}
	return form{}, false
}

// maxSecret is the most characters that a key may have.
const maxSecret = 512

// CheckForm tells whether a secret looks like a key of this kind of provider
// ("openai", "anthropic", "stability", "elevenlabs"), so that a slip of the hand
// is noticed before a call fails. Kinds that it does not know may have any key
// that fits into a header. The error never shows the secret.
func CheckForm(kind, secret string) error {
	if err := fits(secret); err != nil {
		return fmt.Errorf("key for %s: %w", kind, err)
	}
	f, known := formOf(kind)
	if !known {
		return nil
	}
	for _, other := range f.not {
		if strings.HasPrefix(secret, other) {
			return fmt.Errorf("key for %s: it begins with %q and is another provider's: "+
				"copy the key from your account with %s", kind, other, kind)
		}
	}
	rest, ok := "", false
	for _, p := range f.prefixes {
		if rest, ok = strings.CutPrefix(secret, p); ok {
			break
		}
	}
	switch {
	case !ok:
		return fmt.Errorf("key for %s: must begin with %q: copy all of it", kind, f.prefixes[0])
	case strings.Trim(rest, f.chars) != "":
		return fmt.Errorf("key for %s: holds a character that its keys never have: copy it again, without quotes or dots", kind)
	case len(secret) < f.min:
		return fmt.Errorf("key for %s: must have at least %d characters, got %d: copy all of it", kind, f.min, len(secret))
	}
	return nil
}

// fits tells whether a secret can stand in a header at all.
func fits(secret string) error {
	switch {
	case secret == "":
		return errors.New("is empty")
	case len(secret) > maxSecret:
		return fmt.Errorf("must have at most %d characters, got %d", maxSecret, len(secret))
	case strings.TrimSpace(secret) != secret:
		return errors.New("has white space around it: remove that")
	}
	for _, c := range []byte(secret) {
		if c <= ' ' || c > '~' {
			return errors.New("holds white space or a character that is not ASCII: copy it again")
		}
	}
	return nil
}

// maxName is the most characters that a provider's name may have in the file:
// fewer than any vendor's key has, so that a key that stands where a name should
// be is refused, and not shown.
const maxName = 30

// isName tells whether s can be a provider's name.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" &&
		!strings.HasPrefix(s, "sk-") && !strings.HasPrefix(s, "sk_")
}

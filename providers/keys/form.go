package keys

import (
	"errors"
	"fmt"
	"strings"

	"oneflow/providers"
)

// Variable returns the environment variable that a provider's key is looked for
// in: OPENAI_API_KEY for "openai", LOCAL_VLLM_API_KEY for "local-vllm".
func Variable(provider string) string {
	return strings.ToUpper(strings.ReplaceAll(provider, "-", "_")) + "_API_KEY"
}

// maxSecret is the most characters that a key may have.
const maxSecret = 512

// CheckForm refuses a secret that does not look like a key of this kind of
// provider, so that a slip of the hand is noticed before a call fails. The zero form
// takes any key that fits into a header. The error never shows the secret.
func CheckForm(kind string, f providers.KeyForm, secret string) error {
	if err := fits(secret); err != nil {
		return fmt.Errorf("key for %s: %w", kind, err)
	}
	for _, other := range f.NotPrefixes {
		if strings.HasPrefix(secret, other) {
			return fmt.Errorf("key for %s: it begins with %q and is another provider's: "+
				"copy the key from your account with %s", kind, other, kind)
		}
	}
	rest, ok := secret, len(f.Prefixes) == 0
	for _, p := range f.Prefixes {
		if rest, ok = strings.CutPrefix(secret, p); ok {
			break
		}
	}
	switch {
	case !ok:
		return fmt.Errorf("key for %s: must begin with %q: copy all of it", kind, f.Prefixes[0])
	case f.Characters != "" && strings.Trim(rest, f.Characters) != "":
		return fmt.Errorf("key for %s: holds a character that its keys never have: copy it again, without quotes or dots", kind)
	case len(secret) < f.MinLength:
		return fmt.Errorf("key for %s: must have at least %d characters, got %d: copy all of it", kind, f.MinLength, len(secret))
	}
	return nil
}

// fits reports whether a secret can stand in a header at all.
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

// isName reports whether s can be a provider's name.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" &&
		!strings.HasPrefix(s, "sk-") && !strings.HasPrefix(s, "sk_")
}

package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultPath is the key file that is used where none is configured.
const defaultPath = ".api_keys.json"

// maxFile is the most bytes that a key file may have.
const maxFile = 1 << 20

// Set makes secrets the only keys of a provider in the file at path, which it
// makes where there is none. The running workers that watch the file take them
// at once.
//
// The file is replaced atomically and durably with one of mode 0600, under a lock
// on its directory, so that several of these at once do not undo each other. A
// path that is a symbolic link is refused. Secrets that no header can carry are
// refused; call CheckForm first for what the vendor's keys look like.
func Set(path, provider string, secrets ...string) error {
	if len(secrets) == 0 {
		return fmt.Errorf("set key of %s: there is no key; to remove its keys use Remove", provider)
	}
	return edit(path, provider, func([]string) ([]string, error) { return secrets, nil })
}

// Add adds a key to those that a provider has in the file at path, as Set does.
// A key that is there already is not added again.
func Add(path, provider, secret string) error {
	return edit(path, provider, func(old []string) ([]string, error) { return append(old, secret), nil })
}

// Remove removes all keys of a provider from the file at path, as Set does. It is
// an ErrNoKey if the file has none.
func Remove(path, provider string) error {
	return edit(path, provider, func(old []string) ([]string, error) {
		if len(old) == 0 {
			return nil, fmt.Errorf("%w in it", ErrNoKey)
		}
		return nil, nil
	})
}

// edit replaces a provider's keys in the file by what change makes of them.
func edit(path, provider string, change func(old []string) ([]string, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keys of %s in %s: %w", shown(provider), path, err)
		}
	}()
	if !isName(provider) {
		return fmt.Errorf("a provider's name has at most %d small letters, digits, - and _", maxName)
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()

	old, err := ownFile(path)
	if err != nil {
		return err
	}
	all, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if all == nil {
		all = map[string][]string{}
	}
	secrets, err := change(all[provider])
	if err != nil {
		return err
	}
	for i, s := range secrets {
		if err := fits(s); err != nil {
			return fmt.Errorf("key %d of %d: %w", i+1, len(secrets), err)
		}
	}
	if all[provider] = unique(secrets); len(secrets) == 0 {
		delete(all, provider)
	}
	return replace(path, old, all)
}

// shown returns a provider's name for an error, unless it is none: somebody may
// have put the key in its place.
func shown(provider string) string {
	if isName(provider) {
		return provider
	}
	return "(not a name)"
}

// ownFile refuses to replace what is not a plain file: behind a link stands
// something that somebody keeps elsewhere for a reason. It returns nil where there
// is no file yet.
func ownFile(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, errors.New("is a symbolic link that leads nowhere: remove it")
		}
		return nil, fmt.Errorf("is a symbolic link: name the file itself, %s", target)
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a plain file: name another")
	}
	return info, nil
}

// readFile reads the keys in a file, by provider.
func readFile(path string) (map[string][]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0) //nolint:gosec // the path is the configuration's
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a plain file: name another")
	}
	if mode := info.Mode().Perm(); mode != 0o600 && mode != 0o400 {
		return nil, fmt.Errorf("its mode is %04o and must be 0600, so that nobody else can read it: run: chmod 600 %s", mode, shellWord(path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	return decode(data)
}

// decode reads {"provider": "key", "other": ["key", "key"]}. It goes token by
// token, as the errors of encoding/json repeat pieces of what they read.
func decode(data []byte) (map[string][]string, error) {
	const wanted = `write {"openai": ["KEY", "KEY"], "anthropic": "KEY"}`
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	next := func() (json.Token, error) {
		t, err := dec.Token()
		if err != nil {
			at := min(dec.InputOffset(), int64(len(data)))
			return nil, fmt.Errorf("line %d: not valid JSON; %s", 1+bytes.Count(data[:at], []byte("\n")), wanted)
		}
		return t, nil
	}
	t, err := next()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, fmt.Errorf("must be an object; %s", wanted)
	}
	out := map[string][]string{}
	for n := 1; dec.More(); n++ {
		if t, err = next(); err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if !isName(name) {
			return nil, fmt.Errorf("entry %d: its name is not a provider's: at most %d small letters, digits, - and _; %s", n, maxName, wanted)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s: is in it twice: write its keys as one list", name)
		}
		secrets, err := decodeKeys(name, next, dec.More)
		if err != nil {
			return nil, err
		}
		out[name] = unique(secrets)
	}
	if _, err = next(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows after the end")
	}
	return out, nil
}

// decodeKeys reads one key or a list of them.
func decodeKeys(name string, next func() (json.Token, error), more func() bool) ([]string, error) {
	t, err := next()
	if err != nil {
		return nil, err
	}
	if secret, ok := t.(string); ok {
		if err := fits(secret); err != nil {
			return nil, fmt.Errorf("%s: its key %w", name, err)
		}
		return []string{secret}, nil
	}
	if t != json.Delim('[') {
		return nil, fmt.Errorf("%s: must be a key or a list of keys", name)
	}
	out := []string{}
	for more() {
		if t, err = next(); err != nil {
			return nil, err
		}
		secret, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("%s[%d]: must be a key in quotes", name, len(out))
		}
		if err := fits(secret); err != nil {
			return nil, fmt.Errorf("%s[%d]: the key %w", name, len(out), err)
		}
		out = append(out, secret)
	}
	_, err = next() // the closing bracket
	return out, err
}

// unique returns the secrets without those that came before, in their order.
func unique(secrets []string) []string {
	out := make([]string, 0, len(secrets))
	for _, s := range secrets {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// replace writes the keys to a new file beside path and renames it there, so
// that a reader sees the old file or the new one, also after a power cut. old is
// the file that is there, or nil.
func replace(path string, old fs.FileInfo, all map[string][]string) (err error) {
	defer func() {
		// The temporary file's name helps nobody.
		if of, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("write %s: %w", path, of.Err)
		} else if of, ok := errors.AsType[*os.LinkError](err); ok {
			err = fmt.Errorf("write %s: %w", path, of.Err)
		}
	}()
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".api_keys-*.tmp") // 0600, and new for certain
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if old != nil {
		err = keepOwner(f, old)
	}
	if err = errors.Join(err, f.Chmod(0o600), write(f, all), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // the directory of the configured path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write writes one provider a line, sorted.
func write(w io.Writer, all map[string][]string) error {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		secrets, err := json.Marshal(all[name])
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("  %q: %s", name, secrets))
	}
	_, err := io.WriteString(w, "{\n"+strings.Join(lines, ",\n")+"\n}\n")
	return err
}

// shellWord quotes a path for a command that somebody will copy.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@%:") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

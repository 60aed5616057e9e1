package keys_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers/keys"
)

// content reads a key file as it is.
func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSetAddAndRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	for i, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return keys.Set(path, "openai", secretA) }, `{"openai": ["A"]}`},
		{func() error { return keys.Add(path, "openai", secretB) }, `{"openai": ["A","B"]}`},
		{func() error { return keys.Add(path, "openai", secretB) }, `{"openai": ["A","B"]}`},
		{func() error { return keys.Add(path, "anthropic", secretC) }, `{"anthropic": ["C"], "openai": ["A","B"]}`},
		{func() error { return keys.Set(path, "openai", secretB, secretA) }, `{"anthropic": ["C"], "openai": ["B","A"]}`},
		{func() error { return keys.Remove(path, "openai") }, `{"anthropic": ["C"]}`},
		{func() error { return keys.Remove(path, "anthropic") }, `{}`},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(strings.NewReplacer(secretA, "A", secretB, "B", secretC, "C").Replace(content(t, path))), " ")
		got = strings.NewReplacer("{ ", "{", " }", "}").Replace(got)
		if got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("step %d: mode %v, %v", i, info.Mode(), err)
		}
	}
	if err := keys.Remove(path, "openai"); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("removing what is not there: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSetChangesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	path := write(t, `{"openai": "`+secretA+`"}`)
	before := content(t, path)
	for name, try := range map[string]func() error{
		"no key":         func() error { return keys.Set(path, "openai") },
		"an empty key":   func() error { return keys.Set(path, "openai", "") },
		"a broken key":   func() error { return keys.Add(path, "openai", secretB+" "+secretC) },
		"key for a name": func() error { return keys.Set(path, secretB, "openai") },
		"hex for a name": func() error { return keys.Set(path, strings.Repeat("0123abcd", 4), "openai") },
		"no directory":   func() error { return keys.Set(filepath.Join(path+".d", "k.json"), "openai", secretB) },
		"no such keys":   func() error { return keys.Remove(path, "anthropic") },
	} {
		err := try()
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if shows(err.Error(), secretA) || shows(err.Error(), secretB) || strings.Contains(err.Error(), "0123abcd") {
			t.Errorf("%s: shown in %v", name, err)
		}
	}
	broken := write(t, `{"openai": "`+secretA)
	if err := keys.Set(broken, "openai", secretB); err == nil {
		t.Error("a broken file was replaced")
	}
	if content(t, path) != before || content(t, broken) != `{"openai": "`+secretA {
		t.Error("a file was changed")
	}
}

func TestSetGoesThroughNoLink(t *testing.T) {
	t.Parallel()
	file := write(t, `{"openai": "`+secretA+`"}`)
	before := content(t, file)
	dir := t.TempDir()
	to, dangling := filepath.Join(dir, "link.json"), filepath.Join(dir, "dangling.json")
	link(t, file, to)
	link(t, filepath.Join(dir, "none"), dangling)
	if err := keys.Set(to, "openai", secretB); err == nil || !strings.Contains(err.Error(), "name the file itself, ") {
		t.Errorf("a link: %v", err)
	}
	if err := keys.Set(dangling, "openai", secretB); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
		t.Errorf("a dangling link: %v", err)
	}
	if err := keys.Set(dir, "openai", secretB); err == nil {
		t.Error("a directory was replaced")
	}
	if content(t, file) != before {
		t.Error("the file behind the link was changed")
	}
}

func TestSeveralSetsAtOnceDoNotUndoEachOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	var wg sync.WaitGroup
	var want []string
	for i := range 16 {
		provider := fmt.Sprintf("p%02d", i)
		want = append(want, provider)
		wg.Go(func() {
			if err := keys.Set(path, provider, secretA); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	entries, err := keys.List(keys.Config{Path: path, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Provider)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// put writes a file of mode 0600.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// swapIn renames a new file of mode 0600 onto path.
func swapIn(t *testing.T, path, text string) {
	t.Helper()
	put(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

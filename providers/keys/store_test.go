package keys_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers/keys"
)

func TestKeysAreTakenInTurn(t *testing.T) {
	t.Parallel()
	s := open(t, write(t, `{"openai": ["`+secretA+`", "`+secretB+`", "`+secretA+`"], "anthropic": "`+secretC+`"}`), nil)
	var got []string
	for range 5 {
		got = append(got, pick(t, s, "openai").String())
	}
	if diff := cmp.Diff([]string{"…1111", "…2222", "…1111", "…2222", "…1111"}, got); diff != "" {
		t.Error(diff)
	}
	if k := pick(t, s, "anthropic"); k.Reveal() != secretC {
		t.Errorf("got %s", k)
	}
}

func TestTheEnvironmentComesBeforeTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, `{"openai": "`+secretA+`", "stability": "`+secretA+`"}`)
	s := open(t, path, map[string]string{
		"OPENAI_API_KEY": secretB + "\n", "ANTHROPIC_API_KEY": secretC, "LOCAL_VLLM_API_KEY": "x", "STABILITY_API_KEY": " ",
	})
	for provider, want := range map[string]string{
		"openai": secretB, "anthropic": secretC, "stability": secretA, "local-vllm": "x",
	} {
		if k := pick(t, s, provider); k.Reveal() != want {
			t.Errorf("%s: got %s from %s", provider, k, k.Source())
		}
	}
	var got []string
	for _, e := range s.List() {
		line := e.Provider + " " + e.Key.String() + " " + filepath.Base(e.Source)
		if e.Shadowed {
			line += " shadowed"
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{
		"anthropic …3333 ANTHROPIC_API_KEY",
		"local-vllm … LOCAL_VLLM_API_KEY",
		"openai …2222 OPENAI_API_KEY",
		"openai …1111 keys.json shadowed",
		"stability …1111 keys.json",
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoKeyNamesTheVariableAndTheCommand(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "none.json"), map[string]string{"BAD_API_KEY": "a b"})
	_, err := s.Pick("openai")
	want := "no API key for openai: set OPENAI_API_KEY, or run: worker keys set openai"
	if !errors.Is(err, keys.ErrNoKey) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for provider, want := range map[string]string{"bad": "BAD_API_KEY", secretA: "a provider's name has"} {
		if _, err := s.Pick(provider); !errors.Is(err, keys.ErrNoKey) || !strings.Contains(err.Error(), want) || shows(err.Error(), secretA) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.Source("openai", "https://provider.example")(t.Context()); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("source: got %v", err)
	}
}

func TestARefusedKeyIsPausedAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	s, err := keys.Open(keys.Config{
		Path:   write(t, `{"openai": ["`+secretA+`", "`+secretB+`"]}`),
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := pick(t, s, "openai"), pick(t, s, "openai")

	s.Pause(a, "was refused (401)", time.Time{})
	for range 3 {
		if k := pick(t, s, "openai"); k != b {
			t.Errorf("picked %s", k)
		}
	}
	s.Pause(b, "is out of quota", now.Add(time.Minute))
	_, err = s.Pick("openai")
	if !errors.Is(err, keys.ErrAllPaused) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"all API keys are paused for openai:", "…1111 was refused (401)", "…2222 is out of quota, until 2026-09-01T12:01:00Z",
		"worker keys set openai",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if l := s.List(); l[0].Paused == "" || !l[0].Until.IsZero() || l[1].Until != now.Add(time.Minute) {
		t.Errorf("listed as %+v", l)
	}

	now = now.Add(time.Minute)
	if k := pick(t, s, "openai"); k != b {
		t.Errorf("picked %s after its pause", k)
	}
	s.Pause(keys.Key{}, "nothing", time.Time{})
}

func TestTheKeyThatACallUsedIsKnown(t *testing.T) {
	t.Parallel()
	s := open(t, write(t, `{"openai": ["`+secretA+`", "`+secretB+`"]}`), nil)
	source := s.Source("openai", "https://provider.example")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ctx, used := keys.Track(t.Context())
			if used.Key() != (keys.Key{}) {
				t.Error("a key before the call")
			}
			secret, err := source(ctx)
			if err != nil || used.Key().Reveal() != secret {
				t.Errorf("used %s, %v", used.Key(), err)
			}
		})
	}
	wg.Wait()
	if secret, err := source(t.Context()); err != nil || secret == "" {
		t.Errorf("without a tracker: %v", err)
	}
}

func TestAFileThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path := write(t, `{"openai": "`+secretA+`"}`)
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620, 0o700, 0o601} {
		chmod(t, path, mode)
		for what, try := range map[string]func() error{
			"open": func() error { _, err := keys.Open(keys.Config{Path: path}); return err },
			"list": func() error { _, err := keys.List(keys.Config{Path: path}); return err },
			"set":  func() error { return keys.Set(path, "openai", secretB) },
		} {
			if err := try(); err == nil || !strings.Contains(err.Error(), "run: chmod 600 "+path) {
				t.Errorf("%s with mode %o: %v", what, mode, err)
			}
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		chmod(t, path, mode)
		if _, err := keys.List(keys.Config{Path: path}); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	odd := filepath.Join(t.TempDir(), "it's here.json")
	put(t, odd, `{}`)
	chmod(t, odd, 0o644)
	if _, err := keys.List(keys.Config{Path: odd}); err == nil || !strings.Contains(err.Error(), `run: chmod 600 '`) ||
		!strings.Contains(err.Error(), `it'\''s here.json'`) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]keys.Config{
		"no directory":    {Path: filepath.Join(dir, "none", "keys.json")},
		"not a directory": {Path: filepath.Join(write(t, "{}"), "keys.json")},
		"a directory":     {Path: dir},
		"a broken file":   {Path: write(t, `{"openai": [`)},
		"a broken variable": {
			Path: filepath.Join(dir, "none.json"), Providers: []string{"openai"},
			Getenv: func(name string) string { return map[string]string{"OPENAI_API_KEY": secretA + " x"}[name] },
		},
	} {
		if s, err := keys.Open(c); err == nil || shows(err.Error(), secretA) {
			s.Close()
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "big.json"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.List(keys.Config{Path: filepath.Join(dir, "big.json")}); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("a large file: %v", err)
	}
}

package keys_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"oneflow/providers/keys"
)

// watched is a store whose callbacks can be waited for.
type watched struct {
	*keys.Store
	path     string
	reloaded chan []keys.Entry
	failed   chan error
}

func watch(t *testing.T, path string) watched {
	t.Helper()
	w := watched{path: path, reloaded: make(chan []keys.Entry, 100), failed: make(chan error, 100)}
	var err error
	w.Store, err = keys.Open(keys.Config{
		Path: path, Getenv: func(string) string { return "" }, Debounce: 5 * time.Millisecond,
		OnReload: func(e []keys.Entry) { w.reloaded <- e },
		OnError:  func(err error) { w.failed <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// until waits for a reload after which openai has these keys.
func (w watched) until(t *testing.T, want string) {
	t.Helper()
	for {
		select {
		case entries := <-w.reloaded:
			var got []string
			for _, e := range entries {
				if e.Provider == "openai" {
					got = append(got, e.Key.String())
				}
			}
			if strings.Join(got, " ") == want {
				return
			}
		case err := <-w.failed:
			t.Fatal(err)
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// fails waits for an error that says so.
func (w watched) fails(t *testing.T, want string) {
	t.Helper()
	for {
		select {
		case err := <-w.failed:
			if shows(err.Error(), secretA) || shows(err.Error(), secretB) {
				t.Errorf("shown: %v", err)
			}
			if strings.Contains(err.Error(), want) {
				return
			}
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

func TestKeysRotateWithoutARestart(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": "`+secretA+`"}`))
	running := pick(t, w.Store, "openai")

	// The second rename and those after it are what a watch on the file misses.
	for i, next := range []struct{ secret, shown string }{{secretB, "…2222"}, {secretC, "…3333"}, {secretA, "…1111"}, {secretB, "…2222"}} {
		if err := keys.Set(w.path, "openai", next.secret); err != nil {
			t.Fatal(err)
		}
		w.until(t, next.shown)
		if k := pick(t, w.Store, "openai"); k.Reveal() != next.secret {
			t.Errorf("change %d: picked %s", i+1, k)
		}
	}
	if running.Reveal() != secretA {
		t.Error("the running call lost its key")
	}

	// An editor that writes into the file itself is seen too.
	put(t, w.path, `{"openai": "`+secretC+`"}`)
	for {
		if k := pick(t, w.Store, "openai"); k.Reveal() == secretC {
			break
		}
		select {
		case <-w.reloaded:
		case <-w.failed: // it may have been read while it was half written
		}
	}
}

func TestABrokenFileKeepsTheKeysOfBefore(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": "`+secretA+`"}`))
	steps := []struct {
		do   func()
		want string
	}{
		{func() { swapIn(t, w.path, `{"openai": "`+secretB) }, "not valid JSON"},
		{func() { chmod(t, w.path, 0o644) }, "chmod 600"},
		{func() { remove(t, w.path) }, "is gone"},
	}
	for _, step := range steps {
		step.do()
		w.fails(t, step.want)
		if k := pick(t, w.Store, "openai"); k.Reveal() != secretA {
			t.Errorf("%s: picked %s", step.want, k)
		}
	}
	swapIn(t, w.path, `{}`)
	w.until(t, "")
	if _, err := w.Pick("openai"); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatAppearsLaterIsTaken(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "keys.json"))
	if _, err := w.Pick("openai"); !errors.Is(err, keys.ErrNoKey) {
		t.Fatalf("got %v", err)
	}
	if err := keys.Set(w.path, "openai", secretA); err != nil {
		t.Fatal(err)
	}
	w.until(t, "…1111")
}

func TestAChangeOfTheFileEndsPauses(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": "`+secretA+`"}`))
	old := pick(t, w.Store, "openai")
	w.Pause(old, "401", time.Time{})
	if err := keys.Set(w.path, "openai", secretB); err != nil {
		t.Fatal(err)
	}
	w.until(t, "…2222")
	w.Pause(old, "401 of a call that began before", time.Time{})
	if k := pick(t, w.Store, "openai"); k.Reveal() != secretB {
		t.Errorf("picked %s", k)
	}
	if err := keys.Set(w.path, "openai", secretA); err != nil {
		t.Fatal(err)
	}
	w.until(t, "…1111")
	if k := pick(t, w.Store, "openai"); k.Reveal() != secretA {
		t.Errorf("picked %s", k)
	}
	w.Pause(old, "the same secret, which was read anew", time.Time{})
	if _, err := w.Pick("openai"); !errors.Is(err, keys.ErrAllPaused) {
		t.Errorf("got %v", err)
	}
}

func TestTheDirectoryOfAMountedSecretIsFollowed(t *testing.T) {
	t.Parallel()
	// As Kubernetes does it: keys.json -> ..data/keys.json, ..data -> ..1.
	dir := t.TempDir()
	version := func(name, text string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name, "keys.json"), text)
		link(t, name, filepath.Join(dir, "..tmp"))
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", `{"openai": "`+secretA+`"}`)
	link(t, filepath.Join("..data", "keys.json"), filepath.Join(dir, "keys.json"))
	w := watch(t, filepath.Join(dir, "keys.json"))
	version("..2", `{"openai": "`+secretB+`"}`)
	w.until(t, "…2222")
}

func TestAWatchedDirectoryThatGoesIsReported(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": "`+secretA+`"}`))
	if err := os.RemoveAll(filepath.Dir(w.path)); err != nil {
		t.Fatal(err)
	}
	w.fails(t, "its directory is gone")
	if k := pick(t, w.Store, "openai"); k.Reveal() != secretA {
		t.Errorf("picked %s", k)
	}
}

func TestKeysCanBePickedByManyWhileTheyRotate(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": ["`+secretA+`", "`+secretB+`"]}`))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k, err := w.Pick("openai")
				if err != nil && !errors.Is(err, keys.ErrAllPaused) {
					t.Error(err)
					return
				}
				w.Pause(k, "401", time.Time{})
				_ = w.List()
			}
		})
	}
	for _, next := range []struct{ secret, shown string }{{secretC, "…3333"}, {secretA, "…1111"}, {secretB, "…2222"}} {
		if err := keys.Set(w.path, "openai", next.secret); err != nil {
			t.Fatal(err)
		}
		w.until(t, next.shown)
	}
	close(stop)
	wg.Wait()
}

func TestCloseEndsTheCallbacksAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	w := watch(t, write(t, `{"openai": "`+secretA+`"}`))
	w.Close()
	w.Close()
	close(w.reloaded) // a callback would panic
	close(w.failed)
	if err := keys.Set(w.path, "openai", secretB); err != nil {
		t.Fatal(err)
	}
	if k := pick(t, w.Store, "openai"); k.Reveal() != secretA {
		t.Errorf("picked %s", k)
	}
}

package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch watches the directory of the key file, not the file: a watch on a file
// stays with the old one when another is renamed onto its path, and would miss
// the second change. stop ends it and waits for the callback that may be running.
func (s *Store) watch() (stop func(), err error) {
	dir, base := filepath.Split(s.config.Path)
	dir = filepath.Clean(dir) // "" becomes "."
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	if err := w.Add(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", dir, err), w.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow(w, dir, base)
	}()
	return func() {
		_ = w.Close() // it only fails to close what is closed
		<-done
	}, nil
}

// follow reads the file again once it was left alone for the debounce time, and
// at the latest after ten times that.
func (s *Store) follow(w *fsnotify.Watcher, dir, base string) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // of the events that wait for the timer; zero: none does
	wake := func() {
		if first.IsZero() {
			first = time.Now()
		}
		timer.Reset(min(s.config.Debounce, max(0, 10*s.config.Debounce-time.Since(first))))
	}
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			switch name := filepath.Base(e.Name); {
			case filepath.Clean(e.Name) == dir && e.Has(fsnotify.Remove|fsnotify.Rename):
				s.config.OnError(fmt.Errorf("key file %s: its directory is gone: changes are not seen until a restart", s.config.Path))
			case name == base, name == "..data": // what Kubernetes swaps to change a mounted secret
				wake()
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			s.config.OnError(fmt.Errorf("key file %s: watch: %w", s.config.Path, err))
			wake() // the error may stand for events that were lost
		case <-timer.C:
			first = time.Time{}
			s.reload()
		}
	}
}

// reload takes the file as it is now, or keeps the keys of before.
func (s *Store) reload() {
	if err := s.load(); err != nil {
		s.config.OnError(fmt.Errorf("%w: the keys of before stay in use", err))
		return
	}
	s.config.OnReload(s.List())
	select {
	case s.changed <- struct{}{}:
	default: // one is waiting to be seen
	}
}

package worker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
)

// orphanedFiles finds the files that workers which have stopped left in a folder: each has
// one, with its id and a suffix for a name, which it locked for as long as it lived.
type orphanedFiles struct {
	dir    string // empty: there are none
	suffix string
	own    uuid.UUID // its file is left alone
	log    zerolog.Logger
}

// recover hands each of the files to recoverFile, locked, and removes it. One that fails is
// kept for the next time, and the log says so in the words of kept.
func (o orphanedFiles) recover(ctx context.Context, kept string, recoverFile func(f *os.File) error) {
	if o.dir == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(o.dir, "*"+o.suffix))
	if err != nil {
		o.log.Error().Err(err).Str("folder", o.dir).Msg("folder of stopped workers not readable")
	}
	for _, path := range files {
		if filepath.Base(path) == o.own.String()+o.suffix {
			continue
		}
		if err := recoverOne(path, recoverFile); err != nil && ctx.Err() == nil {
			o.log.Error().Err(err).Str("file", path).Msg(kept)
		}
	}
}

func recoverOne(path string, recoverFile func(f *os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a file of the configured folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was faster
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if held, err := lockFile(f); held || err != nil {
		return err // its worker lives, or somebody else is at it
	}
	if !sameFile(f, path) {
		return nil
	}
	if err := recoverFile(f); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the configured folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sameFile reports whether path still names f.
func sameFile(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}

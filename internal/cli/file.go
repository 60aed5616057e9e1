package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file that is complete or not there at all: into a temporary
// one beside it, then renamed. Only its owner may read it, since it holds answers.
// What is no file, such as /dev/stdout or a named pipe, is written into as it is.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("write %s: is a folder", path)
	} else if err == nil && !info.Mode().IsRegular() {
		return writeInto(path, write)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return notWritten(path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			if left := os.Remove(f.Name()); left != nil {
				err = errors.Join(err, fmt.Errorf("remove what was written for it: %w", errors.Unwrap(left)))
			}
		}
	}()
	if err := write(named{f, path}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return notWritten(path, err)
	}
	if err := f.Close(); err != nil {
		return notWritten(path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return notWritten(path, err)
	}
	return nil
}

// named writes into a file and calls it by the name that it will have.
type named struct {
	f    *os.File
	path string
}

func (n named) Write(p []byte) (int, error) {
	written, err := n.f.Write(p)
	if err != nil {
		err = notWritten(n.path, err)
	}
	return written, err
}

// notWritten names the file that was asked for, not the temporary one.
func notWritten(path string, err error) error {
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		err = of.Err
	}
	if of, ok := errors.AsType[*os.LinkError](err); ok {
		err = of.Err
	}
	return fmt.Errorf("write %s: %w", path, err)
}

func writeInto(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the path is the user's own
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}

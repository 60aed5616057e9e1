package artifacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// folder is a bucket of files.
type folder string

func openFolder(path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("artifacts: folder %s: %w", path, err)
	}
	// Only the folder itself is private: others of ours share its parents.
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil { //nolint:gosec // see above
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	if err := os.Mkdir(abs, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	return &Store{bucket: folder(abs), base: (&url.URL{Scheme: "file", Path: abs}).String() + "/"}, nil
}

// folderOf returns the folder that address names, if it names one.
func folderOf(address string) (folder string, ok bool, err error) {
	if !strings.Contains(address, "://") {
		return address, true, nil
	}
	if !strings.HasPrefix(address, "file://") {
		return "", false, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false, errors.New("artifacts: the file URL cannot be read; write the folder itself")
	}
	if u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", false, fmt.Errorf("artifacts: %s: a file URL has three slashes and a whole path, such as file:///var/lib/oneflow; or write the folder itself", redact(address))
	}
	return u.Path, true, nil
}

func (f folder) size(ctx context.Context, key string) (int64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	info, err := os.Stat(filepath.Join(string(f), filepath.FromSlash(key)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return info.Size(), true, nil
}

// write puts the bytes on the disk under another name first, so that a reader sees
// all of an object or none.
func (f folder) write(ctx context.Context, key string, data []byte, contentType string) error {
	return f.writeFrom(ctx, key, bytes.NewReader(data), int64(len(data)), contentType)
}

func (f folder) open(_ context.Context, key string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), filepath.FromSlash(key)))
}

// plainFolder is a folder of somebody else's, which is not made.
func plainFolder(path string) bucket { return folder(path) }

func (f folder) writeFrom(_ context.Context, key string, r io.Reader, _ int64, _ string) error {
	path := filepath.Join(string(f), filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".partial-*")
	if err != nil {
		return notWritten(path, err)
	}
	_, err = io.Copy(tmp, r)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return notWritten(path, errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

func (f folder) remove(_ context.Context, key string) error {
	err := os.Remove(filepath.Join(string(f), filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f folder) check(context.Context) error {
	tmp, err := os.CreateTemp(string(f), ".check-*")
	if err != nil {
		return notWritten(string(f), err)
	}
	if err := errors.Join(tmp.Close(), os.Remove(tmp.Name())); err != nil {
		return notWritten(string(f), err)
	}
	return nil
}

// notWritten names what was to be written, not the temporary file.
func notWritten(path string, err error) error {
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		err = of.Err
	} else if of, ok := errors.AsType[*os.LinkError](err); ok {
		err = of.Err
	}
	return fmt.Errorf("write %s: %w", path, err)
}

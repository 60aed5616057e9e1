//go:build unix

package keys

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// nonblock keeps the opening of a pipe that stands where the file should be from
// waiting for its other end.
const nonblock = syscall.O_NONBLOCK

// lock waits until nobody else edits key files in dir. The lock is on the
// directory itself, so that no lock file stays behind, and goes with the process.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir) //nolint:gosec // the directory of the configured path
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return func() { _ = d.Close() }, nil // closing unlocks
}

// keepOwner gives f the owner that the old file had, so that the worker can still
// read its keys after root set one.
func keepOwner(f *os.File, old fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	was, ok := old.Sys().(*syscall.Stat_t)
	is, ok2 := info.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || (was.Uid == is.Uid && was.Gid == is.Gid) {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}

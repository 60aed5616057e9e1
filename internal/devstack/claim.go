//go:build linux || darwin

package devstack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ownerFile in a folder of ours is locked by the process that uses the folder and holds its pid for people to read. The
// kernel gives the lock up when the process ends, however it ends, and pids that are used again cannot fool it.
const ownerFile = "owner"

// errClaimed says that a live process holds the folder.
var errClaimed = errors.New("is in use")

// claim is the hold on a folder.
type claim struct{ file *os.File }

// claimFolder takes hold of a folder, with create also when nobody did before. It fails with errClaimed when a live
// process holds it and with [os.ErrNotExist] when there is no owner file and create is false.
func claimFolder(dir string, create bool) (*claim, error) {
	name := filepath.Join(dir, ownerFile)
	flags := os.O_RDWR | syscall.O_NOFOLLOW
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flags, 0o600) //nolint:gosec // a fixed name in a folder of ours
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer closeQuietly(f)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		pid, err := io.ReadAll(io.LimitReader(f, 32))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return nil, fmt.Errorf("%w by the process %s", errClaimed, strings.TrimSpace(string(pid)))
	}
	// Somebody may have removed the folder between our open and our lock: then the lock is on nothing.
	ours, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(ours, there) {
			err = os.ErrNotExist
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		closeQuietly(f)
		return nil, err
	}
	return &claim{file: f}, nil
}

// release gives the folder up. The file stays: removing it would let two processes lock two files of one name.
func (c *claim) release() error { return c.file.Close() }

//go:build !unix

package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const nonblock = 0

// lock has no way to lock a directory here.
func lock(string) (unlock func(), err error) {
	return nil, fmt.Errorf("locking the directory of the key file: %w on this system: use environment variables", errors.ErrUnsupported)
}

// keepOwner has nothing to keep where files have no owner that we know of.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

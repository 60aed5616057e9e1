//go:build chaos

package chaos

import (
	"fmt"
	"syscall"
)

func mountSmall(folder string) error {
	return syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d", diskSize))
}

// unmount does not wait for those who use it.
func unmount(folder string) error { return syscall.Unmount(folder, syscall.MNT_DETACH) }

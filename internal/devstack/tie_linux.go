package devstack

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// tieBefore makes the kernel send sig to the child when we die. The kernel means the thread, not the process: the caller
// holds on to its thread until the child has ended.
func tieBefore(cmd *exec.Cmd, sig syscall.Signal) { cmd.SysProcAttr.Pdeathsig = sig }

// tieAfter has nothing to add here.
func tieAfter(*exec.Cmd, syscall.Signal) (untie func(), err error) { return func() {}, nil }

// workingDir is a process' working directory; it fails for a process that is gone, a zombie included.
func workingDir(_ context.Context, pid int) (string, error) {
	return os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
}

// freeBytes is the room in a file system for an ordinary user, 0 when there is none.
func freeBytes(dir string) uint64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize) //nolint:gosec // a block size is positive
}

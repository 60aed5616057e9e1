//go:build !linux

package harness

import "syscall"

// tied makes a child with a process group of its own.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

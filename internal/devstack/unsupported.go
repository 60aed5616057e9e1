//go:build !linux && !darwin

package devstack

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// On other systems given services work and nothing can be started: serverAccount, which comes before every start, says so.
// The rest of this file only has to compile.

func errUnsupported() error {
	return errors.New("devstack: servers can be started on Linux and macOS only, not on " + runtime.GOOS + ": run `docker compose up -d postgres redis` and set " + databaseVar + " and " + redisVar + ", or use WSL")
}

type account struct{ name string }

func serverAccount() (*account, error)         { return nil, errUnsupported() }
func (*account) as() string                    { return "" }
func (*account) own(string) error              { return errUnsupported() }
func (*account) folderMode() os.FileMode       { return 0o700 }
func (*account) obstacle(string) string        { return "" }
func ownedByUs(os.FileInfo) bool               { return false }
func attributes(*account) *syscall.SysProcAttr { return nil }
func freeBytes(string) uint64                  { return 0 }
func isRoot() bool                             { return false }

var errClaimed = errors.New("is in use")

type claim struct{}

func claimFolder(string, bool) (*claim, error) { return nil, errUnsupported() }
func (*claim) release() error                  { return nil }

func stopOrphans(context.Context, string, io.Writer) error { return errUnsupported() }

var errExited = errors.New("ended while starting")

type command struct {
	name, path, dir, stdin, logFile string
	args, env                       []string
	account                         *account
	orphan                          syscall.Signal
}

type child struct {
	name   string
	pid    int
	exited chan struct{}
}

type signalStep struct {
	signal syscall.Signal
	wait   time.Duration
}

func startChild(command) (*child, error) { return nil, errUnsupported() }

func runChild(context.Context, command) error { return errUnsupported() }

func (*child) stop(...signalStep) error { return errUnsupported() }

func (*child) ready(context.Context, func(context.Context) error) error { return errUnsupported() }
func (*child) ending() string                                           { return "" }
func (*child) logTail() string                                          { return "" }

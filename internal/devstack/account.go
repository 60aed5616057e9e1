//go:build linux || darwin

package devstack

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom the servers run as when we are root, because Postgres refuses to run as root and Redis should not.
// nil means as ourselves.
type account struct {
	name     string
	uid, gid int
}

// serverAccount chooses "postgres", which Debian's package makes, or "nobody".
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is a value here: ourselves
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			continue
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			continue
		}
		return &account{name: name, uid: uid, gid: gid}, nil
	}
	return nil, fmt.Errorf("devstack: we are root, which Postgres refuses to run as, and this system has neither the user postgres nor nobody: run as an ordinary user, or set %s and %s", databaseVar, redisVar)
}

// as is for messages: " as postgres", or nothing.
func (a *account) as() string {
	if a == nil {
		return ""
	}
	return " as " + a.name
}

// own hands a file or folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("devstack: give %s to %s: %w", path, a.name, err)
	}
	return nil
}

// folderMode lets the account pass through a folder of ours without listing it.
func (a *account) folderMode() os.FileMode {
	if a == nil {
		return 0o700
	}
	return 0o711
}

// obstacle is the folder on the way to path that the account may not pass through, or "". Folders that do not exist yet
// are no obstacle. As root, a project below /root (mode 0700) is the usual case.
func (a *account) obstacle(path string) string {
	if a == nil {
		return ""
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !a.mayPass(info) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func (a *account) mayPass(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case int(st.Uid) == a.uid:
		return info.Mode().Perm()&0o100 != 0
	case int(st.Gid) == a.gid:
		return info.Mode().Perm()&0o010 != 0
	default:
		return info.Mode().Perm()&0o001 != 0
	}
}

// ownedByUs guards against folders that others put into a shared place under our name.
func ownedByUs(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// attributes start a child under the account and in a process group of its own: Ctrl-C in the terminal goes to us alone,
// so that workers can drain before their database stops.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids of the system's own user table
	}
	return attr
}

func isRoot() bool { return os.Geteuid() == 0 }

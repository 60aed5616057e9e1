package devstack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	memoryFolder   = "/dev/shm"
	memoryNeeded   = 1 << 30 // bytes free in memoryFolder for it to be used
	throwawayName  = "oneflow-throwaway-"
	firstKeptPort  = 20_000
	keptPorts      = 10_000
	unclaimedAfter = 10 * time.Minute // a throwaway folder without an owner file is somebody's unfinished start until then
)

// folder is the place of our servers' data, claimed by this process.
type folder struct {
	path string
	keep bool // survives Close
	*claim
}

// openFolder claims the persistent folder or makes a throwaway one, after cleaning up behind processes that were killed.
func openFolder(ctx context.Context, o Options, acc *account) (*folder, error) {
	if o.Persist {
		return openPersistent(ctx, o, acc)
	}
	return openThrowaway(ctx, acc)
}

// homeFor returns the folder of persistent data: the project's .oneflow, or, when the servers' account cannot reach that, a
// folder of the system's with a name that belongs to the project's path.
func homeFor(o Options, acc *account) string {
	if acc.obstacle(filepath.Dir(o.Dir)) == "" {
		return o.Dir
	}
	sum := sha256.Sum256([]byte(o.Dir))
	return filepath.Join(o.fallback, hex.EncodeToString(sum[:6]))
}

// makeHome makes the folder homeFor chose and lets the servers' account pass through it.
func makeHome(o Options, acc *account) (string, error) {
	home := homeFor(o, acc)
	if err := os.MkdirAll(home, 0o755); err != nil { //nolint:gosec // what must be private in it is so by itself
		return "", fmt.Errorf("devstack: make the folder for data: %w", err)
	}
	if acc == nil {
		return home, nil
	}
	if blocked := acc.obstacle(home); blocked == home {
		if err := os.Chmod(home, 0o711); err != nil { //nolint:gosec // passing through is the purpose
			return "", fmt.Errorf("devstack: let %s into %s: %w", acc.name, home, err)
		}
	}
	if blocked := acc.obstacle(home); blocked != "" {
		return "", fmt.Errorf("devstack: we are root, so the servers run as %s, which may not pass through %s: run `chmod o+x %s`, or run as an ordinary user, or set %s and %s", acc.name, blocked, blocked, databaseVar, redisVar)
	}
	return home, nil
}

func openPersistent(ctx context.Context, o Options, acc *account) (*folder, error) {
	home, err := makeHome(o, acc)
	if err != nil {
		return nil, err
	}
	if home != o.Dir {
		say(o.Log, "Data is kept in %s, because %s may not pass through %s", home, acc.name, acc.obstacle(filepath.Dir(o.Dir)))
	}
	c, err := claimFolder(home, true)
	if errors.Is(err, errClaimed) {
		return nil, fmt.Errorf("devstack: %s %w: use its services (`set -a; . %s; set +a`), or stop it first (Ctrl-C there, or kill -INT with that number)", home, err, filepath.Join(o.Dir, "env"))
	}
	if err != nil {
		return nil, fmt.Errorf("devstack: claim %s: %w", home, err)
	}
	f := &folder{path: home, keep: true, claim: c}
	if err := stopOrphans(ctx, home, o.Log); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if o.Fresh {
		if err := f.empty(); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

// empty removes all that an earlier run left, but not the claim.
func (f *folder) empty() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("devstack: empty %s: %w", f.path, err)
	}
	for _, e := range entries {
		if e.Name() == ownerFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(f.path, e.Name())); err != nil {
			return fmt.Errorf("devstack: empty %s: %w", f.path, err)
		}
	}
	return nil
}

// openThrowaway makes a new folder, in memory where there is room.
func openThrowaway(ctx context.Context, acc *account) (*folder, error) {
	bases := throwawayBases(acc)
	for _, base := range bases {
		sweep(ctx, base)
	}
	for range 3 { // somebody's sweep may take the folder in the instant before we lock it
		dir, err := os.MkdirTemp(bases[0], throwawayName)
		if err != nil {
			return nil, fmt.Errorf("devstack: make a folder for throwaway data: %w", err)
		}
		c, err := claimFolder(dir, true)
		if errors.Is(err, errClaimed) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.Chmod(dir, acc.folderMode())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("devstack: claim %s: %w", dir, err), os.RemoveAll(dir))
		}
		return &folder{path: dir, claim: c}, nil
	}
	return nil, fmt.Errorf("devstack: make a folder for throwaway data in %s: it is taken away each time", bases[0])
}

// throwawayBases are the folders that throwaway data may be in, the best one for new data first.
func throwawayBases(acc *account) []string {
	var bases []string
	if freeBytes(memoryFolder) >= memoryNeeded {
		bases = append(bases, memoryFolder)
	}
	for _, dir := range []string{os.TempDir(), "/tmp"} {
		if acc.obstacle(dir) == "" {
			bases = append(bases, dir)
		}
	}
	if len(bases) == 0 {
		return []string{os.TempDir()}
	}
	return bases
}

// sweep removes throwaway folders of processes that were killed. It never fails a start: what cannot be removed now is
// left for the next one.
func sweep(ctx context.Context, base string) {
	dirs, err := filepath.Glob(filepath.Join(base, throwawayName+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !ownedByUs(info) {
			continue
		}
		c, err := claimFolder(dir, false)
		switch {
		case err == nil:
			if stopOrphans(ctx, dir, nil) == nil {
				_ = os.RemoveAll(dir)
			}
			_ = c.release()
		case errors.Is(err, os.ErrNotExist):
			if time.Since(info.ModTime()) > unclaimedAfter {
				_ = os.RemoveAll(dir)
			}
		}
	}
}

// port returns the port on which a server of this folder listens. In a folder that is kept it is the same at each start, by the folder's
// path, so that other terminals go on; somebody else may have taken it meanwhile, then it is one of the next that is free.
// The range is below the one from which systems take ports for outgoing connections.
func (f *folder) port(ctx context.Context, server string) (int, error) {
	if !f.keep {
		return freePort(ctx)
	}
	sum := sha256.Sum256([]byte(f.path + "\x00" + server))
	first := firstKeptPort + (int(sum[0])<<8|int(sum[1]))%keptPorts
	for port := first; port < first+16; port++ {
		if isFree(ctx, port) {
			return port, nil
		}
	}
	return freePort(ctx)
}

// password is the one of a server that keeps none of its own, the same at each start of a folder that is kept.
func (f *folder) password(server string) (string, error) {
	if !f.keep {
		return rand.Text(), nil
	}
	file := filepath.Join(f.path, server+".password")
	text, err := os.ReadFile(file) //nolint:gosec // a fixed name in a folder of ours
	if errors.Is(err, os.ErrNotExist) {
		password := rand.Text()
		return password, writePrivate(file, password+"\n")
	}
	if err != nil {
		return "", fmt.Errorf("devstack: read the password of %s: %w", server, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// lifetime is for the line that says where the data is.
func (f *folder) lifetime() string {
	if f.keep {
		return " (kept)"
	}
	return " (throwaway)"
}

// close removes throwaway data and gives the folder up.
func (f *folder) close() error {
	var err error
	if !f.keep {
		if err = os.RemoveAll(f.path); err != nil {
			err = fmt.Errorf("devstack: remove throwaway data: %w", err)
		}
	}
	return errors.Join(err, f.release())
}

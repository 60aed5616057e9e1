package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// wantsPackages is true as root on Debian, Ubuntu and what is made of them.
func (s setup) wantsPackages() bool {
	_, err := os.Stat(filepath.Join(s.system, "etc/debian_version"))
	_, ok := lookPath(s.Getenv, "apt-get")
	return s.root && err == nil && ok
}

// packages installs the distribution's servers. Only the programs are wanted: no service is started, no cluster is made,
// and what says so to the package manager is taken away again.
func (s setup) packages(ctx context.Context, missing needs) (err error) {
	var names []string
	if missing.postgres {
		names = append(names, "postgresql")
		undo, err := s.noCluster()
		if err != nil {
			return err
		}
		defer undo()
	}
	if missing.redis {
		names = append(names, "redis-server")
	}
	restore, err := s.noServices(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	env := []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"}
	lock := "DPkg::Lock::Timeout=120" // seconds; another apt may be at work
	if _, err := s.shell(ctx, s.system, env, "apt-get", "-q", "-o", lock, "update"); err != nil {
		return err
	}
	install := append([]string{"-q", "-y", "-o", lock, "-o", "Dpkg::Options::=--force-confold", "install", "--no-install-recommends"}, names...)
	_, err = s.shell(ctx, s.system, env, "apt-get", install...)
	return err
}

// noCluster tells Debian's postgresql packages not to make and start a cluster "main", in a file of our own that their
// configuration includes.
func (s setup) noCluster() (undo func(), err error) {
	dir := filepath.Join(s.system, "etc/postgresql-common/createcluster.d")
	file := filepath.Join(dir, "oneflow-setup.conf")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the mode of the package's own folders
		return nil, fmt.Errorf("keep Postgres from making a cluster: %w", err)
	}
	if err := os.WriteFile(file, []byte("create_main_cluster = false\n"), 0o644); err != nil { //nolint:gosec // the mode of the package's own files
		return nil, fmt.Errorf("keep Postgres from making a cluster: %w", err)
	}
	return func() {
		_ = os.Remove(file)
		_ = os.Remove(dir) // stays unless it is empty
	}, nil
}

// noServices makes the system's policy refuse to start services, unless it does so already, as in most containers. A
// policy that is there is put aside, and put back also after a run that was killed in between.
func (s setup) noServices(ctx context.Context) (restore func() error, err error) {
	policy := filepath.Join(s.system, "usr/sbin/policy-rc.d")
	aside := policy + ".before-oneflow-setup"
	if _, err := os.Lstat(aside); err == nil {
		if err := os.Rename(aside, policy); err != nil {
			return nil, fmt.Errorf("put back the policy of an earlier run: %w", err)
		}
	}
	if s.refusesServices(ctx, policy) {
		return func() error { return nil }, nil
	}
	hadOne := true
	if err := os.Rename(policy, aside); errors.Is(err, os.ErrNotExist) {
		hadOne = false
	} else if err != nil {
		return nil, fmt.Errorf("put the policy for services aside: %w", err)
	}
	restore = func() error {
		if hadOne {
			return os.Rename(aside, policy)
		}
		return os.Remove(policy)
	}
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil { //nolint:gosec // has to be run by others
		return nil, errors.Join(fmt.Errorf("keep services from being started: %w", err), restore())
	}
	return restore, nil
}

// refusesServices asks the policy as the package manager will: 101 means "not allowed".
func (s setup) refusesServices(ctx context.Context, policy string) bool {
	return exitCode(ctx, policy, "redis-server", "start") == 101 && exitCode(ctx, policy, "postgresql", "start") == 101
}

package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A cluster is <folder>/postgres-<major>/data, with its password beside it. The data of one major version cannot be read
// by another, so each has its own.
const (
	postgresFolder = "postgres-"
	dataFolder     = "data"
	passwordFile   = "password"
	databaseName   = "oneflow" // of the superuser too
)

// server is a child that answers at url.
type server struct {
	*child
	url  string
	stop func() error
}

// startPostgres makes a cluster where there is none, starts it, and waits until it answers.
func startPostgres(ctx context.Context, bin binary, f *folder, acc *account) (*server, error) {
	cluster := filepath.Join(f.path, postgresFolder+strconv.Itoa(bin.major))
	if err := makeCluster(ctx, bin, f, acc, cluster); err != nil {
		return nil, err
	}
	password, err := os.ReadFile(filepath.Join(cluster, passwordFile)) //nolint:gosec // a fixed name in a folder of ours
	if err != nil {
		return nil, fmt.Errorf("devstack: read the password of the cluster: %w; without it the data cannot be reached: put it back, or remove %s to begin anew", err, cluster)
	}
	var srv *server
	err = retryStart(ctx, func() error {
		srv, err = runPostgres(ctx, bin, f, acc, cluster, strings.TrimSpace(string(password)))
		return err
	})
	return srv, err
}

// makeCluster runs initdb in a side folder and renames it when it is whole, so that a half-made cluster is never used.
func makeCluster(ctx context.Context, bin binary, f *folder, acc *account, cluster string) error {
	if _, err := os.Stat(cluster); err == nil {
		return nil
	}
	side := cluster + ".new"
	data, password := filepath.Join(side, dataFolder), filepath.Join(side, passwordFile)
	if err := os.RemoveAll(side); err != nil {
		return fmt.Errorf("devstack: remove a half-made cluster: %w", err)
	}
	for _, dir := range []string{side, data} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("devstack: make a cluster: %w", err)
		}
	}
	if err := os.Chmod(side, acc.folderMode()); err != nil {
		return fmt.Errorf("devstack: make a cluster: %w", err)
	}
	if err := writePrivate(password, rand.Text()+"\n"); err != nil {
		return err
	}
	if err := errors.Join(acc.own(data), acc.own(password)); err != nil {
		return err
	}
	args := []string{
		"-D", data, "-U", databaseName, "-A", "scram-sha-256", "--pwfile=" + password,
		"-E", "UTF8", "--locale=" + locale(), "--no-instructions",
	}
	if !f.keep {
		args = append(args, "--no-sync")
	}
	err := runChild(ctx, command{
		name: "initdb", path: bin.initdb, args: args, dir: data, env: childEnv(os.Getenv),
		logFile: filepath.Join(side, "log"), account: acc,
	})
	if err != nil {
		return err
	}
	if err := os.Rename(side, cluster); err != nil {
		return fmt.Errorf("devstack: put the new cluster in place: %w", err)
	}
	return nil
}

// locale sorts by code point everywhere, as production should. macOS knows C.UTF-8 only in its newest versions.
func locale() string {
	if runtime.GOOS == "darwin" {
		return "C"
	}
	return "C.UTF-8"
}

// runPostgres starts a cluster once.
func runPostgres(ctx context.Context, bin binary, f *folder, acc *account, cluster, password string) (*server, error) {
	port, err := f.port(ctx, filepath.Base(cluster))
	if err != nil {
		return nil, err
	}
	return postgresAt(ctx, bin, f, acc, cluster, password, port)
}

// postgresAt starts a cluster on a port once.
func postgresAt(ctx context.Context, bin binary, f *folder, acc *account, cluster, password string, port int) (*server, error) {
	settings := []string{
		"port=" + strconv.Itoa(port), "listen_addresses=127.0.0.1", "unix_socket_directories=",
		"max_connections=200", "timezone=UTC", "log_timezone=UTC", "logging_collector=off", "log_destination=stderr",
		"dynamic_shared_memory_type=mmap", // so that nothing is left outside our folder
	}
	orphan := syscall.SIGINT
	if !f.keep { // nothing to be kept: not even a power cut matters
		settings = append(settings, "fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
		orphan = syscall.SIGQUIT
	}
	data := filepath.Join(cluster, dataFolder)
	args := []string{"-D", data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	ch, err := startChild(command{
		name: "Postgres", path: bin.path, args: args, dir: data, env: childEnv(os.Getenv),
		logFile: filepath.Join(cluster, "log"), account: acc, orphan: orphan,
	})
	if err != nil {
		return nil, err
	}
	srv := &server{
		child: ch,
		url:   serverURL("postgres", databaseName, password, port, databaseName, "sslmode=disable"),
		// SIGTERM would wait for clients; SIGINT ends their sessions and writes a checkpoint.
		stop: func() error {
			return ch.stop(signalStep{syscall.SIGINT, 8 * time.Second}, signalStep{syscall.SIGQUIT, 2 * time.Second}, signalStep{syscall.SIGKILL, 2 * time.Second})
		},
	}
	first := serverURL("postgres", databaseName, password, port, "postgres", "sslmode=disable")
	err = ch.ready(ctx, func(ctx context.Context) error { return makeDatabase(ctx, first) })
	if err != nil {
		return nil, errors.Join(err, srv.stop())
	}
	return srv, nil
}

// makeDatabase is the proof that the server answers: it connects, and makes our database where it is missing.
func makeDatabase(ctx context.Context, raw string) error {
	conn, err := pgx.Connect(ctx, raw)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, databaseName).Scan(&there); err != nil {
		return fmt.Errorf("look for the database %s: %w", databaseName, err)
	}
	if there {
		return nil
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+databaseName); err != nil {
		return finalError{fmt.Errorf("make the database %s: %w", databaseName, err)}
	}
	return nil
}

// retryStart starts again after the two failures that pass by themselves: somebody took the free port before we did, and
// the last processes of a killed Postgres are still ending.
func retryStart(ctx context.Context, start func() error) error {
	return await(ctx, 10*time.Second, func(context.Context) error {
		err := start()
		if err == nil {
			return nil
		}
		if !errors.Is(err, errExited) {
			return finalError{err}
		}
		for _, passing := range []string{"already in use", "could not bind", "still in use"} {
			if strings.Contains(err.Error(), passing) {
				return err
			}
		}
		return finalError{err}
	})
}

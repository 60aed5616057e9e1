package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// containerLimit is the time that a container may take until its server answers, the first start of Postgres included.
const containerLimit = 60 * time.Second

// compose starts what is missing from the project's compose file in a Docker engine that runs already, and leaves the
// URLs in a file that Start reads.
func (s setup) compose(ctx context.Context, missing needs) error {
	project := filepath.Dir(s.Dir)
	if !hasComposeFile(project) {
		return fmt.Errorf("no compose file in %s", project)
	}
	docker, ok := lookPath(s.Getenv, "docker")
	if !ok {
		return errors.New("docker is not installed")
	}
	infoCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if exitCode(infoCtx, docker, "info") != 0 {
		return errors.New("the Docker engine does not run")
	}
	up := []string{"compose", "up", "-d"}
	if missing.postgres {
		up = append(up, "postgres")
	}
	if missing.redis {
		up = append(up, "redis")
	}
	if _, err := s.shell(ctx, project, nil, "docker", up...); err != nil {
		return err
	}
	lines, err := s.containerURLs(ctx, project, missing)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil { //nolint:gosec // the file in it is private
		return fmt.Errorf("make %s: %w", s.Dir, err)
	}
	return writePrivate(filepath.Join(s.Dir, composeFile), strings.Join(lines, "\n")+"\n")
}

// containerURLs asks compose for addresses and passwords and waits until the servers answer.
func (s setup) containerURLs(ctx context.Context, project string, missing needs) ([]string, error) {
	text, err := s.shell(ctx, project, nil, "docker", "compose", "config", "--format", "json")
	if err != nil {
		return nil, err
	}
	var file struct {
		Services map[string]struct {
			Environment map[string]*string `json:"environment"`
			Command     []string           `json:"command"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		return nil, fmt.Errorf("read docker compose config: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, containerLimit)
	defer cancel()
	var lines []string
	if missing.postgres {
		addr, err := s.containerAddress(ctx, project, "postgres", "5432")
		if err != nil {
			return nil, err
		}
		env := func(key, otherwise string) string {
			if v := file.Services["postgres"].Environment[key]; v != nil && *v != "" {
				return *v
			}
			return otherwise
		}
		user := env("POSTGRES_USER", "postgres")
		u := url.URL{
			Scheme: "postgres", User: url.UserPassword(user, env("POSTGRES_PASSWORD", "")), Host: addr,
			Path: env("POSTGRES_DB", user), RawQuery: "sslmode=disable",
		}
		if err := awaitContainer(ctx, func(ctx context.Context) error { return checkPostgres(ctx, databaseVar, u.String()) }); err != nil {
			return nil, err
		}
		lines = append(lines, databaseVar+"='"+u.String()+"'")
	}
	if missing.redis {
		addr, err := s.containerAddress(ctx, project, "redis", "6379")
		if err != nil {
			return nil, err
		}
		u := url.URL{Scheme: "redis", Host: addr, Path: "0"}
		command := file.Services["redis"].Command
		for i, arg := range command[:max(len(command)-1, 0)] {
			if arg == "--requirepass" {
				u.User = url.UserPassword("", command[i+1])
			}
		}
		if err := awaitContainer(ctx, func(ctx context.Context) error { return checkRedis(ctx, redisVar, u.String()) }); err != nil {
			return nil, err
		}
		lines = append(lines, redisVar+"='"+u.String()+"'")
	}
	return lines, nil
}

// awaitContainer waits longer than for a given service, and through refusals: a new Postgres makes its user first.
func awaitContainer(ctx context.Context, try func(context.Context) error) error {
	return await(ctx, containerLimit, func(ctx context.Context) error {
		err := try(ctx)
		if err == nil {
			return nil
		}
		return errors.New(err.Error()) // no longer final
	})
}

// containerAddress returns the address at which a service's port can be reached from here.
func (s setup) containerAddress(ctx context.Context, project, service, port string) (string, error) {
	out, err := s.shell(ctx, project, nil, "docker", "compose", "port", service, port)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	host, hostPort, err := net.SplitHostPort(line)
	if err != nil {
		return "", fmt.Errorf("docker compose port %s %s says %q: %w", service, port, line, err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, hostPort), nil
}

func hasComposeFile(dir string) bool {
	for _, name := range []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// exitCode runs a program for its exit code alone, -1 when it cannot be run.
func exitCode(ctx context.Context, path string, args ...string) int {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // programs that Setup names itself
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

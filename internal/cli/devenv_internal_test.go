package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// devFolderWith makes .oneflow/env in a folder of its own.
func devFolderWith(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, devFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, devFolder, devFile), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

const shared = "DATABASE_URL='postgres://dev'\nREDIS_URL='redis://dev'\nOPENAI_API_KEY='fake'\n"

func TestACommandFindsTheFleetOfMakeDevInItsFolderAndAbove(t *testing.T) {
	t.Parallel()
	for _, sub := range []string{"", "some/folder"} {
		dir := devFolderWith(t, shared, 0o600)
		vars, err := devEnvironment(environment(map[string]string{"OPENAI_API_KEY": "a real key"}), filepath.Join(dir, sub))
		want := map[string]string{
			"DATABASE_URL": "postgres://dev", "REDIS_URL": "redis://dev", "OPENAI_API_KEY": "fake", devFileVar: filepath.Join(dir, devFolder, devFile),
		}
		if diff := cmp.Diff(want, vars); err != nil || diff != "" {
			t.Errorf("in %q: %v\n%s", sub, err, diff)
		}
	}
}

func TestAnEnvironmentOrAFlagThatNamesAServiceIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := devFolderWith(t, shared, 0o600)
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		if vars, err := devEnvironment(environment(map[string]string{name: "given"}), dir); err != nil || len(vars) != 0 {
			t.Errorf("with %s: %v %v", name, vars, err)
		}
	}
	for arg, want := range map[string]bool{"--database-url=x": true, "--redis-url": true, "--output": false, "status": false} {
		if namesService(arg) != want {
			t.Errorf("%s: names a service is %v", arg, !want)
		}
	}
}

func TestAFolderThatIsNamedGoesBeforeTheWorkingDirectory(t *testing.T) {
	t.Parallel()
	named := devFolderWith(t, "DATABASE_URL='postgres://named'\n", 0o600)
	vars, err := devEnvironment(environment(map[string]string{devFolderVar: filepath.Join(named, devFolder)}), devFolderWith(t, shared, 0o600))
	if err != nil || vars["DATABASE_URL"] != "postgres://named" {
		t.Errorf("%v %v", vars, err)
	}
}

func TestAFileThatOthersCouldHaveWrittenOrIsBrokenIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable by others": {shared, 0o644, "you alone"},
		"too long":           {strings.Repeat("A='x'\n", devFileLimit), 0o600, "you alone"},
		"no quotes":          {"DATABASE_URL=postgres://dev\n", 0o600, "line 1"},
		"no name":            {"DATABASE_URL='x'\n='y'\n", 0o600, "line 2"},
		"a quote inside":     {"DATABASE_URL='x'; rm '-rf'\n", 0o600, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := devEnvironment(environment(nil), devFolderWith(t, tt.text, tt.mode))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "postgres://") {
				t.Error(err)
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		target := filepath.Join(devFolderWith(t, shared, 0o600), devFolder, devFile)
		if err := os.Mkdir(filepath.Join(dir, devFolder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, devFolder, devFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := devEnvironment(environment(nil), dir); err == nil {
			t.Error("it was followed")
		}
	})
}

// environment is one of the given variables alone.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// restoring restores the variables that a test's command may set.
func restoring(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", devFileVar, devFolderVar} {
		t.Setenv(name, "")
	}
}

// ran runs a command in dir and returns what it found in its environment.
func ran(t *testing.T, dir string, args ...string) (database, key string, err error) {
	t.Helper()
	t.Chdir(dir)
	err = WithDevEnvironment(func(_ context.Context, _ []string, env Env) error {
		database, key = env.Getenv("DATABASE_URL"), env.Getenv("OPENAI_API_KEY")
		return nil
	})(t.Context(), args, Env{Getenv: os.Getenv})
	return database, key, err
}

func TestACommandFindsTheFleetOfMakeDevInItsFolderAndAbove(t *testing.T) {
	for _, sub := range []string{"", "some/folder"} {
		restoring(t)
		t.Setenv("OPENAI_API_KEY", "a real key")
		dir := filepath.Join(devFolderWith(t, shared, 0o600), sub)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if database, key, err := ran(t, dir, "status"); err != nil || database != "postgres://dev" || key != "fake" {
			t.Errorf("in %q: %q, %q, %v", sub, database, key, err)
		}
	}
}

func TestAnEnvironmentOrAFlagThatNamesAServiceIsLeftAlone(t *testing.T) {
	restoring(t)
	dir := devFolderWith(t, shared, 0o600)
	if database, _, err := ran(t, dir, "--database-url=postgres://flag"); err != nil || database != "" {
		t.Errorf("with a flag: %q %v", database, err)
	}
	t.Setenv("REDIS_URL", "redis://given")
	if database, _, err := ran(t, dir); err != nil || database != "" {
		t.Errorf("with one variable: %q %v", database, err)
	}
}

func TestAFolderThatIsNamedGoesBeforeTheWorkingDirectory(t *testing.T) {
	restoring(t)
	named := devFolderWith(t, "DATABASE_URL='postgres://named'\n", 0o600)
	t.Setenv(devFolderVar, filepath.Join(named, devFolder))
	if database, _, err := ran(t, devFolderWith(t, shared, 0o600)); err != nil || database != "postgres://named" {
		t.Errorf("%q %v", database, err)
	}
}

func TestAFileThatOthersCouldHaveWrittenOrIsBrokenIsRefused(t *testing.T) {
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
			restoring(t)
			_, _, err := ran(t, devFolderWith(t, tt.text, tt.mode))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "postgres://") {
				t.Error(err)
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		restoring(t)
		dir := t.TempDir()
		target := filepath.Join(devFolderWith(t, shared, 0o600), devFolder, devFile)
		if err := os.Mkdir(filepath.Join(dir, devFolder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, devFolder, devFile)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ran(t, dir); err == nil {
			t.Error("it was followed")
		}
	})
}

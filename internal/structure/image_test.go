package structure_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// The image is built from what .dockerignore lets through: a package that is not named there
// is missing, and nothing else notices.
func TestTheImageIsBuiltFromAllPackages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	let := strings.Split(string(text), "\n")
	missing := map[string]bool{}
	for _, file := range files {
		missing[filepath.Base(filepath.Dir(file))] = true
	}
	for _, line := range let {
		delete(missing, strings.TrimPrefix(line, "!"))
	}
	for name := range missing {
		t.Errorf(".dockerignore leaves out the package %s", name)
	}
}

// What the Dockerfile copies and builds, and what docker-compose.yml mounts and runs, is there.
func TestWhatTheContainersAreMadeOfIsThere(t *testing.T) {
	t.Parallel()
	image := read(t, "Dockerfile")
	let := strings.Split(read(t, ".dockerignore"), "\n")
	copied := 0
	for _, line := range regexp.MustCompile(`(?m)^COPY ([^-].*)$`).FindAllStringSubmatch(image, -1) {
		paths := strings.Fields(line[1])
		for _, path := range paths[:len(paths)-1] {
			copied++
			exists(t, "the Dockerfile copies", path)
			if path != "." && !slices.Contains(let, "!"+path) {
				t.Errorf("the Dockerfile copies %s, which .dockerignore leaves out", path)
			}
		}
	}
	built := map[string]bool{}
	for _, match := range regexp.MustCompile(`\./cmd/(\w+)`).FindAllStringSubmatch(image, -1) {
		built[match[1]] = true
		exists(t, "the Dockerfile builds", match[0])
	}
	if copied == 0 || len(built) == 0 {
		t.Errorf("%d paths are copied, and %v are built", copied, built)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil || !strings.Contains(image, "golang:"+version[1]) {
		t.Errorf("the Dockerfile builds with another Go than go.mod names: %v", version)
	}

	var compose struct {
		Services map[string]struct {
			Image   string
			Build   string
			Command any
			Volumes []string
		}
		Volumes map[string]any
	}
	// A key beside a merged one goes before it.
	if err := yaml.UnmarshalWithOptions([]byte(read(t, "docker-compose.yml")), &compose, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) < 7 {
		t.Errorf("%d services", len(compose.Services))
	}
	for name, service := range compose.Services {
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, "./") {
				exists(t, "docker-compose.yml mounts", source)
			} else if _, named := compose.Volumes[source]; !named {
				t.Errorf("the volume %s of %s is not declared", source, name)
			}
		}
		if command, ok := service.Command.([]any); ok && service.Image == "oneflow:local" && !built[command[0].(string)] {
			t.Errorf("%s runs %v, which the image does not have", name, command)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(t *testing.T, what, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		t.Errorf("%s %s: %v", what, path, err)
	}
}

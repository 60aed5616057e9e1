package config_test

import (
	"os"
	"strings"
	"testing"

	"oneflow/config"
)

func TestTheFileInTheReadmeIsOneThatLoads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```yaml\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the README shows no configuration file")
	}
	if _, err := config.Parse([]byte(block), "README.md"); err != nil {
		t.Error(err)
	}
}

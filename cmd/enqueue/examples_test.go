package main

import (
	"testing"

	"oneflow/internal/cli/clitest"
)

func TestEachCommandHasExamplesThatItTakes(t *testing.T) {
	t.Parallel()
	clitest.Examples(t, program(), func() any { return &grammar{} })
}

func TestEachCommandAnswersPrograms(t *testing.T) {
	t.Parallel()
	clitest.Outputs(t, program(), &grammar{}, "export", "completion") // which has formats of its own, and what a shell reads
}

package main

import (
	"testing"

	"oneflow/internal/cli/clitest"
)

func TestEachCommandHasExamplesThatItTakes(t *testing.T) {
	t.Parallel()
	clitest.Examples(t, program(), func() any { return &grammar{} })
}

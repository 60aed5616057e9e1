package app

import (
	"oneflow/config"
	"oneflow/providers"
)

// ModelAt returns the answers of newModels, for tests.
func ModelAt(cfg config.Config) func(to string, task providers.Task, from, model string) (string, bool) {
	return newModels(cfg).at
}

package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"oneflow/internal/harness"
	"oneflow/internal/storetest"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "the seed of all random choices; 0: a new one")
	updateFlag = flag.Bool("update", false, "write the table of this run to docs/reliability.md")

	// release is the folder with the commands as they are shipped.
	release string
)

func TestMain(m *testing.M) {
	flag.Parse()
	storetest.Main(built{m})
}

// built builds the commands before the tests run.
type built struct{ tests *testing.M }

// Run implements storetest.Runner.
func (b built) Run() int {
	folder, err := os.MkdirTemp("", "oneflow-chaos-bin-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	release = folder + "/release"
	build()
	code := b.tests.Run()
	if err := writeTable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// build builds all commands.
func build() {
	for folder, flags := range builds() {
		if err := harness.Build(context.Background(), folder, flags, "worker", "enqueue"); err != nil {
			panic(err) // returning would count as a run without failures
		}
	}
}

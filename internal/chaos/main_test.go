package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

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
	storetest.Wrap(built{m}).Run()
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

// start starts a child that does not outlive us; ended gets what Wait returned.
func start(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error)
	go func() {
		// The child is tied to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// build builds all commands.
func build() {
	for folder, args := range builds() {
		args = append(append([]string{"build"}, args...), "-o", folder+"/", "oneflow/cmd/worker", "oneflow/cmd/enqueue")
		build := exec.CommandContext(context.Background(), "go", args...)
		if out, err := build.CombinedOutput(); err != nil {
			// Returning would count as a run without failures.
			panic(fmt.Sprintf("build the commands: %v\n%s", err, out))
		}
	}
}

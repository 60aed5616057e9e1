//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// clockEnv moves the clock of a skewed program by so many seconds.
const clockEnv = "ONEFLOW_CHAOS_CLOCK"

// skewedClock writes an overlay for `go build` in which time.Now is off by what
// the variable says. A program that is built with it is wrong about the time as a
// whole: libraries, log and all. The monotonic clock is right, as it is on a real
// machine whose clock is wrong. Nothing else can move the clock of one Go program:
// it reads the kernel's page directly, out of reach of LD_PRELOAD.
func skewedClock(folder string) (overlay string) {
	root, err := exec.CommandContext(context.Background(), "go", "env", "GOROOT").Output()
	if err != nil {
		panic(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	data, err := os.ReadFile(original)
	if err != nil {
		panic(err)
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	text := string(data)
	if !strings.Contains(text, read) {
		panic("this version of Go reads the clock in another way: mend skewedClock")
	}
	text = strings.Replace(text, read, read+"\tsec += chaosOffset()\n", 1)
	text += `
var chaosClock struct {
	once bool
	off  int64
}

// Called before main by package initialisers, on one goroutine.
func chaosOffset() int64 {
	if !chaosClock.once {
		if v, ok := syscall.Getenv("` + clockEnv + `"); ok {
			n, err := atoi(v)
			if err == nil {
				chaosClock.off = int64(n)
			}
		}
		chaosClock.once = true
	}
	return chaosClock.off
}
`
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	changed := filepath.Join(folder, "time.go")
	overlay = filepath.Join(folder, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err == nil {
		err = os.WriteFile(changed, []byte(text), 0o600)
	}
	if err == nil {
		err = os.WriteFile(overlay, list, 0o600)
	}
	if err != nil {
		panic(err)
	}
	return overlay
}

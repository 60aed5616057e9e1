// Command hits hits two failpoints, the second of them three times.
package main

import (
	"os"

	"oneflow/internal/failpoint"
)

func main() {
	failpoint.Hit("first", "")
	for range 3 {
		failpoint.Hit("second", "red")
	}
	_, _ = os.Stdout.WriteString("lives\n")
}

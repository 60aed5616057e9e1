package chaos

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// outcome is a line of the table.
type outcome struct {
	jobs     int64
	faults   int
	allowed  int // calls that may be repeated: those in flight when something broke
	lost     int64
	silent   int // paid twice, and not on the bill
	repeated int // on the bill
	recovery time.Duration
}

// table collects what the scenarios of this run gave, in the order of their end.
var table struct {
	sync.Mutex
	rows map[string]*outcome
}

// collect keeps the outcome of a test.
func collect(test string, o *outcome) {
	table.Lock()
	defer table.Unlock()
	if table.rows == nil {
		table.rows = map[string]*outcome{}
	}
	table.rows[test] = o
}

const (
	page      = "../../docs/reliability.md"
	tableFrom = "<!-- table: written by `make chaos` -->\n"
	tableTo   = "<!-- end of table -->\n"
)

// writeTable prints the table, and puts it into the page if the flag asks for it.
func writeTable() error {
	table.Lock()
	defer table.Unlock()
	if len(table.rows) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("| scenario | jobs | faults | lost | paid twice in silence | calls repeated, on the bill | recovery |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, name := range sorted(table.rows) {
		o := table.rows[name]
		what := name
		if _, sub, ok := strings.Cut(name, "/"); ok {
			what = strings.TrimLeft(sub, "0123456789_") // the numbers are for the order
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %.1f s |\n",
			strings.ReplaceAll(what, "_", " "), o.jobs, o.faults, o.lost, o.silent, o.repeated, o.recovery.Seconds())
	}
	fmt.Fprint(os.Stderr, "\n"+b.String())
	if !*updateFlag {
		return nil
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), tableFrom)
	_, after, closed := strings.Cut(rest, tableTo)
	if !found || !closed {
		return fmt.Errorf("%s: has no table to write", page)
	}
	return os.WriteFile(page, []byte(before+tableFrom+"\n"+b.String()+"\n"+tableTo+after), 0o644)
}

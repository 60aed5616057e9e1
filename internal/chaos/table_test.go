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

const heading = "| scenario | jobs | faults | lost | paid twice in silence | calls repeated, on the bill | recovery |\n|---|---:|---:|---:|---:|---:|---:|\n"

// writeTable prints the table, and puts it into the page if the flag asks for it,
// where scenarios that have not been run now keep their lines.
func writeTable() error {
	table.Lock()
	defer table.Unlock()
	if len(table.rows) == 0 {
		return nil
	}
	lines := map[string]string{}
	for name, o := range table.rows {
		_, what, found := strings.Cut(name, "/")
		if !found {
			what = name
		}
		what = strings.ReplaceAll(what, "_", " ")
		lines[what] = fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %.1f s |\n",
			what, o.jobs, o.faults, o.lost, o.silent, o.repeated, o.recovery.Seconds())
	}
	fmt.Fprint(os.Stderr, "\n"+text(lines))
	if !*updateFlag {
		return nil
	}
	data, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(data), tableFrom)
	old, after, closed := strings.Cut(rest, tableTo)
	if !found || !closed {
		return fmt.Errorf("%s: has no table to write", page)
	}
	for line := range strings.Lines(strings.TrimPrefix(strings.TrimSpace(old)+"\n", heading)) {
		what, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if _, again := lines[what]; !again && what != "" {
			lines[what] = line
		}
	}
	return os.WriteFile(page, []byte(before+tableFrom+"\n"+text(lines)+"\n"+tableTo+after), 0o644)
}

// text is the table; the scenarios' numbers give the order.
func text(lines map[string]string) string {
	out := heading
	for _, what := range sorted(lines) {
		out += lines[what]
	}
	return out
}

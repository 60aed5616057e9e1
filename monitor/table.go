package monitor

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// table is a CSV file.
type table struct{ *csv.Writer }

func newTable(w http.ResponseWriter, name string) table {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return table{csv.NewWriter(w)}
}

// write writes a row. Text that a spreadsheet would take for a formula is made plain; an
// error ends the connection by itself.
func (t table) write(cells ...string) {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			if _, err := strconv.ParseFloat(c, 64); err != nil {
				cells[i] = "'" + c
			}
		}
	}
	_ = t.Write(cells)
}

// sendTable sends rows as a CSV file; the first names the columns.
func sendTable(w http.ResponseWriter, name string, rows [][]string) {
	t := newTable(w, name)
	for _, row := range rows {
		t.write(row...)
	}
	t.Flush()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func stampOr(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

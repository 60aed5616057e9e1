package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"
)

// gap is the room between two columns.
const gap = 2

// Table writes rows in columns, the first row being their titles. On a terminal the
// columns that do not fit stand below their row, with their titles; those that hold
// nothing are left out there.
func Table(w io.Writer, rows [][]string) error { return table(w, rows, widthOf(w)) }

// Fields writes names with their values, which are wrapped on a terminal.
func Fields(w io.Writer, rows [][]string) error { return fields(w, rows, widthOf(w)) }

// Sentence writes a line of text, which is wrapped on a terminal.
func Sentence(w io.Writer, text string) error {
	width := widthOf(w)
	lines := []string{text}
	if width > 0 {
		lines = wrap(text, width)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// widthOf is the width of a terminal, and 0 of everything else.
func widthOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func table(w io.Writer, rows [][]string, width int) error {
	fit := fitting(rows, width)
	var aligned strings.Builder
	t := tabwriter.NewWriter(&aligned, 0, 0, gap, ' ', 0)
	for _, r := range rows {
		if _, err := fmt.Fprintln(t, strings.Join(r[:min(fit, len(r))], "\t")); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(aligned.String(), "\n"), "\n") {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
		if i == 0 || i >= len(rows) || fit >= len(rows[i]) {
			continue
		}
		var below []string
		for j := fit; j < len(rows[i]); j++ {
			if v := rows[i][j]; v != "" && v != "-" {
				below = append(below, strings.TrimSpace(strings.ToLower(rows[0][j])+" "+v))
			}
		}
		for _, part := range wrap(strings.Join(below, ", "), width-4) {
			if _, err := fmt.Fprintln(w, "    "+part); err != nil {
				return err
			}
		}
	}
	return nil
}

// fitting returns the number of columns of the rows that fit into a width, one at least; 0 is without
// end.
func fitting(rows [][]string, width int) int {
	used, columns := 0, 0
	for _, r := range rows {
		columns = max(columns, len(r))
	}
	for j := range columns {
		widest := 0
		for _, r := range rows {
			if j < len(r) {
				widest = max(widest, utf8.RuneCountInString(r[j]))
			}
		}
		if used += widest; width > 0 && used > width && j > 0 {
			return j
		}
		used += gap
	}
	return columns
}

func fields(w io.Writer, rows [][]string, width int) error {
	name := 0
	for _, r := range rows {
		name = max(name, utf8.RuneCountInString(r[0]))
	}
	for _, r := range rows {
		value := strings.Join(r[1:], "  ")
		parts := []string{value}
		if room := width - name - gap; width > 0 && room >= 20 {
			parts = wrap(value, room)
		}
		for i, part := range parts {
			label := r[0]
			if i > 0 {
				label = ""
			}
			if _, err := fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s  %s", name, label, part), " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrap breaks text into lines of at most width characters, between words where that is
// possible. It returns one line at least, unless text is empty.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for width > 0 && utf8.RuneCountInString(line) > width {
			runes := []rune(line)
			lines, line = append(lines, string(runes[:width])), string(runes[width:])
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Column is a text that is shown beside others.
type Column struct{ Title, Text, Foot string }

// pipeWidth is the width of what is no terminal, and narrowest that of a column which is
// still worth reading.
const (
	pipeWidth = 80
	narrowest = 22
)

// SideBySide writes texts in columns of the same width, each below its title, above its
// foot, and at most so many lines long; below each other where they do not fit.
func SideBySide(w io.Writer, columns []Column, lines int) error {
	width := widthOf(w)
	if width == 0 {
		width = pipeWidth
	}
	return sideBySide(w, columns, lines, width)
}

func sideBySide(w io.Writer, columns []Column, lines, width int) error {
	if len(columns) == 0 {
		return nil
	}
	each := (width - gap*(len(columns)-1)) / len(columns)
	if each < narrowest && len(columns) > 1 {
		for _, c := range columns {
			if err := sideBySide(w, []Column{c}, lines, width); err != nil {
				return err
			}
		}
		return nil
	}
	blocks, tallest := make([][]string, len(columns)), 0
	for i, c := range columns {
		whole := c.Text[:min(len(c.Text), 8*lines*each)] // more is cut off below
		text := wrap(Printable(strings.Join(strings.Fields(strings.ToValidUTF8(whole, "")), " ")), each)
		if len(text) > lines {
			text = append(text[:lines-1:lines-1], cut(text[lines-1]+"…", each))
		}
		blocks[i] = append(wrap(c.Title, each), text...)
		tallest = max(tallest, len(blocks[i]))
	}
	all := tallest
	for i, c := range columns {
		for len(blocks[i]) < tallest {
			blocks[i] = append(blocks[i], "")
		}
		blocks[i] = append(blocks[i], wrap(c.Foot, each)...)
		all = max(all, len(blocks[i]))
	}
	for line := range all {
		var text strings.Builder
		for i, b := range blocks {
			part := ""
			if line < len(b) {
				part = b[line]
			}
			text.WriteString(part)
			if i < len(blocks)-1 {
				text.WriteString(strings.Repeat(" ", each-utf8.RuneCountInString(part)+gap))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(text.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

package batches

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// otherFormat tells, by its first line that is not empty, that a file is no file
// of JSON lines but of another format that people bring, and what to do about it.
// Nothing is ever unpacked here: a small file may become a large one.
func otherFormat(name string, line []byte) string {
	has := func(mark string) bool { return bytes.HasPrefix(line, []byte(mark)) }
	switch {
	case has("\x1f\x8b"):
		return "looks like gzip: use zcat FILE | enqueue batch -"
	case has("\x28\xb5\x2f\xfd"):
		return "looks like zstd: use zstdcat FILE | enqueue batch -"
	case has("PK\x03\x04"):
		return "looks like a zip archive or a spreadsheet: save it as JSON lines, one object a line"
	case has("\xff\xfe"), has("\xfe\xff"):
		return "looks like UTF-16: use iconv -f UTF-16 -t UTF-8 FILE | enqueue batch -"
	case has("["):
		return "looks like one JSON list: use jq -c '.[]' FILE | enqueue batch -"
	case has("{") && len(line) == 1:
		return "looks like JSON objects over several lines: use jq -c . FILE | enqueue batch -"
	case !has("{") && !json.Valid(line) && isTable(name, line):
		return "looks like CSV, which is not read yet: use mlr --icsv --ojsonl cat FILE | enqueue batch - (with --itsv for tabs)"
	}
	return ""
}

// isTable tells that a first line is the head of a table: by the file's name, or
// because prompt is one of its columns.
func isTable(name string, line []byte) bool {
	if ext := strings.ToLower(filepath.Ext(name)); ext == ".csv" || ext == ".tsv" {
		return true
	}
	if len(line) > 64<<10 {
		return false
	}
	columns := strings.FieldsFunc(string(line), func(r rune) bool { return r == ',' || r == ';' || r == '\t' })
	return len(columns) > 1 && slices.ContainsFunc(columns, func(c string) bool { return strings.EqualFold(strings.Trim(c, ` "'`), "prompt") })
}

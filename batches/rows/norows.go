package rows

import (
	"bytes"
	"regexp"
)

// noRows says why the beginning of a file of JSON is one object that holds all rows in another
// way than one after the other; empty where it may be a row.
func noRows(head []byte) string {
	start := bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), " \t\r\n")
	const records = "write it with df.to_json(FILE, orient=\"records\", lines=True)"
	switch wrapped := inList.FindSubmatch(start); {
	case byIndex.Match(start):
		return "is JSON by columns, as pandas writes it where nothing else is said: " + records
	case bySplit.Match(start), byTable.Match(start):
		return "is JSON of a whole table, as pandas writes it: " + records
	case wrapped != nil:
		return "is one JSON object with a list of rows in it: take them out with jq -c '." + string(wrapped[1]) + "[]' FILE"
	}
	return ""
}

var (
	// byIndex is {"column":{"0":…, the default of DataFrame.to_json.
	byIndex = regexp.MustCompile(`^\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:`)
	bySplit = regexp.MustCompile(`^\{\s*"columns"\s*:\s*\[[^\]]*\]\s*,\s*"(?:index|data)"\s*:\s*\[`)
	byTable = regexp.MustCompile(`^\{\s*"schema"\s*:\s*\{\s*"fields"\s*:\s*\[`)
	// inList is {"data":[{…, as APIs answer. A row's own lists of objects have other names.
	inList = regexp.MustCompile(`^\{\s*"(data|rows|items|results|records|examples)"\s*:\s*\[\s*\{`)
)

package rows

import (
	"bytes"
	"regexp"
	"sync"
)

// noRows says why the beginning of a file of JSON is one object that holds all rows in another
// way than one after the other; empty where it may be a row.
func noRows(head []byte) string {
	start := bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), " \t\r\n")
	const records = "write it with df.to_json(FILE, orient=\"records\", lines=True)"
	is := wholes()
	switch wrapped := is.inList.FindSubmatch(start); {
	case is.byIndex.Match(start):
		return "is JSON by columns, as pandas writes it where nothing else is said: " + records
	case is.bySplit.Match(start), is.byTable.Match(start):
		return "is JSON of a whole table, as pandas writes it: " + records
	case wrapped != nil:
		return "is one JSON object with a list of rows in it: take them out with jq -c '." + string(wrapped[1]) + "[]' FILE"
	}
	return ""
}

// whole matches the beginnings of objects that hold all rows.
type whole struct{ byIndex, bySplit, byTable, inList *regexp.Regexp }

// wholes compiles them at the first call: most commands read no file.
var wholes = sync.OnceValue(func() whole {
	return whole{
		// {"column":{"0":…, the default of DataFrame.to_json.
		byIndex: regexp.MustCompile(`^\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:`),
		bySplit: regexp.MustCompile(`^\{\s*"columns"\s*:\s*\[[^\]]*\]\s*,\s*"(?:index|data)"\s*:\s*\[`),
		byTable: regexp.MustCompile(`^\{\s*"schema"\s*:\s*\{\s*"fields"\s*:\s*\[`),
		// {"data":[{…, as APIs answer. A row's own lists of objects have other names.
		inList: regexp.MustCompile(`^\{\s*"(data|rows|items|results|records|examples)"\s*:\s*\[\s*\{`),
	}
})

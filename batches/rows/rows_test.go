package rows_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"oneflow/batches/rows"
)

// listed returns what a source yields, a line each, and how it ends.
func listed(t *testing.T, s rows.Source) (list []string, end error) {
	t.Helper()
	for {
		row, err := s.Next()
		if bad, ok := errors.AsType[*rows.LineError](err); ok {
			list = append(list, bad.Error())
			continue
		}
		if err != nil {
			if cerr := s.Close(); cerr != nil {
				t.Error(cerr)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return list, err
		}
		line := fmt.Sprint(row.Place)
		for _, name := range row.Names {
			line += " " + name + "=" + string(row.Fields[name])
		}
		list = append(list, line)
	}
}

// memory is a file that is not on a disk.
func memory(name, text string) rows.File {
	return rows.File{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// told reads text and returns its format, its rows and how it ends.
func told(t *testing.T, name, text string, o rows.Options) (format rows.Format, list []string, end error) {
	t.Helper()
	o.Recognised = func(_ string, f rows.Format) { format = f }
	o.Columns = append(o.Columns, "prompt", "custom_id")
	s, err := rows.Read(name, strings.NewReader(text), o)
	if err != nil {
		return format, nil, err
	}
	list, end = listed(t, s)
	return format, list, end
}

func TestAFormatIsFoundOutFromTheContent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       rows.Format
		rows       int
	}{
		{"stdin", "", rows.FormatJSONLines, 0},
		{"stdin", "{\"prompt\":\"a\"}", rows.FormatJSONLines, 1},
		{"stdin", "\ufeff\n {\"prompt\":\"a\"}\n", rows.FormatJSONLines, 1},
		{"x.txt", "{\"prompt\":\"a\"}\n", rows.FormatJSONLines, 1},
		{"stdin", "curl: no route\n{\"prompt\":\"a\"}\n", rows.FormatJSONLines, 2},
		{"x.jsonl", "broken\n", rows.FormatJSONLines, 1},
		{"stdin", "\"text\"\n", rows.FormatJSONLines, 1},
		{"stdin", "7\n", rows.FormatJSONLines, 1},
		{"stdin", " [ {\"prompt\":\"a\"} ] ", rows.FormatJSON, 1},
		{"stdin", "{\n\"prompt\":\"a\"\n}\n{\"prompt\":\"b\"}", rows.FormatJSON, 2},
		{"stdin", "{ \"requests\" :\n[{\"custom_id\":\"a\",\"params\":{}}]}", rows.FormatJSON, 1},
		{"stdin", "{\"requests\":3}\n", rows.FormatJSONLines, 1},
		{"stdin", "{\"requests", rows.FormatJSONLines, 1},
		{"stdin", "prompt\nhello\n", rows.FormatCSV, 1},
		{"stdin", "id;\"prompt\"\n1;a\n2;b\n", rows.FormatCSV, 2},
		{"stdin", "id\tprompt\n1\ta\n", rows.FormatCSV, 1},
		{"stdin", "id|prompt\n1|a\n", rows.FormatCSV, 1},
		{"x.csv", "question,id\na,1\n", rows.FormatCSV, 1},
		{"x.CSV.gz", "question,id\na,1\n", rows.FormatCSV, 1}, // unpacked by somebody on the way
		{"stdin", "tell me, please\nand again\n", rows.FormatLines, 2},
		{"x.txt", "[a] b\n\n\nc", rows.FormatLines, 2},
	} {
		format, list, err := told(t, strings.TrimSuffix(c.name, ".gz"), c.text, rows.Options{})
		if format != c.want || len(list) != c.rows || err != nil {
			t.Errorf("%s %.40q: %s with %q, %v; want %s with %d", c.name, c.text, format, list, err, c.want, c.rows)
		}
	}
	if f, list, _ := told(t, "x", "question;id\na;1\n", rows.Options{Columns: []string{"question"}}); f != rows.FormatCSV || list[0] != `2 question="a" id="1"` {
		t.Errorf("by a column that the caller knows: %s %q", f, list)
	}
	if f, list, _ := told(t, "x.csv", "a,b\nc,d\n", rows.Options{Format: rows.FormatLines}); f != rows.FormatLines || len(list) != 2 {
		t.Errorf("a format that is said goes before all: %s %q", f, list)
	}
}

func TestWhatIsNotReadIsRefusedWithTheWayOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"PK\x03\x04rest":                "save a spreadsheet as CSV UTF-8",
		"\xff\xfe\x00\x00{\x00\x00\x00": "looks like UTF-32",
		"SQLite format 3\x00":           "save it as Parquet, CSV or JSON lines",
		"<html>\n":                      "looks like HTML or XML",
		"\x00\x01\x02\x03\n":            "is no text",
		"\x89PNG\r\n\x1a\n\x00\x00":     "is image/png and no text",
		"GIF89a\x01\x00\n":              "is image/gif and no text",
		"\xff\xd8\xff\xe0\n\x00\x10JF":  "is image/jpeg and no text",
		"RIFF\n\x01\x00\x00WEBPVP8 ":    "is image/webp and no text",
		"RIFF\n\x01\x00\x00WAVEfmt ":    "is audio/wave and no text",
		"ID3\x03\n\x00":                 "is audio/mpeg and no text",
		"\xff\xfb\x90\n\x00":            "is no text",
		"\x00\x00\x00\x0cftypmp42\n":    "is video/mp4 and no text",
		"%PDF-1.7\n":                    "save it as Parquet, CSV or JSON lines",
		"PAR1":                          "is no whole Parquet file",
		"\x1f\x8b\x00\x00":              "is no whole gzip file",
		// What pandas writes with orient columns (its default), split and table, and answers of APIs.
		"{\"prompt\":{\"0\":\"a\",\"1\":\"b\"}}":                      `orient="records", lines=True`,
		"{\"columns\":[\"prompt\"],\"index\":[0],\"data\":[[\"a\"]]}": `orient="records", lines=True`,
		"{\"schema\":{\"fields\":[{\"name\":\"a\"}]},\"data\":[{}]}":  `orient="records", lines=True`,
		"{\n \"data\": [\n  {\"prompt\":\"a\"}]}":                     "jq -c '.data[]' FILE",
	} {
		_, list, err := told(t, "stdin", text, rows.Options{})
		if _, ok := errors.AsType[*rows.FormatError](err); !ok || !strings.HasPrefix(err.Error(), "stdin: ") || !strings.Contains(err.Error(), want) || list != nil {
			t.Errorf("%q: %v, %q", text, err, list)
		}
	}
	for _, row := range []string{`{"prompt":"a","data":[{"b":1}]}`, `{"data":[1,2],"prompt":"a"}`, `{"columns":["a"],"prompt":"b"}`, `{"schema":{"type":"object"},"prompt":"b"}`} {
		if _, list, err := told(t, "x.jsonl", row+"\n", rows.Options{}); err != nil || len(list) != 1 {
			t.Errorf("%s is a row: %v, %q", row, err, list)
		}
	}
	for _, text := range []string{"BMW or OTTO?\nID3 tags\n", "GIF89a\n", "a\x1b[1mb\n", "caf\xe9\n"} {
		if f, _, err := told(t, "x", text, rows.Options{}); err != nil || f != rows.FormatLines {
			t.Errorf("%q is text: %v, %v", text, f, err)
		}
	}
	if _, _, err := told(t, "x", "{}", rows.Options{Format: rows.FormatParquet}); err == nil || err.Error() != "x: is no Parquet file" {
		t.Error(err)
	}
	if _, _, err := told(t, "x", "[{}]", rows.Options{Format: rows.FormatJSONLines}); err == nil || err.Error() != "x:1: is JSON over several lines, and JSON lines have one object a line" {
		t.Error(err)
	}
}

func TestPackedFilesAreUnpackedAsTheyAreRead(t *testing.T) {
	t.Parallel()
	const text = "custom_id,prompt\n1,a\n2,b\n"
	var g, z, twice bytes.Buffer
	pack := gzip.NewWriter(&g)
	io.WriteString(pack, text)
	pack.Close()
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	w.Close()
	pack = gzip.NewWriter(&twice)
	pack.Write(g.Bytes())
	pack.Close()
	want := []string{`2 custom_id="1" prompt="a"`, `3 custom_id="2" prompt="b"`}
	for name, packed := range map[string]string{
		"x.csv.gz": g.String(), "stdin": g.String(), "x.zst": z.String(), "x.gz.gz": twice.String(), "two members": g.String() + strings.Repeat("", 1),
	} {
		if _, list, err := told(t, name, packed, rows.Options{}); err != nil || cmp.Diff(want, list) != "" {
			t.Errorf("%s: %q, %v", name, list, err)
		}
	}
	for name, cut := range map[string]string{"gzip": g.String()[:g.Len()-9], "zstd": z.String()[:z.Len()-5]} {
		if _, _, err := told(t, "x", cut, rows.Options{}); err == nil || !strings.Contains(err.Error(), name+" file is cut off here") {
			t.Errorf("%s, cut: %v", name, err)
		}
	}
}

func TestEachErrorNamesItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"x.csv", "prompt,n\na,1\n\"b\nb\",2,3\nc\"c,4\nd,5\n", []string{
			`2 prompt="a" n="1"`, "x.csv:3: has 3 cells, and the header has 2: a cell that holds the separator \",\", a quote or a line end must stand in double quotes",
			"x.csv:5:2: not valid CSV: a cell that holds a double quote stands in double quotes, with \"\" for each inside", `6 prompt="d" n="5"`,
		}},
		{"x.csv", "prompt\n\xff\nb\n", []string{"x.csv:2:1: not valid UTF-8: Excel and old programs write Windows-1252; save it as CSV UTF-8, or use iconv -f WINDOWS-1252 -t UTF-8 FILE | enqueue batch -", `3 prompt="b"`}},
		{"x.json", "[{\"a\":1},{\"a\":},\n  {\"a\":\n tru},{\"a\":2}]", []string{"1 a=1", "x.json:1:15: not valid JSON", "x.json:3:5: not valid JSON", "4 a=2"}},
		{"x.json", "[{\"a\":1},7]", []string{"1 a=1", "end x.json:1:10: not valid JSON: a list of rows has an object in {} for each"}},
		{"x.json", "[{\"a\":1}", []string{"1 a=1", "end x.json:1:8: not valid JSON: the list has no end"}},
		{"x.json", "[{\"a\":1}] []", []string{"1 a=1", "end x.json:1:11: there is more after the list of rows"}},
		{"x.json", "{\"requests\":[{\"a\":1}],\"x\":1}", []string{"1 a=1", "end x.json:1:22: not valid JSON: after the last row there must be }"}},
		{"x.txt", "a\n\xe4\nb", []string{`1 prompt="a"`, "x.txt:2:1: not valid UTF-8: Excel and old programs write Windows-1252; save it as CSV UTF-8, or use iconv -f WINDOWS-1252 -t UTF-8 FILE | enqueue batch -", `3 prompt="b"`}},
	} {
		_, list, err := told(t, c.name, c.text, rows.Options{})
		if err != nil {
			list = append(list, "end "+err.Error())
		}
		if diff := cmp.Diff(c.want, list); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestThePlacesOfSeveralFilesGoOnFromOneToTheNext(t *testing.T) {
	t.Parallel()
	s := rows.Files([]rows.File{memory("a.jsonl", "{\"n\":1}\n\n{\"n\":2}\nbad\n"), memory("b.csv", "prompt\nx\ny\n"), memory("c.json", "[{\"n\":3}, {\"n\":4}]"), memory("empty.txt", "")}, rows.Options{})
	list, err := listed(t, s)
	want := []string{"1 n=1", "3 n=2", "a.jsonl:4:1: not valid JSON", `6 prompt="x"`, `7 prompt="y"`, "8 n=3", "9 n=4"}
	if diff := cmp.Diff(want, list); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for place, want := range map[int64]string{1: "a.jsonl:1: why", 3: "a.jsonl:3: why", 6: "b.csv:2: why", 7: "b.csv:3: why", 8: "c.json: row 1: why", 9: "c.json: row 2: why"} {
		if got := s.At(place, "why").Error(); got != want {
			t.Errorf("%d: %s, want %s", place, got, want)
		}
	}
	gone := rows.Files([]rows.File{memory("a", "x\n"), {Name: "b", Open: func() (io.ReadCloser, error) { return nil, os.ErrNotExist }}}, rows.Options{})
	if list, err := listed(t, gone); !errors.Is(err, os.ErrNotExist) || len(list) != 1 {
		t.Errorf("%q, %v", list, err)
	}
}

func TestASampleIsTheSameForTheSameSeedAndFair(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "p%d\n", i+1)
	}
	of := func(n int64, seed uint64) []string {
		list, err := listed(t, rows.Sample(rows.TextLines("x", strings.NewReader(text.String())), 1000, n, seed))
		if err != nil || int64(len(list)) != min(n, 1000) {
			t.Fatalf("%d rows, %v", len(list), err)
		}
		return list
	}
	if diff := cmp.Diff(of(50, 1), of(50, 1)); diff != "" {
		t.Error(diff)
	}
	if cmp.Diff(of(50, 1), of(50, 2)) == "" {
		t.Error("another seed gives the same rows")
	}
	of(2000, 1)
	late := 0
	for seed := range uint64(40) {
		for _, line := range of(50, seed) {
			var place int
			fmt.Sscan(line, &place)
			if place > 500 {
				late++
			}
		}
	}
	if late < 900 || late > 1100 { // of 2,000: 1,000 ± 22 at one standard deviation
		t.Errorf("%d of 2,000 are of the second half", late)
	}
	list, err := listed(t, rows.Limit(rows.TextLines("x", strings.NewReader(text.String())), 3))
	if diff := cmp.Diff([]string{`1 prompt="p1"`, `2 prompt="p2"`, `3 prompt="p3"`}, list); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if n, err := rows.Count(rows.JSONLines("x", strings.NewReader("{}\nbad\n\n{}\n"))); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// forEver is text without end.
type forEver struct {
	begin, more string
	left        int
}

func (f *forEver) Read(p []byte) (int, error) {
	if f.begin != "" {
		n := copy(p, f.begin)
		f.begin = f.begin[n:]
		return n, nil
	}
	if f.left <= 0 {
		return 0, io.EOF
	}
	for n := 0; n < len(p); {
		n += copy(p[n:], f.more)
	}
	f.left -= len(p)
	return len(p), nil
}

func TestARowWithoutEndIsNotHeldInMemory(t *testing.T) {
	t.Parallel()
	for begin, want := range map[string]string{
		"prompt,id\n\"":      "x:1: a row after this line is longer than 16 MiB: is a double quote not closed?",
		"prompt,id\n":        "x:1: a row after this line is longer than 16 MiB: is a double quote not closed?",
		"[{\"prompt\":\"":    "x:1:2: not valid JSON: the object that begins here has no end",
		"plain text without": "x:1: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller",
	} {
		s, err := rows.Read("x", &forEver{begin, "lorem ipsum ", 64 << 20}, rows.Options{Columns: []string{"prompt"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Next()
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", begin, err)
		}
	}
}

func TestAParquetFileIsReadFromAnywhereWithTheGroupsOfItsRows(t *testing.T) {
	t.Parallel()
	path := "../testdata/taken/arrow_rust_snappy.parquet" // two row groups, of 2 and 1 rows
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fromFile, err := rows.Read("x.parquet", f, rows.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fromStdin, err := rows.Read("x.parquet", bytes.NewReader(data), rows.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fromFile.At(3, "why").Error(); got != "x.parquet: row group 2, row 1: why" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"custom_id", "messages", "max_tokens", "when", "day", "score", "good"}, fromFile.Columns()); diff != "" {
		t.Error(diff)
	}
	one, err := listed(t, fromFile)
	two, errTwo := listed(t, fromStdin)
	if err != nil || errTwo != nil || len(one) != 3 || cmp.Diff(one, two) != "" {
		t.Errorf("%v %v\n%q\n%q", err, errTwo, one, two)
	}
}

// Excel's "Unicode text" is a table with any names of columns, whatever its file is called.
func TestATextWithTabsIsATableWhereItsRowsAreAlike(t *testing.T) {
	t.Parallel()
	utf16le := func(s string) string {
		var b strings.Builder
		b.WriteString("\xff\xfe")
		for _, c := range utf16.Encode([]rune(s)) {
			b.WriteByte(byte(c))
			b.WriteByte(byte(c >> 8))
		}
		return b.String()
	}
	for text, want := range map[string]rows.Format{
		utf16le("Nr\tFrage\r\n1\tWas ist süß?\r\n"): rows.FormatCSV,
		"Nr\tFrage\n1\t\"in zwei\nZeilen\"\n2\tb":   rows.FormatCSV,
		"Nr\tFrage\n1\t2":           rows.FormatCSV,
		"a\tb":                      rows.FormatLines,
		"Tell me\tmore\nand more\n": rows.FormatLines,
		"one\ntwo\tthree\n":         rows.FormatLines,
		"a\tb\n" + strings.Repeat("c\td\n", 20) + "e\n":      rows.FormatCSV,
		"say\t\"hello\" to\nme\tand\tyou\n" + "\"x\" y\tz\n": rows.FormatLines,
	} {
		if f, _, err := told(t, "u.txt", text, rows.Options{Columns: []string{"prompt"}}); err != nil || f != want {
			t.Errorf("%q is read as %s, want %s: %v", text, f, want, err)
		}
	}
}

// What is wrong with one file of many is known before the rows of another are taken.
func TestTheBeginningOfEachFileIsLookedAtFirst(t *testing.T) {
	t.Parallel()
	for text, bad := range map[string]bool{
		"a\nb\n": false, "": false, "{\"prompt\"\n": false, "\xe9\n": false, // a bad row alone
		"%PDF-1.7\n": true, "\x89PNG\r\n\x1a\n": true, "prompt\tprompt\n1\t2\n": true, "\x1f\x8b\x08\x00": true,
	} {
		err := rows.Check([]rows.File{memory("a.txt", "a\n"), memory("b", text)}, rows.Options{Columns: []string{"prompt"}})
		if bad != (err != nil) || err != nil && !strings.HasPrefix(err.Error(), "b:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

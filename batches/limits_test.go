package batches_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"oneflow/batches/rows"
	"oneflow/jobs"
)

// The tests of this file that measure the heap, which all tests share, are not
// parallel.

// live is the heap that is in use now.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// endless is a line that goes on for size bytes, and measures the heap meanwhile.
type endless struct {
	size, read int64
	most       uint64
	then       error
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read >= e.size {
		return 0, e.then
	}
	for n := copy(p, xs); n < len(p); {
		n += copy(p[n:], xs)
	}
	if e.read/(32<<20) != (e.read+int64(len(p)))/(32<<20) {
		e.most = max(e.most, live())
	}
	e.read += int64(len(p))
	return len(p), nil
}

func TestALineWithoutEndIsNotHeldInMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	before := live()
	for _, c := range []struct {
		name string
		then io.Reader
		err  string
		want []string
	}{
		{"goes on for ever", &endless{then: errors.New("enough")}, "rows.jsonl:2: enough", []string{"rows.jsonl:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller"}},
		{"ends with the file", &endless{then: io.EOF}, "", []string{"rows.jsonl:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller"}},
		{"ends", strings.NewReader("\n{\"prompt\":\"after\"}"), "", []string{"rows.jsonl:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller"}},
	} {
		line := &endless{size: 192 << 20 / slower, then: io.EOF}
		var bad []string
		good := 0
		err := input().Read(rows.JSONLines("rows.jsonl", io.MultiReader(strings.NewReader("\n"), line, c.then)), func(jobs.New) error { good++; return nil }, func(e *rows.LineError) { bad = append(bad, e.Error()) })
		if (err != nil) != (c.err != "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v", c.name, err)
		}
		if fmt.Sprint(bad) != fmt.Sprint(c.want) || good != strings.Count(c.name, "ends")-strings.Count(c.name, "with") {
			t.Errorf("%s: %d good, %q", c.name, good, bad)
		}
		if grown := int64(line.most) - int64(before); grown > 64<<20 {
			t.Errorf("%s: the heap grew by %d MiB", c.name, grown>>20)
		}
	}
}

func TestTheLongestLineIsReadAndOneByteMoreIsNot(t *testing.T) {
	t.Parallel()
	row := func(size int) string {
		text := `{"prompt":"a"}`
		return text + strings.Repeat(" ", size-len(text)-1) + "\n"
	}
	good, bad := read(t, input(), row(rows.MaxRow)+row(rows.MaxRow+1)+`{"prompt":"after"}`)
	if len(good) != 2 || good[1].Seq != 3 || len(bad) != 1 || bad[0] != "rows.jsonl:2: the line is longer than 16 MiB: give pictures, sounds and documents by url, or make them smaller" {
		t.Errorf("%d good, bad: %q", len(good), bad)
	}
}

var xs = strings.Repeat("x", 64<<10)

// manyRows makes n lines of about a kilobyte, of which each hundredth is bad.
type manyRows struct {
	n, at int
	line  bytes.Buffer
	most  uint64
}

func (r *manyRows) Read(p []byte) (int, error) {
	if r.line.Len() == 0 {
		if r.at == r.n {
			return 0, io.EOF
		}
		if r.at%(r.n/8) == 0 {
			r.most = max(r.most, live())
		}
		r.at++
		bad := ""
		if r.at%100 == 0 {
			bad = "!"
		}
		fmt.Fprintf(&r.line, `{"prompt":"row %d %s"}%s`+"\n", r.at, filler, bad)
	}
	return r.line.Read(p)
}

var filler = strings.Repeat("lorem ipsum ", 80)

func TestManyRowsAreReadInBoundedMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	n := 50_000 / slower
	before := live()
	r := &manyRows{n: n}
	good, bad := 0, 0
	err := input().Read(rows.JSONLines("rows.jsonl", r), func(jobs.New) error { good++; return nil }, func(e *rows.LineError) {
		bad++
		if e.Line != int64(bad)*100 || e.Column < 900 || !strings.HasPrefix(e.Error(), fmt.Sprintf("rows.jsonl:%d:%d: not valid JSON", e.Line, e.Column)) {
			t.Errorf("%d: %v", bad, e)
		}
	})
	if err != nil || good != n-n/100 || bad != n/100 {
		t.Errorf("%d good, %d bad, %v", good, bad, err)
	}
	// Keys remember about 100 bytes a row; the text would be 50 MB.
	if grown := int64(r.most) - int64(before); grown > 20<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func TestAnIntakeHoldsNoMoreThanAChunkOfLargeRows(t *testing.T) { //nolint:paralleltest // it measures the heap
	const n, size = 40 / slower, 2 << 20
	before := live()
	line := `{"prompt":"` + strings.Repeat("a", size) + `"}` + "\n"
	lines := make([]io.Reader, n)
	for i := range lines {
		lines[i] = strings.NewReader(line)
	}
	var most uint64
	store := &intakeStore{accept: func(rows []jobs.New) { most = max(most, live()) }}
	rep, err := intake(store).Take(t.Context(), source(io.MultiReader(lines...)))
	if err != nil || rep.Accepted+rep.Duplicates != n || !store.sealed {
		t.Errorf("%+v, %v, sealed %v", rep, err, store.sealed)
	}
	if grown := int64(most) - int64(before); most == 0 || grown > 60<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

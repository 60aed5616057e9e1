package rows_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"oneflow/batches/rows"
)

// FuzzRead holds that no file makes a reader panic or turn without end, that places
// rise, and that what it yields is what rows may hold.
func FuzzRead(f *testing.F) {
	taken, err := filepath.Glob("../testdata/taken/*")
	if err != nil || len(taken) == 0 {
		f.Fatal(err)
	}
	for _, path := range taken {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(filepath.Base(path), data)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		s, err := rows.Read(name, bytes.NewReader(data), rows.Options{Columns: []string{"prompt"}})
		if err != nil {
			return
		}
		defer s.Close()
		last := int64(0)
		for n := 0; ; n++ {
			row, err := s.Next()
			if _, ok := errors.AsType[*rows.LineError](err); ok {
				if n > 2*len(data)+1000 {
					t.Fatal("errors without end")
				}
				continue
			}
			if err != nil {
				return
			}
			if row.Place <= last || len(row.Fields) != len(row.Names) {
				t.Fatalf("row %d after %d: %d fields, %q", row.Place, last, len(row.Fields), row.Names)
			}
			last = row.Place
			for _, name := range row.Names {
				if !rows.Valid(row.Fields[name]) {
					t.Fatalf("%s: %q", name, row.Fields[name])
				}
			}
			if n > 100_000 {
				return // a dictionary of a few bytes makes many rows
			}
		}
	})
}

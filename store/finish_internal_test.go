package store

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

func TestAListIsWrittenAsPostgresReadsIt(t *testing.T) {
	t.Parallel()
	for _, list := range [][]string{{}, {""}, {"openai/gpt/input@2026-01-01", "b"}, {`a "b" \ c`, "{x,y}", "NULL", " é\n"}} {
		var got []string
		if err := pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.TextFormatCode, []byte(arrayOf(list)), &got); err != nil {
			t.Fatalf("%q: %v", list, err)
		}
		if !slices.Equal(got, list) {
			t.Errorf("%q is read as %q", list, got)
		}
	}
}

// Sanitise is sanitise, for the tests outside of the package.
func Sanitise(text string) string { return sanitise(text) }

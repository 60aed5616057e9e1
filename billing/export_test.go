package billing

import "io"

// For tests.
const (
	DefaultMaxMilliSeconds = defaultMaxMilliSeconds
	DefaultMaxOutputTokens = defaultMaxOutputTokens
	ReportedRow            = reportedRow
)

// Load is load, for tests.
func Load(r io.Reader, name string) (*List, error) { return load(r, name) }

// WriteRows is writeRows, for tests.
func WriteRows(w io.Writer, rows []Row) error { return writeRows(w, rows) }

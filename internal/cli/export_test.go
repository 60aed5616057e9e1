package cli

import "io"

// JSON is writeJSON, for tests.
func JSON(w io.Writer, v any) error { return writeJSON(w, v) }

package rows

import "io"

// TextLines is newTextLines, for tests.
func TextLines(name string, r io.Reader) Source { return newTextLines(name, r) }

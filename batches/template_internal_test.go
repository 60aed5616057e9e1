package batches

// Columns is names, for the tests outside of the package.
func (t *Template) Columns() []string { return t.names() }

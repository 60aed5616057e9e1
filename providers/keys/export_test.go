package keys

// ErrAllPaused is errAllPaused, for tests.
var ErrAllPaused = errAllPaused

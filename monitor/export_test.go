package monitor

// Remembered returns how many batches a Reader remembers in detail.
func (r *Reader) Remembered() int { return len(r.details) }

package rows

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// File is a file that can be read, once or again and again.
type File struct {
	// Name stands for it in errors, and tells its format where its content leaves that
	// open.
	Name string
	Open func() (io.ReadCloser, error)
}

// files reads several files as one.
type files struct {
	left    []File
	options Options
	current Source
	closer  io.Closer
	columns []string
	last    int64 // the place of the last row
	end     error
	// reading is held by Next. closing tells it to close what it has read from, where
	// Close came meanwhile: a reader may hang in its input for good.
	reading sync.Mutex
	closing atomic.Bool

	mu   sync.Mutex
	done []part // files that have been read, and the one that is
}

// part says which places are of one file: those above base.
type part struct {
	base int64
	places
}

// Files reads files one after the other, each in its own format. Places go on from
// one to the next.
func Files(list []File, o Options) Source { return &files{left: list, options: o} }

// At implements Source. It may be called while Next is.
func (f *files) At(place int64, reason string) *LineError {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := slices.BinarySearchFunc(f.done, place, func(p part, place int64) int { return cmp.Compare(p.base, place) })
	if i == 0 {
		return &LineError{Line: place, Row: true, Reason: reason}
	}
	p := f.done[i-1]
	return p.At(place-p.base, reason)
}

// Check looks at the beginning of each file, and returns the first error of one that is none of
// rows: what Files would find only after the rows of those before it. It returns nothing for
// what one row alone is wrong about.
func Check(list []File, o Options) error {
	for _, file := range list {
		f := files{left: []File{file}, options: o}
		_, err := f.Next()
		err = errors.Join(err, f.Close())
		if _, bad := errors.AsType[*LineError](err); err != nil && !bad && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

func (f *files) where() places { return places{} }

// Columns implements Source.
func (f *files) Columns() []string {
	if f.current != nil {
		f.columns = f.current.Columns()
	}
	return f.columns
}

// Close implements Source. It may be called while Next is, which then closes the file
// when it comes back.
func (f *files) Close() error {
	f.closing.Store(true)
	if !f.reading.TryLock() {
		return nil
	}
	defer f.reading.Unlock()
	f.left = nil
	return f.closeCurrent()
}

func (f *files) closeCurrent() error {
	if f.current == nil {
		return nil
	}
	f.Columns()
	err := errors.Join(f.current.Close(), f.closer.Close())
	f.current = nil
	return err
}

// Next implements Source.
func (f *files) Next() (Row, error) {
	f.reading.Lock()
	row, err := f.next()
	f.reading.Unlock()
	if f.closing.Load() {
		err = errors.Join(err, f.Close())
	}
	return row, err
}

func (f *files) next() (Row, error) {
	for f.end == nil {
		if f.current == nil {
			if f.end = f.open(); f.end != nil {
				break
			}
		}
		row, err := f.current.Next()
		if err == nil {
			row.Place += f.done[len(f.done)-1].base
			f.last = row.Place
			return row, nil
		}
		if bad, ok := errors.AsType[*LineError](err); ok {
			f.last = max(f.last, f.done[len(f.done)-1].base+bad.Line)
			return Row{}, err
		}
		if errors.Is(err, io.EOF) {
			err = f.closeCurrent()
		}
		f.end = err
	}
	return Row{}, f.end
}

// open opens the next file.
func (f *files) open() error {
	if len(f.left) == 0 {
		return io.EOF
	}
	file := f.left[0]
	f.left = f.left[1:]
	if f.options.Format == FormatFiles {
		f.begin(newWholeFile(file.Name), io.NopCloser(nil))
		return nil
	}
	r, err := file.Open()
	if err != nil {
		return err
	}
	source, err := Read(file.Name, r, f.options)
	if err != nil {
		if _, format := errors.AsType[*FormatError](err); !format {
			err = fmt.Errorf("%s: %w", file.Name, err)
		}
		return errors.Join(err, r.Close())
	}
	f.begin(source, r)
	return nil
}

// begin goes on with the rows of a source.
func (f *files) begin(source Source, r io.Closer) {
	f.current, f.closer = source, r
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, part{f.last, source.where()})
}

package rows

import (
	"errors"
	"io"
	"math/rand/v2"
)

// limit is the first rows of a source.
type limit struct {
	Source
	left int64
}

// Limit yields the first n rows of a source, bad ones counted.
func Limit(source Source, n int64) Source { return &limit{source, n} }

// Next implements Source.
func (l *limit) Next() (Row, error) {
	if l.left <= 0 {
		return Row{}, io.EOF
	}
	l.left--
	return l.Source.Next()
}

// Count returns how many rows a source has, bad ones counted.
func Count(source Source) (n int64, err error) {
	for ; ; n++ {
		_, err := source.Next()
		if _, one := errors.AsType[*LineError](err); err == nil || one {
			continue
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		return n, err
	}
}

// sample is some rows of a source, each with the same chance.
type sample struct {
	Source
	left, wanted int64
	random       *rand.Rand
}

// Sample yields n of a source's rows, of which there are total, in their order: the
// same ones for the same seed (selection sampling, Knuth's algorithm S).
func Sample(source Source, total, n int64, seed uint64) Source {
	return &sample{source, total, min(n, total), rand.New(rand.NewPCG(seed, 0))}
}

// Next implements Source.
func (s *sample) Next() (Row, error) {
	for s.wanted > 0 {
		row, err := s.Source.Next()
		if _, one := errors.AsType[*LineError](err); err != nil && !one {
			return row, err
		}
		take := s.random.Int64N(max(s.left, 1)) < s.wanted
		s.left--
		if take {
			s.wanted--
			return row, err
		}
	}
	return Row{}, io.EOF
}

package main

import (
	"fmt"
	"strconv"
)

// positive is a number of rows or lines that a flag asks for; 0 where it was not given.
type positive int

// UnmarshalText implements encoding.TextUnmarshaler. It refuses 0, which would be taken for all.
func (p *positive) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 {
		return fmt.Errorf("must be a whole number from 1 on, got %.60q", text)
	}
	*p = positive(n)
	return nil
}

package main

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"
)

// positive is a number of rows or lines that a flag asks for; 0 where it was not given.
type positive int

// Decode implements kong.MapperValue. It refuses 0, which would be taken for all.
func (p *positive) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("number", &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("must be a whole number from 1 on, got %.60q", text)
	}
	*p = positive(n)
	return nil
}

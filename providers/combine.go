package providers

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// MaxCombine is the most prompts that one request may combine: with more, models lose
// count.
const MaxCombine = 50

// CheckCombine refuses to combine what has an answer that cannot be split.
func (r Request) CheckCombine() error {
	var with string
	switch {
	case r.Combine == 0:
		return nil
	case r.Task != Text:
		return fmt.Errorf("combine: is for task text, not for %s", r.Task)
	case r.Combine < 2 || r.Combine > MaxCombine:
		return fmt.Errorf("combine: must be from 2 to %d prompts in one request, got %d", MaxCombine, r.Combine)
	case r.Body != nil:
		return errors.New("combine: a vendor's own body has no prompt to combine: leave it out, or write the request in named options")
	case len(r.Messages) > 0:
		with = "messages"
	case len(r.Tools) > 0:
		with = "tools"
	case r.ResponseFormat != nil:
		with = "response_format"
	case len(r.Stop) > 0:
		with = "stop"
	case r.N > 1:
		with = "n"
	case r.LogProbs:
		with = "logprobs"
	case r.OnCut != "" && r.OnCut != KeepCut:
		with = "on_cut"
	default:
		return nil
	}
	return fmt.Errorf("combine: cannot be used with %s: each such row needs a request of its own", with)
}

// combined is the one numbered request for prompts.
func combined(all []Request) Request {
	var b strings.Builder
	fmt.Fprintf(&b, "Below are %d requests that have nothing to do with each other. Answer each of them as if it had been made alone. "+
		"Begin each answer with a line that holds only its number in double brackets, such as [[1]], answer in the given order, and write nothing else.\n", len(all))
	for i, r := range all {
		fmt.Fprintf(&b, "\n[[%d]]\n%s\n", i+1, r.Prompt)
	}
	one := all[0]
	one.Combine, one.Prompt = 0, b.String()
	one.MaxTokens = times(one.MaxTokens, len(all))
	return one
}

// times is the cap of so many answers, with what their numbers take; 0 stays 0.
func times(limit int64, n int) int64 {
	const number = 8 // tokens of a line with a number
	if limit == 0 {
		return 0
	}
	if limit > math.MaxInt64/int64(n)-number {
		return math.MaxInt64
	}
	return (limit + number) * int64(n)
}

// number is the line that an answer begins with.
var number = regexp.MustCompile(`(?m)^[ \t]*\[\[(\d{1,3})\]\][ \t]*$`)

// uncombined are the answers to n prompts, by their places; nil for one that cannot be told
// from the others: where a number is missing, its answer may stand in the one before, and a
// number that comes twice or out of order leaves nothing certain. Of an answer that was cut
// off, the last is not whole.
func uncombined(text string, n int, cut bool) []*string {
	answers := make([]*string, n)
	marks := number.FindAllStringSubmatchIndex(text, -1)
	before := 0
	for i, m := range marks {
		place, _ := strconv.Atoi(text[m[2]:m[3]]) // it has 3 digits at most
		if place <= before || place > n {
			return make([]*string, n)
		}
		if place > before+1 && before > 0 {
			answers[before-1] = nil
		}
		end, last := len(text), i == len(marks)-1
		if !last {
			end = marks[i+1][0]
		}
		answer := strings.TrimSpace(text[m[1]:end])
		if whole := !last || !cut && place == n; answer != "" && whole {
			answers[place-1] = &answer
		}
		before = place
	}
	return answers
}

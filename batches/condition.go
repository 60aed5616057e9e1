package batches

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"oneflow/batches/rows"
)

// condition is one of a step's filter: a column or a field in one, an operator, a value.
type condition struct {
	path     []string
	operator string
	value    string
}

// operators are those of a condition, each before one that it begins with.
func operators() []string { return []string{"==", "!=", ">=", "<=", ">", "<", "contains"} }

// parseCondition reads one such as answer.score >= 7 or answer contains yes. The value may
// stand in quotes.
func parseCondition(text string) (condition, error) {
	name, rest, ok := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	for _, operator := range operators() {
		value, has := strings.CutPrefix(rest, operator)
		if !ok || !has {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		path := strings.Split(name, ".")
		if slices.Contains(path, "") {
			return condition{}, fmt.Errorf("%s: has no name before the operator", rows.Quoted(text))
		}
		c := condition{path, operator, value}
		if _, err := strconv.ParseFloat(value, 64); err != nil && strings.ContainsAny(operator, "<>") {
			return condition{}, fmt.Errorf("%s: %s compares numbers", rows.Quoted(text), operator)
		}
		return c, nil
	}
	return condition{}, fmt.Errorf("%s: must be a column, one of %s, and a value, such as answer.score >= 7", rows.Quoted(text), strings.Join(operators(), " "))
}

// holds reports whether a row fulfils it. It fails where the column is not there, or is no
// number where one is needed.
func (c condition) holds(row rows.Row) (bool, error) {
	value, err := lookUp(row, c.path)
	if _, ok := errors.AsType[*noObjectError](err); ok {
		return false, err
	}
	if err != nil {
		return false, errors.New(strings.Replace(err.Error(), " of the template", "", 1))
	}
	value = strings.TrimSpace(value)
	number, numberErr := strconv.ParseFloat(value, 64)
	wanted, wantedErr := strconv.ParseFloat(c.value, 64)
	numbers := numberErr == nil && wantedErr == nil
	switch c.operator {
	case "contains":
		return strings.Contains(strings.ToLower(value), strings.ToLower(c.value)), nil
	case "==":
		return numbers && number == wanted || strings.EqualFold(value, c.value), nil
	case "!=":
		return !(numbers && number == wanted) && !strings.EqualFold(value, c.value), nil
	}
	if !numbers {
		return false, fmt.Errorf("%s is no number", rows.Quoted(strings.Join(c.path, ".")))
	}
	switch c.operator {
	case ">=":
		return number >= wanted, nil
	case "<=":
		return number <= wanted, nil
	case ">":
		return number > wanted, nil
	}
	return number < wanted, nil
}

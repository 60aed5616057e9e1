package media

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
)

// words returns those that are put together to sentences.
func words() []string {
	return []string{
		"the", "a", "every", "this", "our", "another", "one", "some", "their", "each",
		"queue", "worker", "answer", "question", "river", "garden", "engine", "window", "letter", "morning", "city", "harbour", "library", "signal", "pattern",
		"machine", "teacher", "market", "forest", "bridge", "lantern", "ocean", "village", "painter", "mountain", "kitchen", "station", "music", "paper", "season",
		"carries", "follows", "opens", "keeps", "finds", "brings", "measures", "gathers", "builds", "remembers", "crosses", "holds", "repeats",
		"quiet", "early", "bright", "careful", "simple", "open", "distant", "steady", "gentle", "narrow", "patient", "useful", "warm",
		"slowly", "again", "together", "often", "nearby", "today", "without", "before", "beyond",
	}
}

// Prose returns one to eight English sentences without sense, in ASCII.
func Prose(seed uint64) string { return (&picker{state: seed}).prose() }

// JSON returns a JSON object for schema, or a small one of its own choice if that
// is nil. It follows types, properties, items, enumerations and constants;
// anything else in the schema is ignored. A schema that is no JSON object is an
// error.
func JSON(seed uint64, schemaJSON json.RawMessage) (string, error) {
	p := &picker{state: seed}
	var value any = map[string]any{"answer": p.sentence(), "score": p.below(100), "tags": []string{p.word(), p.word()}}
	if schemaJSON != nil {
		var s schema
		if json.Unmarshal(schemaJSON, &s) != nil {
			return "", errors.New("is not a JSON schema: give an object with a type")
		}
		value = p.fit(s, 0)
	}
	data, err := json.Marshal(value)
	return string(data), err
}

// picker makes choices from a seed.
type picker struct{ state uint64 }

// below returns a number from 0 to n-1 (SplitMix64).
func (p *picker) below(n int) int {
	p.state += 0x9e3779b97f4a7c15
	x := p.state
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n)) //nolint:gosec // n is positive, the result below it
}

func (p *picker) word() string {
	all := words()
	return all[p.below(len(all))]
}

func (p *picker) sentence() string {
	all := words()
	picked := make([]string, 5+p.below(12))
	for i := range picked {
		picked[i] = all[p.below(len(all))]
	}
	s := strings.Join(picked, " ")
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// prose returns one to eight sentences, four to a paragraph.
func (p *picker) prose() string {
	var b strings.Builder
	for i := range 1 + p.below(8) {
		switch {
		case i == 0:
		case i%4 == 0:
			b.WriteString("\n\n")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(p.sentence())
	}
	return b.String()
}

// schema is the part of JSON Schema that JSON follows.
type schema struct {
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Enum       []any             `json:"enum"`
	Const      any               `json:"const"`
}

// fit returns a value for s.
func (p *picker) fit(s schema, depth int) any {
	if s.Const != nil {
		return s.Const
	}
	if len(s.Enum) > 0 {
		return s.Enum[p.below(len(s.Enum))]
	}
	kind := s.Type
	if several, ok := kind.([]any); ok && len(several) > 0 { // such as ["string", "null"]
		kind = several[0]
	}
	switch kind {
	case "string":
		return p.sentence()
	case "integer", "number":
		return p.below(100)
	case "boolean":
		return p.below(2) == 1
	case "null":
		return nil
	case "array":
		if s.Items == nil || depth > 8 {
			return []any{}
		}
		return []any{p.fit(*s.Items, depth+1), p.fit(*s.Items, depth+1)}
	}
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		out[name] = p.fit(s.Properties[name], depth+1)
	}
	return out
}

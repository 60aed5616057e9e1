package billing

import (
	"slices"
	"strings"
)

// shelf finds values by model name: an exact name first, then the longest
// prefix.
type shelf[V any] struct {
	exact    map[string]*V
	prefixes []prefix[V] // longest first
}

type prefix[V any] struct {
	text  string
	value *V
}

// at returns the shelf of a provider, which it makes where there is none.
func at[V any](m map[string]*shelf[V], provider string) *shelf[V] {
	if m[provider] == nil {
		m[provider] = &shelf[V]{exact: map[string]*V{}}
	}
	return m[provider]
}

// put returns the value of a match, which it makes where there is none.
func (s *shelf[V]) put(match string) *V {
	text, isPrefix := strings.CutSuffix(match, "*")
	if !isPrefix {
		if s.exact[text] == nil {
			s.exact[text] = new(V)
		}
		return s.exact[text]
	}
	i, found := slices.BinarySearchFunc(s.prefixes, text, func(p prefix[V], t string) int {
		if len(p.text) != len(t) {
			return len(t) - len(p.text)
		}
		return strings.Compare(p.text, t)
	})
	if !found {
		s.prefixes = slices.Insert(s.prefixes, i, prefix[V]{text, new(V)})
	}
	return s.prefixes[i].value
}

func (s *shelf[V]) has(match string) bool {
	text, isPrefix := strings.CutSuffix(match, "*")
	if !isPrefix {
		return s.exact[text] != nil
	}
	return slices.ContainsFunc(s.prefixes, func(p prefix[V]) bool { return p.text == text })
}

// find returns the value of the most specific match that ok accepts, or nil.
func (s *shelf[V]) find(model string, ok func(*V) bool) *V {
	if s == nil {
		return nil
	}
	if v := s.exact[model]; v != nil && ok(v) {
		return v
	}
	for _, p := range s.prefixes {
		if strings.HasPrefix(model, p.text) && ok(p.value) {
			return p.value
		}
	}
	return nil
}

// trimStar is a match as a name: a prefix stands for the shortest name that it has.
func trimStar(match string) string { return strings.TrimSuffix(match, "*") }

package frontdoor

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"oneflow/access"
)

// list is a list as OpenAI has it.
type list[T any] struct {
	Object  string  `json:"object"`
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// page makes a list of up to limit of all, of which there may be one more.
func page[T any](all []T, limit int, id func(T) string) list[T] {
	l := list[T]{Object: "list", Data: all, HasMore: len(all) > limit}
	if l.HasMore {
		l.Data = all[:limit]
	}
	if l.Data == nil {
		l.Data = []T{}
	}
	if len(l.Data) > 0 {
		first, last := id(l.Data[0]), id(l.Data[len(l.Data)-1])
		l.FirstID, l.LastID = &first, &last
	}
	return l
}

// asked reads which part of a list is asked for.
func asked(r *http.Request) (p Page, ok bool) {
	q := r.URL.Query()
	p = Page{Account: access.From(r.Context()).Account, After: q.Get("after"), Limit: defaultPage}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10_000 {
			return p, false
		}
		p.Limit = min(n, maxPage)
	}
	return p, len(p.After) <= 100 && utf8.ValidString(p.After) && !strings.ContainsRune(p.After, 0)
}

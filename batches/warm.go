package batches

import (
	"oneflow/jobs"
	"oneflow/providers/kinds"
)

// Leaders finds, of jobs that begin alike, the first: its answer has the vendor keep what
// the others begin with.
type Leaders struct {
	// Kind is that of Input.
	Kind   func(provider string) (kind string, ok bool)
	groups map[prefixKey]firstRow
}

type firstRow struct {
	key  string
	more bool
}

// Add is told of each job, in order.
func (l *Leaders) Add(job jobs.New) {
	key, _, ok := beginning(job)
	if !ok {
		return
	}
	kind, _ := l.Kind(job.Provider)
	if d, _ := kinds.Of(kind); d.Cache.MinTokens == 0 {
		return
	}
	if l.groups == nil {
		l.groups = map[prefixKey]firstRow{}
	}
	g, seen := l.groups[key]
	switch {
	case seen:
		g.more = true
		l.groups[key] = g
	case len(l.groups) < maxGroups:
		l.groups[key] = firstRow{key: job.Key}
	}
}

// Keys are those of the jobs that go ahead of others, each the first of its beginning.
func (l *Leaders) Keys() map[string]bool {
	keys := map[string]bool{}
	for _, g := range l.groups {
		if g.more {
			keys[g.key] = true
		}
	}
	return keys
}

// mark marks a long system prompt for the vendor's cache, where the vendor keeps only what is
// marked.
func (in Input) mark(fields Fields) {
	system := fields["system"]
	if !in.Mark || len(system) < minPrefix || system[0] != '"' {
		return
	}
	kind, ok := in.Kind(text(fields["provider"]))
	if d, _ := kinds.Of(kind); !ok || !d.Cache.Marked {
		return
	}
	fields["system"] = encoded([]map[string]any{{"type": "text", "text": system, "cache": true}})
}

// Package kinds is the list of the kinds of providers. Adding one is a line here;
// all that differs between them stands in their descriptors.
//
// It may import package providers and the vendors' packages, nothing else of ours.
package kinds

import (
	"slices"
	"strings"
	"sync"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/elevenlabs"
	"oneflow/providers/gemini"
	"oneflow/providers/mock"
	"oneflow/providers/openai"
	"oneflow/providers/stability"
)

// entry is a kind with what describes it.
type entry struct {
	kind     string
	describe func() providers.Descriptor
}

// list is the one list. Its order is that of the built-in chains: a vendor that
// does one task well goes before one that does several.
func list() []entry {
	return []entry{
		{stability.Kind, stability.Descriptor},
		{elevenlabs.Kind, elevenlabs.Descriptor},
		{openai.Kind, openai.Descriptor},
		{anthropic.Kind, anthropic.Descriptor},
		{gemini.Kind, gemini.Descriptor},
		{openai.CompatibleKind, openai.Compatible},
		{mock.Kind, mock.Descriptor},
	}
}

// All returns all kinds, in the order of the built-in chains.
func All() []providers.Descriptor {
	var all []providers.Descriptor
	for _, e := range list() {
		all = append(all, e.describe())
	}
	return all
}

// Names lists the kinds, sorted.
func Names() []string {
	var names []string
	for _, e := range list() {
		names = append(names, e.kind)
	}
	slices.Sort(names)
	return names
}

// Of describes a kind; ok is false where there is none of that name.
func Of(kind string) (d providers.Descriptor, ok bool) {
	for _, e := range list() {
		if e.kind == kind {
			return e.describe(), true
		}
	}
	return providers.Descriptor{}, false
}

// capabilities holds what all kinds can do, by their names. It is made once, since each row of
// a batch is held against it.
var capabilities = sync.OnceValue(func() map[string]providers.Capabilities { //nolint:gochecknoglobals // nobody changes it
	all := map[string]providers.Capabilities{}
	for _, e := range list() {
		all[e.kind] = e.describe().Capabilities()
	}
	return all
})

// CapabilitiesOf returns what a kind can do; ok is false where there is none of
// that name. Its maps and lists are shared: nobody may change them.
func CapabilitiesOf(kind string) (c providers.Capabilities, ok bool) {
	c, ok = capabilities()[kind]
	return c, ok
}

// Named returns a request in named options, read by the kind that takes its body:
// bodies of a compatible server are OpenAI's, whatever the server is called. Where
// nobody can read it, it is returned as it is.
func Named(kind string, req providers.Request) providers.Request {
	if req.Body == nil {
		return req
	}
	c, _ := CapabilitiesOf(kind)
	if _, ok := c.Endpoint(req.Endpoint); !ok {
		_, c, ok = TakerOf(req.Endpoint)
		if !ok {
			return req
		}
	}
	named, _, err := c.Named(req)
	if err != nil {
		return req
	}
	return named
}

// TakerOf returns the first kind that takes bodies for an endpoint.
func TakerOf(endpoint string) (kind string, c providers.Capabilities, ok bool) {
	for _, e := range list() {
		c := e.describe().Capabilities()
		if _, ok := c.Endpoint(endpoint); ok {
			return e.kind, c, true
		}
	}
	return "", providers.Capabilities{}, false
}

// Endpoints lists the paths of all endpoints that take bodies.
func Endpoints() string {
	var paths []string
	for _, e := range list() {
		for _, one := range e.describe().Capabilities().Endpoints {
			if !slices.Contains(paths, one.Path) {
				paths = append(paths, one.Path)
			}
		}
	}
	return strings.Join(paths, ", ")
}

// Configurable lists the kinds that the configuration may name, sorted: those that
// are compatible with one are named by it.
func Configurable() []string {
	return slices.DeleteFunc(Names(), func(kind string) bool { return strings.HasSuffix(kind, compatibleSuffix) })
}

// compatibleSuffix ends the name of a kind that is Compatible.
const compatibleSuffix = "-compatible"

// CompatibleWith names the kind of servers that speak the protocol of a kind; ok is
// false where no such servers are known.
func CompatibleWith(kind string) (name string, ok bool) {
	name = kind + compatibleSuffix
	return name, slices.Contains(Names(), name)
}

// Preset returns the server of a name that speaks the protocol of a kind, and that kind;
// ok is false where none is known.
func Preset(name string) (p providers.Preset, kind string, ok bool) {
	if name == "" { // nearly always, and asked for each call
		return providers.Preset{}, "", false
	}
	for _, d := range All() {
		for _, preset := range d.Presets {
			if preset.Name == name {
				return preset, strings.TrimSuffix(d.Kind, compatibleSuffix), true
			}
		}
	}
	return providers.Preset{}, "", false
}

// Presets lists the names of all presets.
func Presets() []string {
	var names []string
	for _, d := range All() {
		for _, preset := range d.Presets {
			names = append(names, preset.Name)
		}
	}
	return names
}

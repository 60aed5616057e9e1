package app

import (
	"slices"

	"oneflow/config"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

// models answers, for a chain, which model a provider is to be asked for. It knows
// the configuration and is safe for concurrent use.
type models struct{ cfg config.Config }

// newModels makes a models.
func newModels(cfg config.Config) *models { return &models{cfg: cfg} }

// at returns the model to ask provider to for, in the place of model at provider
// from: the same one where both have the same vendor, else the stand-in that is
// configured or built in, else the default of to. ok is false where to is not
// configured, cannot do the task, or has no default.
func (m *models) at(to string, task providers.Task, from, model string) (name string, ok bool) {
	p, ok := m.cfg.Providers[to]
	if !ok {
		return "", false
	}
	can, _ := kinds.CapabilitiesOf(p.Capabilities())
	of, ok := can.Tasks[task]
	switch {
	case !ok:
		return "", false
	case to == from:
		return model, true
	}
	if stand, ok := m.cfg.StandIn(model, to); ok && (slices.Contains(of.Models, stand) || !ofAnotherTask(stand, task)) {
		return stand, true
	}
	if origin, ok := m.cfg.Providers[from]; ok && model != "" && origin.Capabilities() == p.Capabilities() && !p.Compatible {
		return model, true
	}
	if task == providers.Embedding { // vectors of different models cannot be compared
		return "", false
	}
	name = p.DefaultModel(string(task), of.DefaultModel)
	return name, name != ""
}

// ofAnotherTask reports whether a model is known to stand in for others at other tasks than
// this one: a model that hears may be asked for a text, and its stand-in may not hear.
func ofAnotherTask(model string, task providers.Task) bool {
	another := false
	for _, d := range kinds.All() {
		for _, class := range d.StandIns {
			if class.Model != model && !slices.Contains(class.Models, model) {
				continue
			}
			if class.Task == task {
				return false
			}
			another = true
		}
	}
	return another
}
